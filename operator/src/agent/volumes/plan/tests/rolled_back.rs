//! Cases of a volume in a group whose metadata may have gone back to an older state.

use super::*;
use crate::agent::lvm::rollback::Rollback;

/// Evidence of the node.
pub(super) fn seqno_fell() -> Rollback {
    Rollback::SeqnoFell {
        group: "vg0".to_owned(),
        seqno: 5,
        highest: 9,
        record: "/record".into(),
    }
}

/// Evidence of the API.
fn volume_missing() -> Rollback {
    Rollback::VolumeMissing {
        group: "vg0".to_owned(),
        volume: "pvc-7".to_owned(),
    }
}

fn next_in(
    spec: &VolumeSpec,
    groups: &[Vg],
    content: Option<&Content>,
    rollback: &Rollback,
) -> Step {
    let seen = ObservedVolume {
        rollback: Some(rollback),
        content,
        ..observed(groups)
    };
    plan(spec, seen)
}

fn outcome_in(spec: &VolumeSpec, groups: &[Vg], rollback: &Rollback) -> Outcome {
    match next_in(spec, groups, None, rollback) {
        Step::Done(outcome) => *outcome,
        Step::Act(action) => panic!("{action:?}"),
    }
}

#[test]
fn new_volume_and_growth_are_held_back_by_any_evidence() {
    let larger = VolumeSpec {
        size: Bytes(64 << 20),
        ..published()
    };
    for rollback in [seqno_fell(), volume_missing()] {
        for (spec, lvs) in [(spec(), vec![]), (larger.clone(), vec![lv()])] {
            let outcome = outcome_in(&spec, &[vg(lvs)], &rollback);
            let ready = outcome.ready.as_ref().unwrap();
            assert_eq!(
                (ready.status, ready.reason),
                (false, reason::METADATA_ROLLED_BACK)
            );
            assert!(
                ready.message.starts_with(
                    "nothing is created, extended or removed in volume group vg0 on node1: "
                ),
                "{}",
                ready.message
            );
            assert_eq!(outcome.volume, None, "uuid and size stay as published");
            assert!(outcome.awaits_other_volumes());
        }
    }
}

#[test]
fn intact_volume_stays_ready_and_keeps_an_outdated_tag() {
    let trace = Some(LvTag::new("flexlvm.dev/claim=shop/new").unwrap());
    let spec = VolumeSpec {
        trace,
        ..published()
    };
    let mut tags = lv().tags;
    tags.push("flexlvm.dev/claim=default/old".to_owned());
    let outcome = outcome_in(&spec, &[vg(vec![Lv { tags, ..lv() }])], &seqno_fell());
    assert!(outcome.ready.unwrap().status);
}

#[test]
fn volume_is_removed_unless_evidence_is_of_the_node() {
    let absent = VolumeSpec {
        state: State::Absent,
        ..published()
    };
    let groups = [vg(vec![lv()])];
    assert_eq!(
        next_in(&absent, &groups, None, &volume_missing()),
        remove(SegmentType::Plain)
    );
    let kept = outcome_in(&absent, &groups, &seqno_fell()).removed.unwrap();
    assert_eq!(
        (kept.status, kept.reason),
        (false, reason::METADATA_ROLLED_BACK)
    );
}

#[test]
fn volume_that_only_old_metadata_lacks_does_not_count_as_removed() {
    let absent = VolumeSpec {
        state: State::Absent,
        ..published()
    };
    let retained = VolumeSpec {
        deleted: true,
        reclaim_policy: ReclaimPolicy::Retain,
        ..published()
    };
    for spec in [absent, retained] {
        let removed = outcome_in(&spec, &[vg(vec![])], &seqno_fell()).removed;
        assert!(!removed.unwrap().status, "{spec:?}");
        let removed = outcome_in(&spec, &[vg(vec![])], &volume_missing()).removed;
        assert!(removed.unwrap().status, "{spec:?}");
    }
}

#[test]
fn unfinished_volume_is_inspected_but_not_marked() {
    let groups = [vg(vec![lv()])];
    assert_eq!(next_in(&spec(), &groups, None, &seqno_fell()), inspect());
    let next = next_in(&spec(), &groups, Some(&Content::Blank), &seqno_fell());
    assert!(matches!(next, Step::Done(_)), "{next:?}");
}
