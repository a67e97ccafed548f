//! The next step of a job, and which jobs may start. Pure.

use std::ops::Range;
use std::time::Duration;

use host::{Bytes, VgName};

use super::job::JobError;

/// Limits of the jobs of a node.
#[derive(Clone, Copy, Debug)]
pub struct JobLimits {
    /// Maximum number of jobs that make progress at once.
    pub at_once: usize,
    /// Maximum bytes of a portion: a job that is no longer required ends after the present one.
    pub portion: u64,
    /// Minimum interval between two publications of a job's progress.
    pub publish_every: Duration,
    /// Time without progress after which a job counts as stalled.
    pub stalled_after: Duration,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            at_once: 2,
            portion: 64 << 20,
            publish_every: Duration::from_secs(5),
            stalled_after: Duration::from_mins(1),
        }
    }
}

/// Size and cursor of a job's device, as read before each step. The device is still the job's
/// volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedJob {
    /// Size when the job opened it, in bytes.
    pub opened_size: Bytes,
    /// Size now, in bytes.
    pub size: Bytes,
    /// Bytes that the cursor occupies.
    pub cursor: Range<u64>,
    /// Position that the cursor records: all bytes before it are done, except for the cursor.
    /// `None` if the job has not begun.
    pub position: Option<Bytes>,
}

/// The next step of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStep {
    /// Records position 0: from here on the volume's former content counts as lost.
    Begin,
    /// Does the work on these bytes, then records their end as the position.
    Portion(Range<u64>),
    /// No step: the job is complete.
    Complete,
}

/// Fails if the device has changed since this run found or recorded the position `recorded`: then no
/// step is safe.
///
/// # Errors
/// If size or cursor are others.
pub fn check(device: &ObservedJob, recorded: Option<Bytes>) -> Result<(), JobError> {
    if device.size != device.opened_size {
        return Err(JobError::Resized {
            before: device.opened_size,
            now: device.size,
        });
    }
    match recorded {
        Some(expected) if device.position != recorded => Err(JobError::Interference { expected }),
        _ => Ok(()),
    }
}

/// Returns the next step of a job whose portions have at most `portion` bytes; `recorded` as in
/// [`check`].
///
/// # Errors
/// As [`check`].
pub fn plan(
    device: &ObservedJob,
    recorded: Option<Bytes>,
    portion: u64,
) -> Result<JobStep, JobError> {
    check(device, recorded)?;
    let Some(position) = device.position else {
        return Ok(JobStep::Begin);
    };
    let start = if device.cursor.contains(&position.0) {
        device.cursor.end
    } else {
        position.0
    };
    if start >= device.size.0 {
        return Ok(JobStep::Complete);
    }
    let end = if start < device.cursor.start {
        device.cursor.start
    } else {
        device.size.0
    };
    let end = end.min(start.saturating_add(portion.max(1)));
    Ok(JobStep::Portion(start..end))
}

/// A job that has not ended.
#[derive(Clone, Debug)]
pub struct UnfinishedJob {
    /// Volume group of its volume.
    pub group: VgName,
    /// Whether it has made no progress for long.
    pub is_stalled: bool,
}

/// Returns whether one more job may start on a volume in `group`.
///
/// A stalled job blocks new ones in its own volume group only, where the same disk would most
/// likely block them as well. So the number of jobs is limited, and a hanging disk affects no other
/// volume group.
#[must_use]
pub fn may_start(unfinished: &[UnfinishedJob], group: &VgName, at_once: usize) -> bool {
    let stalled_in_group = unfinished
        .iter()
        .any(|job| job.is_stalled && job.group == *group);
    let active = unfinished.iter().filter(|job| !job.is_stalled).count();
    !stalled_in_group && active < at_once
}
