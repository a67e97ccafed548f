//! Runs one job to its end, step by step, on a thread that may block.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use host::Bytes;
use k8s_openapi::jiff::Timestamp;

use super::device::JobDevices;
use super::job::{Job, JobError, JobProgress, PartDone};
use super::plan::{self, JobStep};

/// How a job ended, other than by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// All of the volume is done.
    Complete,
    /// It was stopped before that.
    Stopped,
}

/// What a job's thread shares with the passes of its volume.
pub(super) struct JobControl {
    stop: AtomicBool,
    progress: Mutex<MeasuredProgress>,
    end: Mutex<Option<Result<JobEnd, JobError>>>,
}

/// The last progress, with its time by both clocks: one for display, one that never jumps.
#[derive(Clone, Copy)]
struct MeasuredProgress {
    done: Option<PartDone>,
    since: Timestamp,
    moved: Instant,
}

/// Runs a job where its cursor is, until it is complete or stopped.
///
/// If the agent dies at any point, the next run repeats at most one portion.
///
/// # Errors
/// If the device fails or is no longer the job's volume; then it is not touched any more.
pub(super) fn run(
    job: &Job,
    devices: &dyn JobDevices,
    control: &JobControl,
    portion: u64,
) -> Result<JobEnd, JobError> {
    let device = devices.claim(job)?;
    let mut recorded = None;
    loop {
        if control.is_stopped() {
            return Ok(JobEnd::Stopped);
        }
        let observed = device.observe()?;
        let step = plan::plan(&observed, recorded, portion)?;
        control.advance(observed.position.unwrap_or_default(), observed.size);
        let position = match step {
            JobStep::Begin => Bytes(0),
            JobStep::Portion(portion) => {
                let end = Bytes(portion.end);
                device.work_on(portion)?;
                // Recording overwrites the cursor, so it must still be the one found before.
                plan::check(&device.observe()?, observed.position)?;
                end
            }
            JobStep::Complete => return Ok(JobEnd::Complete),
        };
        device.record(position)?;
        recorded = Some(position);
    }
}

impl JobControl {
    /// Returns the control of a job that starts now.
    pub(super) fn new() -> Self {
        Self {
            stop: AtomicBool::new(false),
            progress: Mutex::new(MeasuredProgress {
                done: None,
                since: Timestamp::now(),
                moved: Instant::now(),
            }),
            end: Mutex::new(None),
        }
    }

    /// Makes the job end after its present portion.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns the progress up to now.
    pub(super) fn progress(&self) -> JobProgress {
        let progress = *lock(&self.progress);
        JobProgress {
            done: progress.done,
            since: progress.since,
            idle: progress.moved.elapsed(),
        }
    }

    fn advance(&self, bytes: Bytes, total: Bytes) {
        *lock(&self.progress) = MeasuredProgress {
            done: Some(PartDone { bytes, total }),
            since: Timestamp::now(),
            moved: Instant::now(),
        };
    }

    /// Records how the job ended: its thread uses the device no more.
    pub(super) fn finish(&self, end: Result<JobEnd, JobError>) {
        *lock(&self.end) = Some(end);
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.end).is_some()
    }

    /// Takes how the job ended; `None` while its thread runs.
    pub(super) fn take_end(&self) -> Option<Result<JobEnd, JobError>> {
        lock(&self.end).take()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
