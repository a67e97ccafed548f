//! A job as a value, its state and its errors. Pure.

use std::time::Duration;

use host::{Bytes, DevNum, LvName, LvUuid, VgName};
use k8s_openapi::jiff::Timestamp;

/// What a job does to its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Overwrites the volume with zeros, except for the job's own cursor.
    Zero,
}

/// A job on one logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What it does.
    pub kind: JobKind,
    /// Name of the node, for messages.
    pub node: String,
    /// Volume group of the volume.
    pub group: VgName,
    /// Name of the logical volume, and of its LogicalVolume.
    pub name: LvName,
    /// LVM's uuid of the logical volume.
    pub uuid: LvUuid,
    /// Uid of the LogicalVolume object that requires the job.
    pub object_uid: String,
    /// Generation of the spec that requires the job: a job that was cancelled and requested again
    /// starts over, since the volume may have been used in between.
    pub generation: i64,
}

/// State of a job, as a pass observes it.
#[derive(Debug)]
pub enum JobState {
    /// It waits until other jobs of the node have ended.
    Waiting,
    /// It works.
    Running(JobProgress),
    /// It is complete, and durable.
    Done,
    /// It failed; the next call starts it again, where its cursor is.
    Failed(JobError),
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobProgress {
    /// Part that is done, in bytes of the whole; `None` until the job has read its cursor.
    pub done: Option<PartDone>,
    /// Time of the last progress, for display.
    pub since: Timestamp,
    /// Time since the last progress.
    pub idle: Duration,
}

/// A part of a whole, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartDone {
    /// The part that is done.
    pub bytes: Bytes,
    /// The whole.
    pub total: Bytes,
}

/// Error of a job. At most the portion after the cursor's position is half done.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The device can't be opened, read or written, or is not the job's volume.
    #[error(transparent)]
    Device(#[from] host::Error),
    /// The cursor changed between two portions.
    #[error(
        "another program has changed the volume during the job: its cursor is no longer at {expected}"
    )]
    Interference {
        /// What the job recorded last.
        expected: Bytes,
    },
    /// The volume's name leads to another device.
    #[error("the device of the volume was replaced during the job: it was {claimed}, now {found}")]
    Replaced {
        /// The device that the job works on.
        claimed: DevNum,
        /// The device with the volume's name and uuid.
        found: DevNum,
    },
    /// The size changed between two portions.
    #[error("the size of the volume changed during the job, from {before} to {now}")]
    Resized {
        /// Size when the job began.
        before: Bytes,
        /// Size now.
        now: Bytes,
    },
    /// The operating system starts no thread for it.
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
    /// A fault of the agent.
    #[error("the job panicked (this is a bug, please report it)")]
    Panicked,
}

impl Job {
    /// Returns the line that identifies the job and its request in the cursor.
    #[must_use]
    pub fn label(&self) -> String {
        let kind = match self.kind {
            JobKind::Zero => "zero",
        };
        let (uid, generation) = (&self.object_uid, self.generation);
        format!("{kind} for LogicalVolume {uid}, generation {generation}")
    }
}

impl PartDone {
    /// Returns the percentage, rounded down: 100 only if all is done.
    #[must_use]
    pub fn percent(self) -> u64 {
        let percent = u128::from(self.bytes.0) * 100 / u128::from(self.total.0.max(1));
        u64::try_from(percent).unwrap_or(100)
    }
}
