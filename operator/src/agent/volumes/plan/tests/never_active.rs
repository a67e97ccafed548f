//! RAIDs whose creation LVM has not completed.

use super::images::{mirror, mirrored, three_disks};
use super::*;

fn unfinished() -> Lv {
    Lv {
        active: false,
        raid_parts: RaidParts::NeverActive,
        ..mirror()
    }
}

fn removal() -> Step {
    LvmChange::RemoveNeverActive { uuid: uuid(1) }.into()
}

#[test]
fn raid_that_was_never_active_is_removed_in_each_state() {
    for state in [State::Present, State::Absent, State::AbsentIfNeverUsed] {
        for erase in [Erase::None, Erase::Zero] {
            let spec = VolumeSpec {
                state,
                erase,
                ..mirrored()
            };
            let groups = [three_disks(vec![unfinished()])];
            assert_eq!(next(&spec, &groups, None), removal(), "{state:?} {erase:?}");
        }
    }
    let with_checksums = VolumeSpec {
        layout: Layout::Raid {
            level: host::lvm::Level::Raid1 { copies: 2 },
            integrity: true,
        },
        ..mirrored()
    };
    let groups = [three_disks(vec![unfinished()])];
    assert_eq!(next(&with_checksums, &groups, None), removal());
}

#[test]
fn raid_is_kept_without_each_proof() {
    let former = Lv {
        tags: vec![
            TAGS[0].to_owned(),
            "flexlvm.dev/logicalvolume-uid=1".to_owned(),
        ],
        ..unfinished()
    };
    let of_earlier_version = Lv {
        tags: vec![TAGS[0].to_owned()],
        ..unfinished()
    };
    let converted = Lv {
        raid_parts: RaidParts::Visible,
        ..unfinished()
    };
    for lv in [former, of_earlier_version, converted] {
        for state in [State::Present, State::AbsentIfNeverUsed] {
            let spec = VolumeSpec {
                state,
                ..mirrored()
            };
            let outcome = settled(&spec, &[three_disks(vec![lv.clone()])], None);
            let update = outcome.ready.or(outcome.removed).unwrap();
            assert_eq!((update.status, update.reason), (false, reason::NOT_EMPTY));
            assert!(update.message.contains("so it is kept"), "{update:?}");
            assert!(!update.message.contains("setactivationskip"), "{update:?}");
        }
    }
}

#[test]
fn published_raid_is_never_removed_by_itself() {
    for raid_parts in [RaidParts::NeverActive, RaidParts::Visible] {
        let lv = Lv {
            raid_parts,
            ..unfinished()
        };
        for published in [1, 2] {
            let spec = VolumeSpec {
                published: Some(uuid(published)),
                ..mirrored()
            };
            let step = next(&spec, &[three_disks(vec![lv.clone()])], None);
            assert_ne!(step, removal());
            assert!(!matches!(
                step,
                Step::Act(Action::Change(LvmChange::Remove { .. }))
            ));
        }
    }
}

#[test]
fn raid_that_was_never_active_is_kept_while_the_metadata_are_older() {
    let step = plan(
        &mirrored(),
        ObservedVolume {
            rollback: Some(&super::rolled_back::seqno_fell()),
            ..observed(&[three_disks(vec![unfinished()])])
        },
    );
    let Step::Done(outcome) = step else {
        panic!("{step:?}");
    };
    assert_eq!(outcome.ready.unwrap().reason, reason::METADATA_ROLLED_BACK);
}
