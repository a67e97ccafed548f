//! How far the erasure of a volume has come, from the state of its job. Pure.

use std::time::Duration;

use host::Kind;

use super::jobs::job::{Job, JobError, JobState};
use super::jobs::progress;
use crate::agent::condition::ConditionUpdate;

/// How far the erasure of a volume has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// It can't begin: the volume is open.
    InUse,
    /// It waits or works. The update of the condition `Progressing`; `None` leaves it unchanged.
    Unfinished(Option<ConditionUpdate>),
    /// It failed, and is retried. The update of the condition `Progressing`.
    Failed(ConditionUpdate),
    /// All of the volume is erased, and its device is closed.
    Complete,
}

impl Erasure {
    /// Returns how far the job that erases the volume has come.
    #[must_use]
    pub fn from_job(job: &Job, state: &JobState, stalled_after: Duration) -> Self {
        let progressing = progress::condition(job, state, stalled_after);
        match state {
            JobState::Done => Self::Complete,
            JobState::Failed(JobError::Device(error)) if error.kind() == Kind::Busy => Self::InUse,
            JobState::Waiting | JobState::Running(_) | JobState::Failed(_) => match progressing {
                Some(update) if matches!(state, JobState::Failed(_)) => Self::Failed(update),
                progressing => Self::Unfinished(progressing),
            },
        }
    }
}
