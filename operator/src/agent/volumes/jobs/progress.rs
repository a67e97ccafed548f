//! The state of a job as the condition `Progressing`. Pure.

use std::time::Duration;

use crds::condition::reason;
use crds::quantity;

use super::job::{Job, JobKind, JobProgress, JobState};
use crate::agent::condition::ConditionUpdate;

/// Returns the update of the condition `Progressing` for a job in this state; `None` leaves the
/// condition unchanged.
///
/// The condition is `True` while the job advances. A resumed job changes it only once it has read
/// its cursor, so the published progress never decreases.
#[must_use]
pub fn condition(job: &Job, state: &JobState, stalled_after: Duration) -> Option<ConditionUpdate> {
    let work = work(job);
    let update = match state {
        JobState::Waiting => paused(
            reason::JOB_QUEUED,
            format!("{work} waits for other jobs of the node"),
        ),
        JobState::Running(progress) if progress.idle >= stalled_after => {
            paused(reason::JOB_STALLED, stalled(&work, progress))
        }
        JobState::Running(progress) => ConditionUpdate {
            status: true,
            reason: running_reason(job.kind),
            message: format!("{work}: {}", done(progress)?),
        },
        JobState::Done => paused(reason::JOB_COMPLETE, format!("{work} is complete")),
        JobState::Failed(error) => paused(
            reason::JOB_FAILED,
            format!(
                "{work} failed, and is retried: {}",
                host::error::chain(error)
            ),
        ),
    };
    Some(update)
}

fn paused(reason: &'static str, message: String) -> ConditionUpdate {
    ConditionUpdate {
        status: false,
        reason,
        message,
    }
}

fn running_reason(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Zero => reason::ZEROING,
    }
}

/// Returns what the job does, as in `zeroing logical volume vg0/pvc-1 on node1`.
fn work(job: &Job) -> String {
    let verb = match job.kind {
        JobKind::Zero => "zeroing",
    };
    let (group, name, node) = (&job.group, &job.name, &job.node);
    format!("{verb} logical volume {group}/{name} on {node}")
}

fn done(progress: &JobProgress) -> Option<String> {
    let done = progress.done?;
    let total = quantity::human(done.total.0);
    Some(format!("{} % of {total}", done.percent()))
}

fn stalled(work: &str, progress: &JobProgress) -> String {
    let at = done(progress).unwrap_or_else(|| "its start".to_owned());
    // Whole seconds: RFC 3339, as in the object's other timestamps.
    let since = progress.since.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!(
        "{work} is stalled at {at}: the device has not responded since {since}; check the disks of \
         the volume group, and the node's kernel log"
    )
}
