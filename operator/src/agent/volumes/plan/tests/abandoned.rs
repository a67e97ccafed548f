//! Cases of a volume that was abandoned while its node was lost.

use super::rolled_back::seqno_fell;
use super::*;

fn abandoned() -> VolumeSpec {
    VolumeSpec {
        state: State::Abandoned,
        ..published()
    }
}

#[test]
fn abandoned_volume_is_reported_and_left_alone() {
    let renamed = Lv {
        name: "precious".to_owned(),
        ..lv()
    };
    for lv in [
        lv(),
        Lv { open: true, ..lv() },
        Lv {
            active: false,
            ..lv()
        },
        renamed,
    ] {
        for deleted in [false, true] {
            let spec = VolumeSpec {
                deleted,
                erase: Erase::Zero,
                ..abandoned()
            };
            let outcome = settled(&spec, &[vg(vec![lv.clone()])], None);
            let ready = outcome.ready.unwrap();
            assert_eq!((ready.status, ready.reason), (false, reason::ABANDONED));
            assert_eq!(outcome.volume.unwrap().0, lv.uuid);
            assert_eq!(outcome.removed, None);
        }
    }
}

#[test]
fn abandoned_volume_ends_only_if_its_group_is_complete_without_it() {
    let gone = settled(&abandoned(), &[vg(vec![])], None);
    assert!(gone.removed.unwrap().status);
    let partial = Vg {
        fault: Some(VgFault::Exported),
        ..vg(vec![])
    };
    for groups in [vec![], vec![partial]] {
        let outcome = settled(&abandoned(), &groups, None);
        assert_eq!(outcome.removed, None);
        assert!(!outcome.ready.unwrap().status);
    }
    // LVM may have forgotten it.
    let evidence = seqno_fell();
    let groups = [vg(vec![])];
    let rolled_back = ObservedVolume {
        rollback: Some(&evidence),
        ..observed(&groups)
    };
    let Step::Done(outcome) = plan(&abandoned(), rolled_back) else {
        panic!("nothing is done")
    };
    assert_eq!(outcome.removed, None);
    assert_eq!(outcome.ready.unwrap().reason, reason::METADATA_ROLLED_BACK);
}
