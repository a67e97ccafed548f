//! Runs commands on this machine, or, from inside a container, with the programs of the host.
//! Driver and agent call it through [`Exec`].

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::device_change::{DeviceChange, DeviceChanges};
use super::nsenter::nsenter;
use super::{Cmd, Exec, Output, Session, child};
use crate::error::Error;

/// Folders in which programs are looked up. Never `PATH`: kubelet's depends on its unit file.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The whole environment of a program. LVM warns of inherited file descriptors, and a lock is
/// inherited on purpose (see `lock.rs`).
const ENVIRONMENT: [(&str, &str); 3] = [
    ("LC_ALL", "C"),
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LVM_SUPPRESS_FD_WARNINGS", "1"),
];

/// Runs the system's own programs.
#[derive(Clone, Debug, Default)]
pub struct System {
    through_nsenter: bool,
    changes: DeviceChanges,
}

/// The program that no other of its kind is started beside.
const LVM: &str = "lvm";

impl System {
    /// Runs the programs of this machine: for the driver, which the kubelet runs on the host.
    #[must_use]
    pub fn current() -> Self {
        Self::default()
    }

    /// Runs the programs of the host, from a privileged container that shares the host's process
    /// ids.
    #[must_use]
    pub fn through_nsenter() -> Self {
        Self {
            through_nsenter: true,
            ..Self::default()
        }
    }
}

impl Exec for System {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        if cmd.program() == LVM {
            self.changes.refuse_while_abandoned()?;
        }
        // A report changes nothing, but may survive SIGKILL: then the next one would hang, too.
        let change = if cmd.changes_devices() || cmd.program() == LVM {
            Some(self.changes.begin(cmd.line()))
        } else {
            None
        };
        if !self.through_nsenter {
            return start(cmd, change);
        }
        let own = cmd.clone();
        let running = change.as_ref().map(DeviceChange::running);
        let done = nsenter(cmd.limit() + child::MAX_OVERRUN, move || {
            start(&own, change)
        })
        .map_err(not_started(cmd))?;
        match (done, running) {
            (Some(done), _) => done,
            (None, Some(running)) => Err(running.abandon()),
            (None, None) => Err(Error::Deadline {
                command: cmd.line(),
                limit: cmd.limit(),
            }),
        }
    }

    fn spawn_session(
        &self,
        cmd: &Cmd,
        variables: &'static [(&str, &str)],
    ) -> Result<Session, Error> {
        let own = cmd.clone();
        let changes = self.changes.clone();
        let start = move || {
            let mut command = command(&find(own.program())?, &own);
            command.envs(variables.iter().copied());
            Session::start(command, changes)
        };
        let started = if self.through_nsenter {
            nsenter(child::MAX_OVERRUN, start)
        } else {
            Ok(Some(start()))
        };
        let started = started
            .and_then(|started| started.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())));
        started.map_err(not_started(cmd))
    }

    fn is_lvm_blocked(&self) -> bool {
        self.changes.refuse_while_abandoned().is_err()
    }

    fn has(&self, program: &str) -> bool {
        self.through_nsenter || find(program).is_ok()
    }
}

fn start(cmd: &Cmd, change: Option<DeviceChange>) -> Result<Output, Error> {
    let path = find(cmd.program()).map_err(not_started(cmd))?;
    child::run(command(&path, cmd), cmd, change)
}

fn not_started(cmd: &Cmd) -> impl Fn(io::Error) -> Error {
    |source| Error::Start {
        program: cmd.program().to_owned(),
        source,
    }
}

/// Builds a command with the fixed environment and the command's own variables, and nothing else.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one door that the rule is about"
)]
fn command(program: &Path, cmd: &Cmd) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(ENVIRONMENT)
        .envs(cmd.variables().iter().copied())
        .args(cmd.arguments());
    command
}

