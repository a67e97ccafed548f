//! Starts, observes and stops the jobs of the node, each on a thread of its own.
//!
//! The threads are not tokio's: the agent ends at once on SIGTERM, without waiting for a portion or
//! for a device that hangs. That is the same as a kill, which a job survives at any point.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::device::JobDevices;
use super::job::{Job, JobError, JobProgress, JobState};
use super::plan::{self, JobLimits, UnfinishedJob};
use super::run::{self, JobControl, JobEnd, lock};
use crate::kube::queue::WorkQueue;

/// The jobs of the node.
pub struct JobRunner {
    devices: Arc<dyn JobDevices>,
    limits: JobLimits,
    waiting: Arc<WaitingJobs>,
    started: Mutex<BTreeMap<String, StartedJob>>,
}

/// A job whose thread was started, until its end was observed.
struct StartedJob {
    job: Job,
    control: Arc<JobControl>,
    /// The progress to publish, and its age.
    shown: Option<(Instant, JobProgress)>,
    was_stalled: bool,
}

/// Names of the volumes whose jobs wait for others, and the queue of their reconciles.
struct WaitingJobs {
    queue: WorkQueue,
    names: Mutex<BTreeSet<String>>,
}

impl JobRunner {
    /// Returns a runner without jobs; `queue` reconciles the volumes.
    #[must_use]
    pub fn new(devices: Arc<dyn JobDevices>, queue: WorkQueue, limits: JobLimits) -> Self {
        Self {
            devices,
            limits,
            waiting: Arc::new(WaitingJobs {
                queue,
                names: Mutex::default(),
            }),
            started: Mutex::default(),
        }
    }

    /// Returns the time without progress after which a job counts as stalled.
    #[must_use]
    pub fn stalled_after(&self) -> Duration {
        self.limits.stalled_after
    }

    /// Returns the state of a job that its volume's spec requires, and starts it if it does not run
    /// and may start.
    ///
    /// Requeues the volume until the job has ended, in time for each publication. Returns `Done` and
    /// `Failed` once; called again, it starts the job where its cursor is, so a complete job ends at
    /// once.
    pub fn ensure(&self, job: &Job) -> JobState {
        let mut started = lock(&self.started);
        started.retain(|_, job| !(job.control.is_stopped() && job.control.has_ended()));
        let Some(known) = started.get_mut(job.name.as_str()) else {
            return self.start_or_wait(&mut started, job);
        };
        if known.job != *job {
            // Of a former object or request: its cursor is not this job's.
            known.control.stop();
        }
        match known.control.take_end() {
            None if known.control.is_stopped() => JobState::Waiting,
            None => self.observe(known),
            Some(end) => {
                let is_current = known.job == *job;
                started.remove(job.name.as_str());
                match end {
                    Ok(JobEnd::Complete) if is_current => JobState::Done,
                    Err(error) if is_current => JobState::Failed(error),
                    _ => self.start_or_wait(&mut started, job),
                }
            }
        }
    }

    /// Returns whether the volume has a job whose end was not observed yet.
    #[must_use]
    pub fn is_started(&self, name: &str) -> bool {
        lock(&self.started).contains_key(name)
    }

    /// Stops the job of a volume whose spec does not require one, after the present portion.
    ///
    /// Returns whether no job uses the device any more; else the volume is requeued at the job's
    /// end.
    pub fn stop(&self, name: &str) -> bool {
        lock(&self.waiting.names).remove(name);
        let mut started = lock(&self.started);
        let Some(known) = started.get(name) else {
            return true;
        };
        known.control.stop();
        let has_ended = known.control.has_ended();
        if has_ended {
            started.remove(name);
        }
        has_ended
    }

    fn start_or_wait(&self, started: &mut BTreeMap<String, StartedJob>, job: &Job) -> JobState {
        // Registered first: a job that ends from here on requeues this volume.
        lock(&self.waiting.names).insert(job.name.to_string());
        let unfinished: Vec<_> = started
            .values()
            .filter(|started| !started.control.has_ended())
            .map(|started| started.unfinished(&self.limits))
            .collect();
        if !plan::may_start(&unfinished, &job.group, self.limits.at_once) {
            return JobState::Waiting;
        }
        lock(&self.waiting.names).remove(job.name.as_str());
        match self.start(job) {
            Err(error) => JobState::Failed(error),
            Ok(control) => {
                let mut new = StartedJob::new(job, control);
                let state = self.observe(&mut new);
                started.insert(job.name.to_string(), new);
                state
            }
        }
    }

    fn start(&self, job: &Job) -> Result<Arc<JobControl>, JobError> {
        let control = Arc::new(JobControl::new());
        let shared = control.clone();
        let devices = self.devices.clone();
        let waiting = self.waiting.clone();
        let own = job.clone();
        let portion = self.limits.portion;
        thread::Builder::new()
            .name("job".to_owned())
            .spawn(move || {
                let end = catch_unwind(AssertUnwindSafe(|| {
                    run::run(&own, &*devices, &shared, portion)
                }));
                shared.finish(end.unwrap_or(Err(JobError::Panicked)));
                waiting.queue.enqueue(own.name.as_str());
                waiting.enqueue_all();
            })
            .map_err(JobError::Thread)?;
        tracing::info!(volume = job.name.as_str(), job = job.label(), "job started");
        Ok(control)
    }

    /// Returns the state of a job that runs, and requeues its volume for the next publication.
    fn observe(&self, known: &mut StartedJob) -> JobState {
        let shown = known.shown(self.limits.publish_every);
        let is_stalled = shown.idle >= self.limits.stalled_after;
        if is_stalled && !known.was_stalled {
            self.waiting.enqueue_all();
        }
        known.was_stalled = is_stalled;
        self.waiting
            .queue
            .requeue_after(known.job.name.as_str(), self.limits.publish_every);
        JobState::Running(shown)
    }
}

impl StartedJob {
    fn new(job: &Job, control: Arc<JobControl>) -> Self {
        Self {
            job: job.clone(),
            control,
            shown: None,
            was_stalled: false,
        }
    }

    /// Returns the progress to publish: a new one at most every so often.
    fn shown(&mut self, every: Duration) -> JobProgress {
        if let Some((at, shown)) = self.shown
            && shown.done.is_some()
            && at.elapsed() < every
        {
            return shown;
        }
        let progress = self.control.progress();
        self.shown = Some((Instant::now(), progress));
        progress
    }

    fn unfinished(&self, limits: &JobLimits) -> UnfinishedJob {
        UnfinishedJob {
            group: self.job.group.clone(),
            is_stalled: self.control.progress().idle >= limits.stalled_after,
        }
    }
}

impl WaitingJobs {
    /// Queues all volumes that wait; those that still have to wait register again.
    fn enqueue_all(&self) {
        for name in std::mem::take(&mut *lock(&self.names)) {
            self.queue.enqueue(&name);
        }
    }
}
