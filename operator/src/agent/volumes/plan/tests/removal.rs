//! Cases in which a volume is removed or kept.

use super::images::{mirror, mirrored, three_disks};
use super::*;

#[test]
fn volume_is_removed_only_if_its_type_matches_the_spec() {
    let absent = VolumeSpec {
        state: State::Absent,
        ..mirrored()
    };
    assert_eq!(
        next(&absent, &[three_disks(vec![mirror()])], None),
        remove(SegmentType::Raid)
    );
    for segment_type in [SegmentType::Plain, SegmentType::Cached, SegmentType::Other] {
        let groups = [three_disks(vec![Lv {
            segment_type,
            ..mirror()
        }])];
        assert_eq!(
            removed(&absent, &groups, None),
            (false, reason::IN_USE),
            "{segment_type:?}"
        );
    }
    let linear = VolumeSpec {
        state: State::Absent,
        ..spec()
    };
    assert_eq!(
        removed(&linear, &[three_disks(vec![mirror()])], None),
        (false, reason::IN_USE)
    );
}

#[test]
fn deleting_the_object_keeps_the_volume() {
    let deleted = VolumeSpec {
        deleted: true,
        ..published()
    };
    let outcome = settled(&deleted, &[vg(vec![lv()])], None);
    assert!(outcome.ready.unwrap().status);
    assert_eq!(
        outcome.removed.map(|removed| removed.reason),
        Some(reason::DELETION_BLOCKED)
    );
    let never_made = VolumeSpec {
        deleted: true,
        ..spec()
    };
    assert_eq!(
        ready(&never_made, &[vg(vec![])]),
        (false, reason::DELETION_BLOCKED)
    );
}

#[test]
fn unready_volume_of_deleted_object_reports_both_conditions() {
    let deleted = VolumeSpec {
        deleted: true,
        ..spec()
    };
    let data = Some(Content::Data("ext4".to_owned()));
    let outcome = settled(&deleted, &[vg(vec![lv()])], data);
    assert_eq!(
        (outcome.ready.unwrap().reason, outcome.volume),
        (reason::NOT_EMPTY, None)
    );
    assert_eq!(outcome.removed.unwrap().reason, reason::DELETION_BLOCKED);
}

#[test]
fn released_volume_is_removed_unless_it_is_in_use() {
    for spec in [published(), spec()] {
        let spec = VolumeSpec {
            state: State::Absent,
            ..spec
        };
        let one = vg(vec![lv()]);
        let gone = vg(vec![]);
        assert_eq!(
            next(&spec, std::slice::from_ref(&one), None),
            remove(SegmentType::Plain)
        );
        assert!(removed(&spec, &[gone], None).0);
        assert_eq!(
            removed(&spec, &[vg(vec![Lv { open: true, ..lv() }])], None),
            (false, reason::IN_USE)
        );
        // `lvremove` would remove an origin's snapshots along with it.
        for role in [LvRole::Origin, LvRole::Snapshot] {
            let groups = [vg(vec![Lv { role, ..lv() }])];
            assert_eq!(removed(&spec, &groups, None), (false, reason::IN_USE));
        }
        let broken = Vg {
            fault: Some(host::lvm::VgFault::DisksMissing { count: 1 }),
            ..one
        };
        assert_eq!(
            removed(&spec, &[broken], None),
            (false, reason::VOLUME_GROUP_UNUSABLE)
        );
        assert_eq!(
            removed(&spec, &[], None),
            (false, reason::VOLUME_GROUP_MISSING)
        );
    }
}

#[test]
fn unused_volume_is_removed_only_if_proven_empty() {
    let groups = [vg(vec![lv()])];
    let unused = |spec: VolumeSpec| VolumeSpec {
        state: State::AbsentIfNeverUsed,
        ..spec
    };
    for spec in [unused(spec()), unused(published())] {
        assert_eq!(next(&spec, &groups, None), inspect());
        assert_eq!(
            next(&spec, &groups, Some(Content::Unformatted)),
            remove(SegmentType::Plain)
        );
        assert_eq!(
            next(&spec, &groups, Some(Content::Formatting)),
            remove(SegmentType::Plain)
        );
        let data = Some(Content::Data("ext4".to_owned()));
        assert_eq!(removed(&spec, &groups, data), (false, reason::NOT_EMPTY));
    }
    assert_eq!(
        next(&unused(spec()), &groups, Some(Content::Blank)),
        remove(SegmentType::Plain)
    );
    assert_eq!(
        removed(&unused(published()), &groups, Some(Content::Blank)),
        (false, reason::NOT_EMPTY)
    );
    // The start of a volume with raw data may be blank: it was in use if its object was restored.
    let former = "flexlvm.dev/logicalvolume-uid=1";
    for tags in [
        &[TAGS[0], former][..],
        &[TAGS[1], TAGS[0], former],
        &[TAGS[0]],
    ] {
        let tags = tags.iter().copied().map(str::to_owned).collect();
        let restored = [vg(vec![Lv { tags, ..lv() }])];
        assert_eq!(
            removed(&unused(spec()), &restored, Some(Content::Blank)),
            (false, reason::NOT_EMPTY)
        );
        assert_eq!(
            next(&unused(spec()), &restored, Some(Content::Unformatted)),
            remove(SegmentType::Plain)
        );
    }
    assert_eq!(
        removed(&unused(spec()), &[vg(vec![])], None),
        (true, reason::NEVER_CREATED)
    );
    assert_eq!(
        removed(&unused(spec()), &[], None),
        (true, reason::NEVER_CREATED)
    );
    assert_eq!(
        removed(&unused(published()), &[], None),
        (false, reason::VOLUME_GROUP_MISSING)
    );
}
