//! A command as a value, what a program left behind, and who runs commands.

use std::io;
use std::time::Duration;

use super::secret::Secret;
use super::session::Session;
use crate::error::{Error, Kind};

/// How long a program may take unless its command says otherwise.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// A program, its arguments, and the time it has. No shell is ever involved.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: &'static str,
    args: Vec<String>,
    timeout: Duration,
    stdin: Option<Secret>,
}

impl Cmd {
    /// A command without arguments. `program` is a bare name, such as `lvm`: it is looked up in the
    /// system's own folders, never in `PATH`.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        Self {
            program,
            args: Vec::new(),
            timeout: TIMEOUT,
            stdin: None,
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

    /// Sets the time that the program has.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
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

    /// The program's name.
    #[must_use]
    pub fn program(&self) -> &'static str {
        self.program
    }

    /// The arguments.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.args
    }

    /// The time that the program has.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.timeout
    }

    /// Program and arguments in one line, for messages.
    #[must_use]
    pub fn line(&self) -> String {
        std::iter::once(self.program)
            .chain(self.args.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What a program left behind. A failing exit status is not an [`Error`] here: blkid says things by
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether the program ended with exit status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// What it wrote, on one line and shortened, for a message.
    #[must_use]
    pub fn summary(&self) -> String {
        summary(&[self.stdout.as_slice(), self.stderr.as_slice()].join(&b' '))
    }

    /// This output as an error: `cmd` ended with a failure.
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

/// What a program wrote, on one line and shortened, for a message.
fn summary(bytes: &[u8]) -> String {
    const LONGEST: usize = 1000;
    let text = String::from_utf8_lossy(bytes);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = words
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect();
    if line.is_empty() {
        "it gave no reason".to_owned()
    } else {
        line
    }
}

/// Runs commands. [`System`](super::System) runs them on this machine; tests have one that follows a script.
pub trait Exec: Send + Sync {
    /// Runs `cmd` to its end.
    ///
    /// # Errors
    /// When the program can't be started, or was not done in time and had to be killed.
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error>;

    /// Starts a program that is to be kept, with these variables beside the fixed ones.
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

    /// Whether there is a program of this name at all.
    fn has(&self, _program: &str) -> bool {
        true
    }
}
