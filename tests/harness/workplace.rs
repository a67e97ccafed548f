//! Workplace: a folder with the programs that run in it and their logs. All of it is removed when
//! this program ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::isolation;

/// A folder and its programs. Dropping it kills the programs and removes the folder.
#[derive(Debug)]
pub struct Workplace {
    folder: PathBuf,
    guard: Option<Guard>,
}

impl Workplace {
    /// Creates a folder in the host's temporary folder, with a guard process that briefly outlives
    /// this program.
    ///
    /// Even `kill -9` of a test leaves neither programs nor files behind.
    pub fn on_host() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("flexlvm-")
            .tempdir()?
            .keep();
        let guard = Some(Guard::start(&folder)?);
        Ok(Self { folder, guard })
    }

    /// Returns the folder of an isolated cluster, emptied: a tmpfs that ends with its namespaces.
    pub fn isolated() -> Result<Self> {
        anyhow::ensure!(
            isolation::is_inside(),
            "this program runs outside a cluster's namespaces: call harness::main"
        );
        let folder = PathBuf::from(isolation::FOLDER);
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Self {
            folder,
            guard: None,
        })
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of a file in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file into the folder and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a program in the folder; its output goes to `<name>.log`.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<Program> {
        let log = self.path(&format!("{name}.log"));
        let output = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)?;
        let child = command
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        if let Some(guard) = &self.guard {
            guard.adopt(child.id())?;
        }
        Ok(Program {
            name: name.to_owned(),
            log,
            child,
        })
    }
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Program {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns true if the program has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Fails, with the end of the log, if the program has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!("{} ended ({status}):\n{}", self.name, self.last_lines(20))
            }
        }
    }

    /// Returns the last lines of the program's log.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&self.log, count)
    }

    /// Returns the peak resident memory of the program in KiB.
    pub fn peak_kib(&self) -> Result<u32> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("/proc/PID/status has no peak")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Returns the CPU time that the program has used.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // After the command name, which may contain any character; user and system time in units of
        // 10 ms.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let (own, kernels) = fields
            .get(11)
            .zip(fields.get(12))
            .context("/proc/PID/stat has no times")?;
        Ok(Duration::from_millis(
            (own.parse::<u64>()? + kernels.parse::<u64>()?) * 10,
        ))
    }

    /// Kills the program with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        // The program may have ended by itself, which is fine here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the last lines of a file; empty if it cannot be read.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> String {
    let content = std::fs::read(path).unwrap_or_default();
    last_lines_of(&String::from_utf8_lossy(&content), count)
}

/// Returns the last lines of a text, without the stack trace of a kernel panic, which hides the
/// cause.
#[must_use]
pub fn last_lines_of(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with(" [<"))
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A shell that waits for the end of its input, which comes with this program's death, of any
/// cause.
///
/// It then kills the adopted processes and removes the folder. It has a process group of its own,
/// so that Ctrl-C does not reach it.
#[derive(Debug)]
struct Guard {
    shell: Child,
    input: Mutex<Option<ChildStdin>>,
}

impl Guard {
    fn start(folder: &Path) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut shell = Command::new("sh")
            .args([
                "-c",
                r#"while read -r id; do ids="$ids $id"; done; kill -9 $ids; rm -rf -- "$0""#,
            ])
            .arg(folder)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let input = Mutex::new(shell.stdin.take());
        Ok(Self { shell, input })
    }

    fn adopt(&self, id: u32) -> Result<()> {
        let mut input = self.input.lock().expect("no panic while the lock is held");
        writeln!(input.as_mut().context("the guard has ended")?, "{id}")?;
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(
            self.input
                .lock()
                .expect("no panic while the lock is held")
                .take(),
        );
        let _ = self.shell.wait();
    }
}
