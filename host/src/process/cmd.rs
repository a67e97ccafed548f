//! A command as a value, the output of a program, and the trait that runs commands.

use std::io;
use std::time::Duration;

use super::secret::Secret;
use super::session::Session;
use crate::error::{Error, Kind};

/// Time limit of a program unless its command sets another.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// A program, its arguments, and its time limit. Never run through a shell.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: &'static str,
    args: Vec<String>,
    variables: Vec<(&'static str, &'static str)>,
    timeout: Duration,
    stdin: Option<Secret>,
    changes_devices: bool,
}

impl Cmd {
    /// Creates a command without arguments.
    ///
    /// `program` is a bare name, such as `lvm`: looked up in the system's own folders, never in
    /// `PATH`.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        Self {
            program,
            args: Vec::new(),
            variables: Vec::new(),
            timeout: TIMEOUT,
            stdin: None,
            changes_devices: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable in addition to the fixed ones.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Sets the time limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Declares that the program changes block devices, so it is never killed.
    ///
    /// LVM suspends a device for a moment while it changes it. Killed at that moment, it leaves the
    /// device suspended, and all processes that read or write it wait without end. At its time limit
    /// such a program gets SIGTERM, which LVM blocks while a device is suspended. A program that
    /// continues all the same is waited for, and no LVM command starts meanwhile.
    #[must_use]
    pub fn changing_devices(mut self) -> Self {
        self.changes_devices = true;
        self
    }

    /// Returns whether the program changes block devices.
    #[must_use]
    pub fn changes_devices(&self) -> bool {
        self.changes_devices
    }

    /// Gives the program a secret on its standard input, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, secret: Secret) -> Self {
        self.stdin = Some(secret);
        self
    }

    /// Returns the secret for the program's standard input.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.stdin.as_ref()
    }

    /// Returns the program's name.
    #[must_use]
    pub fn program(&self) -> &'static str {
        self.program
    }

    /// Returns the arguments.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.args
    }

    /// Returns the environment variables that it has in addition to the fixed ones.
    #[must_use]
    pub fn variables(&self) -> &[(&'static str, &'static str)] {
        &self.variables
    }

    /// Returns the time limit.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.timeout
    }

    /// Formats program and arguments on one line, for messages.
    #[must_use]
    pub fn line(&self) -> String {
        std::iter::once(self.program)
            .chain(self.args.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The result of a program that ended.
///
/// A failing exit status is not an [`Error`] here: blkid reports results by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status; `None` when the program was ended by a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Returns whether the program ended with exit status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Formats its output on one line, shortened, for a message.
    #[must_use]
    pub fn summary(&self) -> String {
        summary(&[self.stdout.as_slice(), self.stderr.as_slice()].join(&b' '))
    }

    /// Converts this output to an error: `cmd` succeeded, but its standard output can't be used.
    ///
    /// The message contains the standard error, which often has the cause.
    #[must_use]
    pub fn unusable(&self, cmd: &Cmd, defect: &dyn std::fmt::Display) -> Error {
        let detail = if self.stderr.is_empty() {
            defect.to_string()
        } else {
            format!("{defect}; it reported: {}", summary(&self.stderr))
        };
        Error::Answer {
            program: cmd.line(),
            detail,
        }
    }

    /// Converts this output to an error: `cmd` ended with a failure.
    #[must_use]
    pub fn failed(&self, cmd: &Cmd, kind: Kind) -> Error {
        let status = self.code.map_or_else(
            || "ended by a signal".to_owned(),
            |code| format!("exit status {code}"),
        );
        Error::Program {
            command: cmd.line(),
            status,
            stderr: summary(&self.stderr),
            kind,
        }
    }
}

/// Formats a program's output on one line, shortened, for a message.
fn summary(bytes: &[u8]) -> String {
    const MAX_CHARS: usize = 1000;
    let text = String::from_utf8_lossy(bytes);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = words
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CHARS)
        .collect();
    if line.is_empty() {
        "no error output".to_owned()
    } else {
        line
    }
}

/// Runs commands: [`System`](super::System) on this machine, simulated in tests.
pub trait Exec: Send + Sync {
    /// Runs `cmd` to its end.
    ///
    /// # Errors
    /// When the program can't be started, or exceeded its time limit and was ended. `StillRunning`
    /// when it, or an earlier one, changes devices or survived SIGKILL, and has not ended since.
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error>;

    /// Starts a program that stays open, with these variables in addition to the fixed ones.
    ///
    /// # Errors
    /// When it can't be started.
    fn spawn_session(
        &self,
        cmd: &Cmd,
        _variables: &'static [(&str, &str)],
    ) -> Result<Session, Error> {
        Err(Error::Start {
            program: cmd.program().to_owned(),
            source: io::ErrorKind::Unsupported.into(),
        })
    }

    /// Returns whether an LVM command continues beyond its time limit, so that no other is started.
    fn is_lvm_blocked(&self) -> bool {
        false
    }

    /// Returns whether this program is installed.
    fn has(&self, _program: &str) -> bool {
        true
    }
}
