//! Jobs on real logical volumes: killed and resumed, and beside other users of the node's LVM.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use crds::condition::REMOVED;
use host::{Device, LvName, Roots, VgName};
use operator::agent::volumes::jobs::device::NodeJobDevices;
use operator::agent::volumes::jobs::job::{Job, JobKind, JobState};
use operator::agent::volumes::jobs::plan::JobLimits;
use operator::agent::volumes::jobs::runner::JobRunner;
use operator::kube::queue::WorkQueue;
use serde_json::json;

use crate::fixture::{Fixture, GROUP, PROGRAM};

/// The first argument that makes this program run one job: `--job NAME PORTION`.
pub(crate) const JOB: &str = "--job";

/// Runs in the guest: zeroes a volume of the group, with portions of so many bytes, and prints the
/// progress in percent.
pub(crate) fn run_job(arguments: &[String]) -> Result<ExitCode> {
    let [name, portion] = arguments else {
        anyhow::bail!("usage: {JOB} NAME PORTION")
    };
    let group = VgName::new(GROUP)?;
    let name = LvName::new(name)?;
    let uuid = Device::find(&Roots::current(), &group, &name)?.1;
    let job = Job {
        kind: JobKind::Zero,
        node: "node1".to_owned(),
        object_uid: name.to_string(),
        generation: 1,
        group,
        name,
        uuid,
    };
    let limits = JobLimits {
        portion: portion.parse().context("reading the size of a portion")?,
        publish_every: Duration::ZERO,
        ..JobLimits::default()
    };
    let devices = NodeJobDevices {
        roots: Roots::current(),
    };
    let (queue, _requests) = WorkQueue::channel();
    let runner = JobRunner::new(Arc::new(devices), queue, limits);
    loop {
        match runner.ensure(&job) {
            JobState::Running(progress) => {
                if let Some(done) = progress.done {
                    println!("{}", done.percent());
                }
            }
            JobState::Waiting => {}
            JobState::Done => {
                println!("100");
                return Ok(ExitCode::SUCCESS);
            }
            JobState::Failed(error) => return Err(error.into()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a job in the background.
fn start(fixture: &Fixture, name: &str, portion: u32) {
    fixture.shell(&format!(
        "setsid {PROGRAM} {JOB} {name} {portion} >>/run/job.log 2>&1 </dev/null & echo $! >/run/job.pid"
    ));
}

/// Kills the job, and waits until it is gone.
fn kill(fixture: &Fixture) {
    fixture.shell(
        "pid=$(cat /run/job.pid); kill -9 $pid 2>/dev/null || true
         while kill -0 $pid 2>/dev/null; do sleep 0.05; done",
    );
}

/// Returns the number of bytes of a volume that are not zero.
fn left(fixture: &Fixture, name: &str) -> u64 {
    let count = fixture.shell(&format!("tr -d '\\0' </dev/{GROUP}/{name} | wc -c"));
    count.parse().unwrap()
}

pub(crate) fn job_is_resumed_after_kills(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!(
        "yes former | head -c 64M >/dev/{GROUP}/{name}; sync; rm -f /run/job.log"
    ));
    for _ in 0..5 {
        start(fixture, &name, 64 << 10);
        fixture.shell("sleep 0.3");
        kill(fixture);
    }
    fixture.shell(&format!(
        "{PROGRAM} {JOB} {name} 4194304 >>/run/job.log 2>&1"
    ));
    // The text of the cursor is left.
    assert!(left(fixture, &name) < 512);
    assert_eq!(fixture.mark(&name), "none");
    let log = fixture.shell("cat /run/job.log");
    let percents: Vec<u64> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert!(percents.is_sorted(), "{percents:?}");
    assert_eq!(percents.last(), Some(&100));
    fixture.remove(&name);
}

pub(crate) fn job_excludes_other_users_of_its_volume_only(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    let run = format!("{PROGRAM} {JOB} {name} 4096");
    fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt; echo kept >/mnt/file; sync
         if {run} >/run/job.log 2>&1; then exit 1; fi
         grep -q 'is mounted' /run/job.log
         umount /mnt; mount /dev/{GROUP}/{name} /mnt; grep -q kept /mnt/file; umount /mnt"
    ));

    start(fixture, &name, 4096);
    fixture.wait_for_script("the job works", "grep -q '^0$' /run/job.log");
    fixture.shell(&format!(
        "if mount /dev/{GROUP}/{name} /mnt 2>/dev/null; then echo mounted; exit 1; fi
         if lvremove -qq -y {GROUP}/{name} 2>/dev/null; then echo removed; exit 1; fi"
    ));
    let other = fixture.volume("16Mi");
    fixture.change(&other, json!({"size": "32Mi"}));
    fixture.reaches(&other, 32 << 20);
    fixture.remove(&other);
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "InUse", "is in use");
    fixture.shell("kill -0 $(cat /run/job.pid)");
    kill(fixture);
    fixture.remove(&name);
}
