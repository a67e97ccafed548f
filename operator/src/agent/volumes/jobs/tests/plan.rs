//! The steps of a job on a device in memory, and which jobs may start.

use std::ops::Range;

use host::{Bytes, VgName};
use proptest::prelude::*;

use crate::agent::volumes::jobs::job::JobError;
use crate::agent::volumes::jobs::plan::{
    JobStep, ObservedJob, UnfinishedJob, check, may_start, plan,
};

const BLOCK: u64 = 4096;

fn device(size: u64, cursor: Range<u64>, position: Option<u64>) -> ObservedJob {
    ObservedJob {
        opened_size: Bytes(size),
        size: Bytes(size),
        cursor,
        position: position.map(Bytes),
    }
}

proptest! {
    #[test]
    fn portions_cover_all_but_the_cursor_once_and_in_order(
        blocks in 1..200_u64,
        cursor in 0..200_u64,
        portion in 1..60_u64,
    ) {
        let cursor = cursor.min(blocks - 1) * BLOCK;
        let cursor = cursor..cursor + BLOCK;
        let size = blocks * BLOCK;
        let mut position = None;
        let mut covered = 0;
        for _ in 0..blocks + 3 {
            match plan(&device(size, cursor.clone(), position), None, portion * BLOCK).unwrap() {
                JobStep::Begin => {
                    prop_assert_eq!(position, None);
                    position = Some(0);
                }
                JobStep::Portion(range) => {
                    let start = position.unwrap();
                    prop_assert!(range.start == start || (range.start == cursor.end && start == cursor.start));
                    prop_assert!(range.start < range.end && range.end - range.start <= portion * BLOCK);
                    prop_assert!(range.end <= cursor.start || range.start >= cursor.end);
                    covered += range.end - range.start;
                    position = Some(range.end);
                }
                JobStep::Complete => {
                    prop_assert_eq!(covered, size - BLOCK);
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "the job does not end");
    }

    #[test]
    fn any_recorded_position_leads_to_a_portion_inside_the_device(
        position in 0..1_u64 << 24,
        portion in any::<u64>(),
    ) {
        let cursor = 3 << 20..(3 << 20) + BLOCK;
        let device = device(4 << 20, cursor.clone(), Some(position));
        if let JobStep::Portion(range) = plan(&device, None, portion).unwrap() {
            prop_assert!(range.start >= position && range.start < range.end);
            prop_assert!(range.end <= cursor.start || range.start >= cursor.end);
            prop_assert!(range.end <= 4 << 20);
        }
    }
}

#[test]
fn plan_refuses_changed_devices() {
    let cursor = 3 << 20..(3 << 20) + BLOCK;
    let found = device(4 << 20, cursor.clone(), Some(BLOCK));
    assert!(check(&found, Some(Bytes(BLOCK))).is_ok());
    assert!(check(&found, None).is_ok());
    for recorded in [0, 1, BLOCK * 2] {
        let error = plan(&found, Some(Bytes(recorded)), BLOCK).unwrap_err();
        assert!(matches!(error, JobError::Interference { .. }));
    }
    let lost = device(4 << 20, cursor, None);
    assert!(plan(&lost, Some(Bytes(0)), BLOCK).is_err());
    let resized = ObservedJob {
        size: Bytes(8 << 20),
        ..found
    };
    let error = plan(&resized, None, BLOCK).unwrap_err();
    assert!(matches!(error, JobError::Resized { .. }));
}

#[test]
fn stalled_jobs_block_their_own_group_only() {
    let group = |name| VgName::new(name).unwrap();
    let job = |name, is_stalled| UnfinishedJob {
        group: group(name),
        is_stalled,
    };
    assert!(may_start(&[], &group("a"), 2));
    assert!(may_start(&[job("a", false)], &group("a"), 2));
    assert!(!may_start(
        &[job("a", false), job("b", false)],
        &group("c"),
        2
    ));
    assert!(!may_start(&[job("a", true)], &group("a"), 2));
    assert!(may_start(
        &[job("a", true), job("a", true), job("b", false)],
        &group("c"),
        2
    ));
}