/// Returns the first executable file of this name in the system's folders.
fn find(program: &str) -> io::Result<PathBuf> {
    let bare = !program.is_empty() && !program.contains('/');
    let found = FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| {
            bare && path
                .metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        });
    found.ok_or_else(|| {
        let folders = FOLDERS.join(", ");
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("it is not installed: not found in {folders}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{System, find};
    use crate::error::{Error, Kind};
    use crate::process::{Cmd, Exec};
    use std::time::{Duration, Instant};

    fn sh(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script])
    }

    #[test]
    fn programs_are_found_in_system_folders_only() {
        assert!(System::current().has("sh") && !System::current().has("no-such-program"));
        for name in ["", "/bin/sh", "../bin/sh", "no-such-program", "."] {
            assert!(find(name).is_err(), "{name:?}");
        }
        let error = System::current()
            .exec(&Cmd::new("no-such-program"))
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Failed);
        assert!(crate::error::chain(&error).contains("is not installed"));
    }

    #[test]
    fn exec_returns_stdout_stderr_and_status_separately() {
        let output = System::current()
            .exec(&sh("echo out; echo err >&2; exit 3"))
            .unwrap();
        assert_eq!(
            (output.code, &*output.stdout, &*output.stderr),
            (Some(3), &b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!(
            System::current().exec(&sh("kill -9 $$")).unwrap().code,
            None
        );
    }

    #[test]
    fn child_gets_fixed_environment_and_empty_stdin() {
        let output = System::current()
            .exec(&sh("cat; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort"))
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            text,
            "LC_ALL=C\nLVM_SUPPRESS_FD_WARNINGS=1\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
        );
    }

    #[test]
    fn large_output_on_both_pipes_does_not_block() {
        let output = System::current()
            .exec(&sh(
                "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2",
            ))
            .unwrap();
        assert_eq!(output.stdout.len(), 3_000_000);
        assert!(
            output.success() && output.stderr.len() < 3_000_000,
            "the kept part of stderr is capped"
        );
        let error = System::current()
            .exec(&sh("head -c 40000000 /dev/zero"))
            .unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }

    #[test]
    fn timeout_kills_program_with_its_children() {
        let begun = Instant::now();
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!(
            "trap '' TERM; (trap '' TERM; sleep 5; echo alive > {}) & wait",
            file.path().display()
        );
        let error = System::current()
            .exec(&sh(&script).timeout(Duration::from_millis(200)))
            .unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}",
            begun.elapsed()
        );
        std::thread::sleep(
            Duration::from_secs(5).saturating_sub(begun.elapsed()) + Duration::from_millis(300),
        );
        assert_eq!(
            std::fs::read(file.path()).unwrap(),
            b"",
            "the grandchild was ended too"
        );
    }

    #[test]
    fn exec_returns_although_grandchild_holds_pipe_open() {
        let begun = Instant::now();
        let output = System::current()
            .exec(&sh("echo done; sleep 20 & exit 0"))
            .unwrap();
        assert_eq!(&*output.stdout, b"done\n");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }

    /// A program that ignores SIGTERM for this many seconds, like LVM while a device is suspended,
    /// and then writes to a file.
    fn stubborn(seconds: u32, file: &std::path::Path) -> Cmd {
        let file = file.display();
        sh(&format!("trap '' TERM; sleep {seconds}; echo done >{file}"))
            .timeout(Duration::from_millis(100))
            .changing_devices()
    }

    #[test]
    fn program_that_changes_devices_is_never_killed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let system = System::current();
        let error = system.exec(&stubborn(8, file.path())).unwrap_err();
        assert!(matches!(error, Error::StillRunning { .. }), "{error}");
        assert!(error.to_string().contains("sleep 8"), "{error}");
        // No LVM command starts beside it, not even a report; other programs do.
        for verb in ["fullreport", "lvchange"] {
            let refused = system.exec(&Cmd::new("lvm").arg(verb)).unwrap_err();
            assert!(matches!(refused, Error::StillRunning { .. }), "{refused}");
        }
        assert!(system.exec(&sh("true")).unwrap().success());

        let limit = Instant::now() + Duration::from_mins(1);
        while system.is_lvm_blocked() {
            assert!(Instant::now() < limit, "its end is not noticed");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(std::fs::read(file.path()).unwrap(), b"done\n");
    }

    #[test]
    fn program_that_changes_devices_ends_by_sigterm_at_its_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let system = System::current();
        // As LVM: the signal takes effect once the critical section has ended.
        let error = system.exec(&stubborn(2, file.path())).unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"done\n");
        assert!(system.changes.refuse_while_abandoned().is_ok());
        let begun = Instant::now();
        let hangs = sh("sleep 30").timeout(Duration::from_millis(100));
        let error = system.exec(&hangs.changing_devices()).unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn session_in_the_middle_of_a_line_is_never_killed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let system = System::current();
        let script = format!(
            "trap '' TERM; read -r line; sleep 9; echo done >{}",
            file.path().display()
        );
        let shell = Cmd::new("sh").args(["-c", &script]);
        let mut session = system.spawn_session(&shell, &[]).unwrap();
        let limit = Duration::from_millis(100);
        let error = session.send("line", limit, |_| None::<()>).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        let error = session.terminate().unwrap_err();
        assert!(matches!(error, Error::StillRunning { .. }), "{error}");
        let mut other = system.spawn_session(&Cmd::new("cat"), &[]).unwrap();
        let refused = other.send("line", Duration::from_secs(5), |_| Some(()));
        assert_eq!(
            refused.unwrap_err().kind(),
            std::io::ErrorKind::ResourceBusy
        );
        let limit = Instant::now() + Duration::from_mins(1);
        while system.changes.refuse_while_abandoned().is_err() {
            assert!(Instant::now() < limit, "its end is not noticed");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(std::fs::read(file.path()).unwrap(), b"done\n");
    }
}
