//! Jobs at the same time, and LVM's commands for other volumes meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use host::{Bytes, Cmd, Error, Exec, LvName, Output, VgName};

use super::files::{FORMER, FileDevices, PORTION, SIZE, job};
use crate::agent::lvm::EvidencePaths;
use crate::agent::lvm::activity::LvmActivity;
use crate::agent::lvm::state::LvmState;
use crate::agent::volumes::jobs::job::{Job, JobError, JobState};
use crate::agent::volumes::jobs::plan::JobLimits;
use crate::agent::volumes::jobs::runner::JobRunner;
use crate::kube::queue::{Requests, WorkQueue};

const LIMITS: JobLimits = JobLimits {
    at_once: 2,
    portion: PORTION,
    publish_every: Duration::from_secs(5),
    stalled_after: Duration::from_mins(1),
};

/// The jobs of a node, and the queue of its volumes.
struct Node {
    devices: Arc<FileDevices>,
    runner: JobRunner,
    requests: Requests,
}

impl Node {
    fn new(jobs: &[Job], limits: JobLimits) -> Self {
        let devices = Arc::new(FileDevices::new(jobs));
        let (queue, requests) = WorkQueue::channel();
        Self {
            runner: JobRunner::new(devices.clone(), queue, limits),
            devices,
            requests,
        }
    }

    /// Returns the volumes that were queued since the last call, to be reconciled at once.
    fn queued(&mut self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        while let Some(request) = self.requests.try_next() {
            if request.run_at <= tokio::time::Instant::now() {
                names.insert(request.message);
            }
        }
        names
    }

