//! Workplace: a folder with the programs that run in it, their logs, and the promise that all of it
//! goes when we do.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::isolation;

/// A folder and what runs in it. Dropping it kills the programs and removes the folder.
#[derive(Debug)]
pub struct Workplace {
    folder: PathBuf,
    guard: Option<Guard>,
}

impl Workplace {
    /// A new folder in the host's temporary folder, guarded by a process that outlives this one by
    /// a moment: even `kill -9` of a test leaves neither its programs nor its files behind.
    pub fn on_host() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("flexlvm-")
            .tempdir()?
            .keep();
        let guard = Some(Guard::start(&folder)?);
        Ok(Self { folder, guard })
    }

    /// The folder of an isolated cluster, emptied: memory of its own, gone with its namespaces.
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

    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a file in the folder.
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

    /// Starts a program in the folder; what it prints goes to `<name>.log`.
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

    /// Whether the program is no more.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Fails, with the end of the log, when the program has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!("{} ended ({status}):\n{}", self.name, self.last_lines(20))
            }
        }
    }

    /// The last lines of the program's log.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&self.log, count)
    }

    /// The most memory that the program has had in use, in KiB.
    pub fn peak_kib(&self) -> Result<u32> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("the kernel tells no peak")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// The time that the program has had on processors.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // Behind the name, which may hold anything; in hundredths of a second, for itself and in
        // the kernel.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let (own, kernels) = fields
            .get(11)
            .zip(fields.get(12))
            .context("the kernel tells no times")?;
        Ok(Duration::from_millis(
            (own.parse::<u64>()? + kernels.parse::<u64>()?) * 10,
        ))
    }

    /// Kills the program at once and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself: all the same here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a file; empty when it can't be read.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> String {
    let content = std::fs::read(path).unwrap_or_default();
    last_lines_of(&String::from_utf8_lossy(&content), count)
}

/// The last lines of a text, without the stack of a kernel's panic, which hides the cause.
#[must_use]
pub fn last_lines_of(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with(" [<"))
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A shell that waits for the end of its input, which comes when we die, however we die. It then
/// kills what it was told of and removes the folder. In a process group of its own, so that Ctrl-C
/// does not reach it.
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
