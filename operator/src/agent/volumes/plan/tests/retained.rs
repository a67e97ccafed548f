//! Cases of a deleted object whose volume has the reclaim policy Retain.

use super::*;

fn deleted() -> VolumeSpec {
    VolumeSpec {
        deleted: true,
        reclaim_policy: ReclaimPolicy::Retain,
        ..published()
    }
}

fn untagged() -> Lv {
    Lv {
        tags: Vec::new(),
        ..lv()
    }
}

fn renamed(lv: Lv) -> Lv {
    Lv {
        name: "precious".to_owned(),
        ..lv
    }
}

#[test]
fn retained_volume_of_deleted_object_is_kept_and_message_has_both_ways_out() {
    let outcome = settled(&deleted(), &[vg(vec![lv()])], None);
    assert!(outcome.ready.unwrap().status);
    let removed = outcome.removed.unwrap();
    assert_eq!(
        (removed.status, removed.reason),
        (false, reason::DELETION_BLOCKED)
    );
    for phrase in [
        "reclaim policy Retain keeps logical volume vg0/pvc-1",
        "spec.state to Absent",
        "on node1: lvchange --deltag flexlvm.dev/claim-uid=1 vg0/pvc-1",
    ] {
        assert!(removed.message.contains(phrase), "{}", removed.message);
    }
}

#[test]
fn deleted_object_ends_once_its_volume_is_gone_or_has_lost_its_tag() {
    for (lvs, expected) in [
        (vec![], (true, reason::REMOVED)),
        // Another volume took the name.
        (
            vec![Lv {
                uuid: uuid(2),
                ..untagged()
            }],
            (true, reason::REMOVED),
        ),
        (vec![untagged()], (true, reason::FOREIGN_LOGICAL_VOLUME)),
        (
            vec![renamed(untagged())],
            (true, reason::FOREIGN_LOGICAL_VOLUME),
        ),
        (vec![renamed(lv())], (false, reason::DELETION_BLOCKED)),
    ] {
        let groups = [vg(lvs)];
        assert_eq!(removed(&deleted(), &groups, None), expected, "{groups:?}");
        assert!(!settled(&deleted(), &groups, None).ready.unwrap().status);
    }
}

/// An agent of another node can write the uuid of any volume before Kubernetes 1.30.
#[test]
fn deleted_object_stays_while_any_volume_has_its_tag() {
    let root = Lv {
        name: "root".to_owned(),
        uuid: uuid(7),
        ..untagged()
    };
    let overwritten = VolumeSpec {
        published: Some(uuid(7)),
        ..deleted()
    };
    for lvs in [
        vec![lv()],
        vec![lv(), root.clone()],
        vec![renamed(lv()), root],
    ] {
        let groups = [vg(lvs)];
        let content = Some(Content::Data("ext4".to_owned()));
        assert_eq!(
            removed(&overwritten, &groups, content),
            (false, reason::DELETION_BLOCKED),
            "{groups:?}"
        );
    }
}

#[test]
fn deleted_object_stays_while_its_volume_may_be_invisible() {
    let faulty = Vg {
        fault: Some(VgFault::DisksMissing { count: 1 }),
        ..vg(vec![])
    };
    for groups in [vec![], vec![faulty]] {
        assert_eq!(
            removed(&deleted(), &groups, None),
            (false, reason::DELETION_BLOCKED)
        );
    }
}

#[test]
fn only_deleted_object_with_policy_retain_ends_without_its_volume() {
    for spec in [
        VolumeSpec {
            deleted: false,
            ..deleted()
        },
        VolumeSpec {
            reclaim_policy: ReclaimPolicy::Delete,
            ..deleted()
        },
        VolumeSpec {
            published: None,
            ..deleted()
        },
    ] {
        let outcome = settled(&spec, &[vg(vec![untagged()])], None);
        assert!(!outcome.removed.is_some_and(|removed| removed.status));
    }
}

#[test]
fn retained_volume_is_removed_when_its_state_is_absent() {
    let absent = VolumeSpec {
        state: State::Absent,
        ..deleted()
    };
    assert_eq!(
        next(&absent, &[vg(vec![lv()])], None),
        remove(SegmentType::Plain)
    );
}
