//! Errors on a node, and the few kinds that callers branch on.

use std::io;
use std::time::Duration;

/// The kind of an error: what a caller may branch on. All other details are for admins and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In use: open, mounted, or locked by another process.
    Busy,
    /// Not enough free space.
    NoSpace,
    /// Positively absent. A program that failed to check returns `Failed`, never this.
    NotFound,
    /// Exists already.
    Exists,
    /// Not finished within its time limit; all processes started for it were killed.
    TimedOut,
    /// Refused before any change was made.
    Invalid,
    /// Anything else.
    Failed,
}

/// A failure on the node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be started.
    #[error("{program} could not be started")]
    Start {
        /// The program.
        program: String,
        /// Why the program could not be started.
        #[source]
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("{command} failed ({status}): {stderr}")]
    Program {
        /// The program and its arguments, without secrets (there are none).
        command: String,
        /// "exit status 5" or "ended by a signal".
        status: String,
        /// Its standard error, trimmed and shortened.
        stderr: String,
        /// The kind that the text suggests. A hint only: observe the state again before deciding.
        kind: Kind,
    },
    /// A program exceeded its time limit and was killed with all its children.
    #[error("{command} timed out after {} s and was killed", limit.as_secs())]
    Deadline {
        /// The program and its arguments.
        command: String,
        /// The time limit.
        limit: Duration,
    },
    /// A program returned output that it never should.
    #[error("unexpected output from {program}: {detail}")]
    Answer {
        /// The program.
        program: String,
        /// What was wrong with the output.
        detail: String,
    },
    /// A system call or a file failed.
    #[error("{action} {path}")]
    Io {
        /// What was attempted: "open", "mount", …
        action: &'static str,
        /// The path or object that the call was made on.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A request was refused.
    #[error("{message}")]
    Refused {
        /// The kind that callers branch on.
        kind: Kind,
        /// One sentence: what failed, why, and what to do.
        message: String,
    },
}

impl Error {
    /// Returns the kind, the only property that callers branch on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Start { .. } | Self::Answer { .. } => Kind::Failed,
            Self::Program { kind, .. } | Self::Refused { kind, .. } => *kind,
            Self::Deadline { .. } => Kind::TimedOut,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                io::ErrorKind::AlreadyExists => Kind::Exists,
                io::ErrorKind::ResourceBusy => Kind::Busy,
                io::ErrorKind::StorageFull => Kind::NoSpace,
                _ => Kind::Failed,
            },
        }
    }

    /// Builds a refusal of this kind with its message.
    #[must_use]
    pub fn refused(kind: Kind, message: impl Into<String>) -> Self {
        Self::Refused {
            kind,
            message: message.into(),
        }
    }

    /// Converts an `io::Error`: `map_err(Error::io("open", path))`.
    pub fn io(
        action: &'static str,
        path: impl AsRef<std::path::Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().display().to_string();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Formats the whole chain of an error on one line, for messages and logs.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
