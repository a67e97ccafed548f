//! Cases of volumes that are erased before their removal.

use super::images::{mirror, mirrored, three_disks};
use super::rolled_back::seqno_fell;
use super::*;
use crate::agent::condition::ConditionUpdate;
use crate::agent::volumes::erasure::Erasure;

/// A released volume that is erased.
fn erased(spec: VolumeSpec) -> VolumeSpec {
    VolumeSpec {
        state: State::Absent,
        erase: Erase::Zero,
        ..spec
    }
}

fn next_with(spec: &VolumeSpec, groups: &[Vg], erasure: &Erasure) -> Step {
    let seen = ObservedVolume {
        erasure: Some(erasure),
        ..observed(groups)
    };
    plan(spec, seen)
}

fn erase() -> Step {
    Step::Act(Action::Erase { uuid: uuid(1) })
}

fn working() -> ConditionUpdate {
    ConditionUpdate {
        status: true,
        reason: reason::ZEROING,
        message: "5 %".to_owned(),
    }
}

#[test]
fn released_volume_is_erased_before_its_removal() {
    let spec = erased(published());
    // The job finds out whether another program has the device open: it has the device open itself.
    for open in [false, true] {
        let groups = [vg(vec![Lv { open, ..lv() }])];
        assert_eq!(next(&spec, &groups, None), erase());
        assert_eq!(
            next_with(&spec, &groups, &Erasure::Complete),
            remove(SegmentType::Plain)
        );
    }
    let raid = erased(mirrored());
    assert_eq!(next(&raid, &[three_disks(vec![mirror()])], None), erase());
}

#[test]
fn unfinished_erasure_keeps_the_volume_and_reports_its_progress() {
    let spec = erased(published());
    let groups = [vg(vec![lv()])];
    for (erasure, reason, progressing) in [
        (Erasure::InUse, reason::IN_USE, None),
        (Erasure::Unfinished(None), reason::ERASING, None),
        (
            Erasure::Unfinished(Some(working())),
            reason::ERASING,
            Some(working()),
        ),
        (
            Erasure::Failed(working()),
            reason::ERASE_FAILED,
            Some(working()),
        ),
    ] {
        let Step::Done(outcome) = next_with(&spec, &groups, &erasure) else {
            panic!("{erasure:?}");
        };
        let removed = outcome.removed.unwrap();
        assert_eq!((removed.status, removed.reason), (false, reason));
        assert_eq!(outcome.progressing, progressing);
    }
}

#[test]
fn inactive_volume_is_activated_for_its_erasure() {
    let inactive = Lv {
        active: false,
        ..lv()
    };
    let uuid = uuid(1);
    assert_eq!(
        next(&erased(published()), &[vg(vec![inactive])], None),
        LvmChange::Activate { uuid }.into()
    );
}

#[test]
fn volume_that_must_be_kept_is_not_erased() {
    let spec = erased(published());
    for role in [LvRole::Origin, LvRole::Snapshot] {
        let groups = [vg(vec![Lv { role, ..lv() }])];
        assert_eq!(removed(&spec, &groups, None), (false, reason::IN_USE));
    }
    let untagged = Lv {
        tags: Vec::new(),
        ..lv()
    };
    assert_ne!(next(&spec, &[vg(vec![untagged])], None), erase());
    let present = VolumeSpec {
        state: State::Present,
        ..spec.clone()
    };
    assert_ne!(next(&present, &[vg(vec![lv()])], None), erase());
    let groups = [vg(vec![lv()])];
    let rollback = seqno_fell();
    let seen = ObservedVolume {
        rollback: Some(&rollback),
        ..observed(&groups)
    };
    let Step::Done(outcome) = plan(&spec, seen) else {
        panic!("the volume is erased");
    };
    assert_eq!(
        outcome.removed.map(|removed| removed.reason),
        Some(reason::METADATA_ROLLED_BACK)
    );
}

#[test]
fn volume_that_was_never_used_is_removed_without_erasure() {
    let unused = VolumeSpec {
        state: State::AbsentIfNeverUsed,
        ..erased(spec())
    };
    assert_eq!(
        next(&unused, &[vg(vec![lv()])], Some(Content::Unformatted)),
        remove(SegmentType::Plain)
    );
}

#[test]
fn discard_is_done_by_lvm_during_the_removal() {
    let discarded = VolumeSpec {
        erase: Erase::Discard,
        ..erased(published())
    };
    let removal = LvmChange::Remove {
        uuid: uuid(1),
        segment_type: SegmentType::Plain,
        discard: Discard::Always,
    };
    assert_eq!(next(&discarded, &[vg(vec![lv()])], None), removal.into());
}
