//! Jobs that are killed at each point, and jobs whose volume changes under them.

use host::Bytes;
use proptest::prelude::*;

use super::files::{FORMER, FileDevices, PORTION, SIZE, cursor, job};
use crate::agent::volumes::jobs::job::{Job, JobError, PartDone};
use crate::agent::volumes::jobs::run::{JobControl, JobEnd, run};

/// Runs a job as a newly started agent does; returns its end, and the progress in percent if the
/// job has read its cursor.
fn start(devices: &FileDevices, job: &Job) -> (Result<JobEnd, JobError>, Option<u64>) {
    let control = JobControl::new();
    let end = run(job, devices, &control, PORTION);
    (end, control.progress().done.map(PartDone::percent))
}

/// Asserts that all bytes before the position are done, and none after the next portion.
fn assert_done_up_to_position(devices: &FileDevices, job: &Job) {
    let content = devices.content(job);
    let Some(position) = devices.position(job) else {
        return assert_filled(&content, FORMER);
    };
    let block = cursor(job).range();
    let block = usize::try_from(block.start).unwrap()..usize::try_from(block.end).unwrap();
    let done = usize::try_from(position.0).unwrap();
    // The portion after the cursor begins one block later.
    let untouched = done + usize::try_from(PORTION).unwrap() + block.len();
    let (before, after) = (&content[..block.start], &content[block.end..]);
    assert_filled(&before[..done.min(before.len())], 0);
    assert_filled(&before[untouched.min(before.len())..], FORMER);
    assert_filled(&after[..done.saturating_sub(block.end)], 0);
    let untouched = untouched.saturating_sub(block.end);
    assert_filled(&after[untouched.min(after.len())..], FORMER);
}

fn assert_filled(content: &[u8], byte: u8) {
    assert!(
        content == vec![byte; content.len()],
        "not filled with {byte}"
    );
}

fn assert_complete(devices: &FileDevices, job: &Job) {
    assert_eq!(devices.position(job), Some(Bytes(SIZE)));
    assert_done_up_to_position(devices, job);
}

/// Kills a job at each of these points in turn, then lets it end.
fn kill_at(points: &[u32]) {
    let [job, other] = ["pvc-1", "pvc-2"].map(job);
    let devices = FileDevices::new(&[job.clone(), other.clone()]);
    let mut last_position = None;
    let mut last_percent = 0;
    for point in points.iter().copied().map(Some).chain([None]) {
        devices.die_at(point);
        let (end, percent) = start(&devices, &job);
        assert_done_up_to_position(&devices, &job);
        let position = devices.position(&job);
        assert!(position >= last_position, "{points:?}");
        last_position = position;
        if let Some(percent) = percent {
            assert!(percent >= last_percent, "{points:?}");
            last_percent = percent;
        }
        if point.is_none() {
            assert_eq!(end.unwrap(), JobEnd::Complete);
        }
    }
    assert_eq!(last_percent, 100);
    assert_complete(&devices, &job);
    assert_filled(&devices.content(&other), FORMER);
}

#[test]
fn job_resumes_after_kill_at_each_point() {
    let job = job("pvc-1");
    let devices = FileDevices::new(std::slice::from_ref(&job));
    start(&devices, &job).0.unwrap();
    let points = devices.die_at(None);
    assert!(points > 30, "{points}");
    for point in 1..=points {
        kill_at(&[point]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn job_resumes_after_several_kills(points in prop::collection::vec(1..40_u32, 2..8)) {
        kill_at(&points);
    }
}

#[test]
fn complete_job_does_nothing_when_it_runs_again() {
    let job = job("pvc-1");
    let devices = FileDevices::new(std::slice::from_ref(&job));
    start(&devices, &job).0.unwrap();
    devices.overwrite(&job, &[1; 4096], 0);
    assert_eq!(start(&devices, &job).0.unwrap(), JobEnd::Complete);
    assert_eq!(devices.content(&job)[..4096], [1; 4096]);
}

#[test]
fn job_starts_over_without_valid_cursor() {
    let job = job("pvc-1");
    let devices = FileDevices::new(std::slice::from_ref(&job));
    devices.die_at(Some(14));
    start(&devices, &job).0.unwrap_err();
    assert!(devices.position(&job) > Some(Bytes(0)));
    devices.overwrite(&job, b"torn", cursor(&job).range().start);
    devices.die_at(None);
    devices.overwrite(&job, &[FORMER; 4096], 0);
    start(&devices, &job).0.unwrap();
    assert_complete(&devices, &job);
}

#[test]
fn job_requested_again_or_by_another_object_starts_over() {
    let first = job("pvc-1");
    let requested_again = Job {
        generation: 4,
        ..first.clone()
    };
    let of_another_object = Job {
        object_uid: "another".to_owned(),
        ..first.clone()
    };
    for next in [requested_again, of_another_object] {
        let devices = FileDevices::new(std::slice::from_ref(&first));
        start(&devices, &first).0.unwrap();
        devices.overwrite(&first, &[FORMER; 4096], 0);
        assert_eq!(devices.position(&next), None);
        start(&devices, &next).0.unwrap();
        assert_complete(&devices, &next);
    }
}

#[test]
fn job_touches_nothing_of_another_volume() {
    let job = job("pvc-1");
    let devices = FileDevices::new(std::slice::from_ref(&job));
    devices.set_uuid(&job, &host::random::lv_uuid().unwrap());
    start(&devices, &job).0.unwrap_err();
    assert_filled(&devices.content(&job), FORMER);
}

/// Runs a job, changes its volume while it is in its first portion, asserts that the job stops after
/// that portion, and returns its error.
fn interrupted(change: impl FnOnce(&FileDevices, &Job)) -> JobError {
    let job = job("pvc-1");
    let devices = FileDevices::new(std::slice::from_ref(&job));
    devices.hold(&job);
    let error = std::thread::scope(|scope| {
        let running = scope.spawn(|| start(&devices, &job).0.unwrap_err());
        devices.wait_until_working(&job);
        change(&devices, &job);
        devices.release(&job);
        running.join().unwrap()
    });
    let content = devices.content(&job);
    let portion = usize::try_from(PORTION).unwrap();
    assert_filled(&content[..portion], 0);
    assert_filled(&content[portion..portion * 4], FORMER);
    assert_ne!(devices.position(&job), Some(Bytes(PORTION)), "not recorded");
    error
}

#[test]
fn job_stops_when_its_volume_is_replaced() {
    let other = host::random::lv_uuid().unwrap();
    let error = interrupted(|devices, job| devices.set_uuid(job, &other));
    assert!(matches!(error, JobError::Device(_)), "{error}");
}

#[test]
fn job_stops_when_its_volume_is_resized() {
    let error = interrupted(|devices, job| devices.resize(job, SIZE * 2));
    assert!(matches!(error, JobError::Resized { .. }), "{error}");
}

#[test]
fn job_stops_when_its_cursor_is_changed() {
    let error =
        interrupted(|devices, job| devices.overwrite(job, b"other", cursor(job).range().start));
    assert!(matches!(error, JobError::Interference { .. }), "{error}");
}

#[test]
fn second_agent_does_nothing_while_the_first_one_works() {
    interrupted(|devices, job| {
        let error = start(devices, job).0.unwrap_err();
        assert!(error.to_string().contains("claimed already"), "{error}");
        devices.resize(job, SIZE * 2);
    });
}