    /// Calls `ensure` until the job no longer runs or waits.
    fn end_of(&self, job: &Job) -> JobState {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            match self.runner.ensure(job) {
                JobState::Running(_) | JobState::Waiting if Instant::now() < limit => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                end => return end,
            }
        }
    }

    /// Waits until a stopped job uses its device no more.
    fn await_stop(&self, job: &Job) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !self.runner.stop(job.name.as_str()) {
            assert!(Instant::now() < limit, "the job does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn is_running(state: &JobState) -> bool {
    matches!(state, JobState::Running(_))
}

/// LVM whose commands succeed.
struct SuccessfulLvm;

impl Exec for SuccessfulLvm {
    fn exec(&self, _: &Cmd) -> Result<Output, Error> {
        Ok(Output {
            code: Some(0),
            ..Output::default()
        })
    }
}

/// Changes another volume, with the lock for LVM.
async fn activate_another_volume(lvm: &Arc<LvmState>) {
    let change = lvm.locked(|lvm| {
        let group = VgName::new("vg0").unwrap();
        let name = LvName::new("pvc-9").unwrap();
        let uuid = host::random::lv_uuid().unwrap();
        lvm.commands().activate(&group, &name, &uuid)
    });
    let change = tokio::time::timeout(Duration::from_secs(10), change);
    change.await.expect("the lock is free").unwrap();
}

#[tokio::test]
async fn two_jobs_and_ordinary_changes_go_on_side_by_side() {
    let jobs = ["pvc-1", "pvc-2", "pvc-3"].map(job);
    let mut node = Node::new(&jobs, LIMITS);
    let [first, second, third] = &jobs;
    node.devices.hold(first);
    node.devices.hold(second);
    assert!(is_running(&node.runner.ensure(first)) && is_running(&node.runner.ensure(second)));
    node.devices.wait_until_working(first);
    node.devices.wait_until_working(second);
    assert!(matches!(node.runner.ensure(third), JobState::Waiting));

    let evidence = EvidencePaths::absent();
    let lvm = Arc::new(LvmState::new(
        Arc::new(SuccessfulLvm),
        evidence,
        LvmActivity::default(),
    ));
    activate_another_volume(&lvm).await;

    // The other way round: a job ends while an LVM command takes long.
    let (end_command, command_ends) = mpsc::channel();
    let slow = lvm.locked(move |_| {
        command_ends.recv().unwrap();
        Ok(())
    });
    let meanwhile = async {
        tokio::task::yield_now().await;
        node.devices.release(first);
        assert!(matches!(node.end_of(first), JobState::Done));
        end_command.send(()).unwrap();
    };
    tokio::join!(slow, meanwhile).0.unwrap();

    let waiting = BTreeSet::from(["pvc-1".to_owned(), "pvc-3".to_owned()]);
    assert!(waiting.is_subset(&node.queued()));
    assert!(matches!(node.end_of(third), JobState::Done));
    assert!(is_running(&node.runner.ensure(second)));
    node.devices.release(second);
    assert!(matches!(node.end_of(second), JobState::Done));
    for job in &jobs {
        assert_eq!(node.devices.position(job), Some(Bytes(SIZE)));
    }
    activate_another_volume(&lvm).await;
}

#[test]
fn stalled_job_is_reported_and_blocks_its_own_group_only() {
    let hanging = job("pvc-1");
    let other = job("pvc-2");
    let same_group = Job {
        group: hanging.group.clone(),
        ..job("pvc-3")
    };
    let limits = JobLimits {
        at_once: 1,
        stalled_after: Duration::from_millis(100),
        publish_every: Duration::from_millis(10),
        ..LIMITS
    };
    let jobs = [hanging.clone(), other.clone(), same_group.clone()];
    let mut node = Node::new(&jobs, limits);
    node.devices.hold(&hanging);
    node.runner.ensure(&hanging);
    node.devices.wait_until_working(&hanging);
    assert!(matches!(node.runner.ensure(&other), JobState::Waiting));
    node.queued();
    std::thread::sleep(limits.stalled_after * 2);

    let JobState::Running(progress) = node.runner.ensure(&hanging) else {
        panic!("the job hangs");
    };
    assert!(progress.idle >= limits.stalled_after);
    assert!(node.queued().contains("pvc-2"), "its turn has come");
    assert!(matches!(node.end_of(&other), JobState::Done));
    assert!(matches!(node.runner.ensure(&same_group), JobState::Waiting));

    node.devices.release(&hanging);
    assert!(matches!(node.end_of(&hanging), JobState::Done));
    assert!(node.queued().contains("pvc-3"));
    assert!(matches!(node.end_of(&same_group), JobState::Done));
}

#[test]
fn stopped_job_ends_after_its_portion_and_resumes_there() {
    let job = job("pvc-1");
    let mut node = Node::new(std::slice::from_ref(&job), LIMITS);
    node.devices.hold(&job);
    node.runner.ensure(&job);
    node.devices.wait_until_working(&job);
    assert!(!node.runner.stop("pvc-1"), "its thread is in a portion");
    assert!(matches!(node.runner.ensure(&job), JobState::Waiting));
    node.devices.release(&job);
    node.await_stop(&job);
    assert!(node.queued().contains("pvc-1"));
    assert_eq!(node.devices.position(&job), Some(Bytes(PORTION)));
    let content = node.devices.content(&job);
    assert_eq!(
        content.iter().rposition(|byte| *byte == FORMER),
        Some(content.len() - 1)
    );
    assert!(node.runner.stop("pvc-1") && node.runner.stop("unknown"));
    assert!(matches!(node.end_of(&job), JobState::Done));
}

#[test]
fn job_of_a_recreated_object_waits_for_the_former_one() {
    let former = job("pvc-1");
    let recreated = Job {
        object_uid: "recreated".to_owned(),
        ..former.clone()
    };
    let node = Node::new(std::slice::from_ref(&former), LIMITS);
    node.devices.hold(&former);
    node.runner.ensure(&former);
    node.devices.wait_until_working(&former);
    assert!(matches!(node.runner.ensure(&recreated), JobState::Waiting));
    node.devices.release(&former);
    assert!(matches!(node.end_of(&recreated), JobState::Done));
    assert_eq!(node.devices.position(&recreated), Some(Bytes(SIZE)));
}

#[test]
fn failed_job_is_reported_once_and_started_again() {
    let job = job("pvc-1");
    let node = Node::new(std::slice::from_ref(&job), LIMITS);
    node.devices.die_at(Some(9));
    assert!(matches!(
        node.end_of(&job),
        JobState::Failed(JobError::Device(_))
    ));
    node.devices.die_at(None);
    assert!(is_running(&node.runner.ensure(&job)));
    assert!(matches!(node.end_of(&job), JobState::Done));
    assert!(is_running(&node.runner.ensure(&job)), "it ends at once");
    assert!(matches!(node.end_of(&job), JobState::Done));
}

#[test]
fn panic_of_a_job_is_a_failure() {
    let job = job("pvc-1");
    let node = Node::new(std::slice::from_ref(&job), LIMITS);
    node.devices.panic();
    assert!(matches!(
        node.end_of(&job),
        JobState::Failed(JobError::Panicked)
    ));
}

#[test]
fn progress_changes_at_most_once_per_interval() {
    let job = job("pvc-1");
    let node = Node::new(std::slice::from_ref(&job), LIMITS);
    let mut published = BTreeSet::new();
    while let JobState::Running(progress) = node.runner.ensure(&job) {
        published.extend(progress.done.map(|done| done.bytes));
    }
    assert!(published.len() <= 1, "{published:?}");
}

#[test]
fn runtime_ends_at_once_while_a_job_hangs() {
    let job = job("pvc-1");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let node = Node::new(std::slice::from_ref(&job), LIMITS);
    node.devices.hold(&job);
    runtime.block_on(async { node.runner.ensure(&job) });
    node.devices.wait_until_working(&job);
    let begin = Instant::now();
    drop(runtime);
    assert!(begin.elapsed() < Duration::from_secs(1));
    node.devices.release(&job);
    assert!(matches!(node.end_of(&job), JobState::Done));
}
