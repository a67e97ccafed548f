//! The condition of a job in each state.

use std::time::Duration;

use host::Bytes;
use k8s_openapi::jiff::Timestamp;

use super::files::job;
use crate::agent::volumes::jobs::job::{JobError, JobProgress, JobState, PartDone};
use crate::agent::volumes::jobs::progress::condition;

const STALLED_AFTER: Duration = Duration::from_mins(1);

fn running(bytes: Option<u64>, idle: u64) -> JobState {
    let total = Bytes(1 << 40);
    JobState::Running(JobProgress {
        done: bytes.map(|bytes| PartDone {
            bytes: Bytes(bytes),
            total,
        }),
        since: Timestamp::from_second(1_767_225_600).unwrap(),
        idle: Duration::from_secs(idle),
    })
}

fn text(state: &JobState) -> String {
    match condition(&job("pvc-1"), state, STALLED_AFTER) {
        None => "unchanged".to_owned(),
        Some(update) => format!("{} {}: {}", update.status, update.reason, update.message),
    }
}

#[test]
fn condition_shows_progress_and_reason() {
    let work = "zeroing logical volume vg-pvc-1/pvc-1 on node1";
    for (state, expected) in [
        (
            JobState::Waiting,
            format!("false JobQueued: {work} waits for other jobs of the node"),
        ),
        (running(None, 1), "unchanged".to_owned()),
        (
            running(Some(0), 1),
            format!("true Zeroing: {work}: 0 % of 1 TiB"),
        ),
        (
            running(Some((1 << 40) - 1), 59),
            format!("true Zeroing: {work}: 99 % of 1 TiB"),
        ),
        (
            running(Some(1 << 39), 60),
            format!(
                "false JobStalled: {work} is stalled at 50 % of 1 TiB: the device has not responded \
                 since 2026-01-01T00:00:00Z; check the disks of the volume group, and the node's \
                 kernel log"
            ),
        ),
        (
            running(None, 60),
            format!(
                "false JobStalled: {work} is stalled at its start: the device has not responded \
                 since 2026-01-01T00:00:00Z; check the disks of the volume group, and the node's \
                 kernel log"
            ),
        ),
        (
            JobState::Done,
            format!("false JobComplete: {work} is complete"),
        ),
        (
            JobState::Failed(JobError::Interference {
                expected: Bytes(4096),
            }),
            format!(
                "false JobFailed: {work} failed, and is retried: another program has changed the \
                 volume during the job: its cursor is no longer at 4096 bytes"
            ),
        ),
    ] {
        assert_eq!(text(&state), expected);
    }
}

#[test]
fn only_a_complete_job_is_at_100_percent() {
    for (bytes, percent) in [
        (0, 0),
        (1, 0),
        (1 << 62, 50),
        ((1 << 63) - 1, 99),
        (1 << 63, 100),
    ] {
        let total = Bytes(1 << 63);
        let bytes = Bytes(bytes);
        assert_eq!(PartDone { bytes, total }.percent(), percent);
    }
}
