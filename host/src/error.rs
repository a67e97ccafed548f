//! What can go wrong on a node, and the few kinds of it that callers tell apart.

use std::io;
use std::time::Duration;

/// What a caller may decide by. Everything else is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In use: open, mounted, locked by another.
    Busy,
    /// Not enough room.
    NoSpace,
    /// Positively not there. A program that failed to look is `Failed`, never this.
    NotFound,
    /// There already.
    Exists,
    /// Not done within its time; whatever ran for it was killed.
    TimedOut,
    /// Refused before anything was done.
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
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("{command} failed ({status}): {stderr}")]
    Program {
        /// The program and its arguments, without secrets (there are none).
        command: String,
        /// "exit status 5", "signal 9".
        status: String,
        /// What it said, trimmed and shortened.
        stderr: String,
        /// What kind of failure the text hints at. A hint only: decide by observing again.
        kind: Kind,
    },
    /// A program was not done in time and was killed with all its children.
    #[error("{command} was not done after {} s and was ended", limit.as_secs())]
    Deadline {
        /// The program and its arguments.
        command: String,
        /// The time it had.
        limit: Duration,
    },
    /// A program answered something that it never should.
    #[error("{program} answered what can't be understood: {detail}")]
    Answer {
        /// The program.
        program: String,
        /// What was wrong with the answer.
        detail: String,
    },
    /// A system call or a file failed.
    #[error("{action} {path}")]
    Io {
        /// What was attempted: "open", "mount", …
        action: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Something that was asked for can't be.
    #[error("{message}")]
    Refused {
        /// The kind.
        kind: Kind,
        /// One sentence: what, why, what to do.
        message: String,
    },
}

impl Error {
    /// The kind, the only thing that callers branch on.
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

    /// A refusal of this kind, with its sentence.
    #[must_use]
    pub fn refused(kind: Kind, message: impl Into<String>) -> Self {
        Self::Refused {
            kind,
            message: message.into(),
        }
    }

    /// Turns an `io::Error` into ours: `map_err(Error::io("open", path))`.
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

/// The whole chain of an error in one line, for a message to a person.
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
