//! Errors on a node. An operation whose callers branch on the cause has an enum of its own, such as
//! [`DeviceError`](crate::block::DeviceError); the others return [`Error`].

use std::io;
use std::time::Duration;

pub use storage_model::error::chain;

/// What an error suggests about the state of the node.
///
/// A hint only, partly from a program's text: it shows whether observing again may help. It never
/// proves that something is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In use by another process: open, mounted, claimed, locked or suspended.
    Busy,
    /// Not enough free space.
    NoSpace,
    /// Not found.
    NotFound,
    /// Exists already.
    Exists,
    /// Nothing that callers branch on.
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
    /// A program exceeded its time limit and was killed with all its children, or ended by SIGTERM
    /// if it changes devices.
    #[error("{command} timed out after {} s and was killed", limit.as_secs())]
    Deadline {
        /// The program and its arguments.
        command: String,
        /// The time limit.
        limit: Duration,
    },
    /// A program exceeded its time limit, and continues: it changes devices, and is never killed, or it
    /// is an LVM command that waits for a disk, and survived SIGKILL.
    #[error(
        "an LVM command has not ended after {} s, and no other is started before it ends: killed, it \
         could leave a device suspended, or it waits for a disk and can't be killed. `dmesg` shows a disk that does not respond, `dmsetup info` \
         a suspended device. The command: {command}",
        time.as_secs()
    )]
    StillRunning {
        /// The program and its arguments.
        command: String,
        /// The time since its start.
        time: Duration,
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
    #[error(transparent)]
    Io(#[from] IoError),
    /// Another process uses the object: it has it mounted, claimed or locked, or has changed it
    /// since it was observed. A later attempt may succeed.
    #[error("{0}")]
    Busy(String),
    /// Any other failure, in one sentence for admins: what failed, why, and what to do.
    #[error("{0}")]
    Failed(String),
}

/// A failure of a system call or a file.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}")]
pub struct IoError {
    action: &'static str,
    path: String,
    source: io::Error,
}

impl Error {
    /// Returns what the error suggests about the state of the node.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Start { .. }
            | Self::Deadline { .. }
            | Self::StillRunning { .. }
            | Self::Answer { .. }
            | Self::Failed(_) => Kind::Failed,
            Self::Program { kind, .. } => *kind,
            Self::Io(error) => error.kind(),
            Self::Busy(_) => Kind::Busy,
        }
    }

    /// Returns a failure with this sentence.
    #[must_use]
    pub fn failed(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into())
    }

    /// Returns the failure that another process uses the object.
    #[must_use]
    pub fn busy(sentence: impl Into<String>) -> Self {
        Self::Busy(sentence.into())
    }

    /// Converts an `io::Error`: `map_err(Error::io("open", path))`.
    pub fn io(
        action: &'static str,
        path: impl AsRef<std::path::Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let convert = IoError::of(action, path);
        move |source| Self::Io(convert(source))
    }
}

impl IoError {
    /// Converts an `io::Error`: `map_err(IoError::of("open", path))`.
    ///
    /// `action` is what was attempted, such as "open" or "mount", and `path` the object that the
    /// call was made on.
    pub fn of(
        action: &'static str,
        path: impl AsRef<std::path::Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().display().to_string();
        move |source| Self {
            action,
            path,
            source,
        }
    }

    /// Returns what the error suggests about the state of the node.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.source.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::AlreadyExists => Kind::Exists,
            io::ErrorKind::ResourceBusy => Kind::Busy,
            io::ErrorKind::StorageFull => Kind::NoSpace,
            _ => Kind::Failed,
        }
    }
}
