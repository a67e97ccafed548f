//! Volumes whose status has another uuid: before Kubernetes 1.30, an agent of another node can write
//! it.

use super::*;

const FORMER: &str = "flexlvm.dev/logicalvolume-uid=1";
const RESTORED: &str = "flexlvm.dev/logicalvolume-uid=restored";

/// Returns the spec of an object whose status has the uuid of no volume.
fn overwritten() -> VolumeSpec {
    VolumeSpec {
        published: Some(uuid(7)),
        ..spec()
    }
}

fn absent(spec: VolumeSpec) -> VolumeSpec {
    VolumeSpec {
        state: State::Absent,
        ..spec
    }
}

fn tagged(tags: &[&str]) -> Lv {
    Lv {
        tags: tags.iter().copied().map(str::to_owned).collect(),
        ..lv()
    }
}

/// Returns a volume of another claim, which has the uuid in the status.
fn victim() -> Lv {
    Lv {
        name: "pvc-2".to_owned(),
        uuid: uuid(7),
        tags: vec!["flexlvm.dev/claim-uid=2".to_owned()],
        ..lv()
    }
}

fn all_contents() -> [Content; 4] {
    [
        Content::Unformatted,
        Content::Formatting,
        Content::Blank,
        Content::Data("ext4".to_owned()),
    ]
}

#[test]
fn uuid_of_marked_volume_is_corrected() {
    for groups in [[vg(vec![lv()])], [vg(vec![victim(), lv()])]] {
        assert_eq!(next(&overwritten(), &groups, None), inspect());
        for content in [Content::Unformatted, Content::Formatting] {
            let outcome = settled(&overwritten(), &groups, Some(content));
            assert!(outcome.ready.unwrap().status);
            assert_eq!(outcome.volume, Some((uuid(1), Bytes(32 << 20))));
        }
    }
}

#[test]
fn uuid_is_corrected_although_the_volume_can_not_grow() {
    let large = VolumeSpec {
        size: Bytes(200 * EXTENT.0),
        ..overwritten()
    };
    let groups = [vg(vec![lv()])];
    let outcome = settled(&large, &groups, Some(Content::Unformatted));
    assert_eq!(outcome.ready.unwrap().reason, reason::INSUFFICIENT_SPACE);
    assert_eq!(outcome.volume, Some((uuid(1), Bytes(32 << 20))));
}

/// The status may have been overwritten before LVM wiped the volume: its content can be a former
/// tenant's.
#[test]
fn volume_without_marker_waits_for_its_admin() {
    let groups = [vg(vec![lv()])];
    for content in [Content::Blank, Content::Data("ext4".to_owned())] {
        let outcome = settled(&overwritten(), &groups, Some(content));
        let ready = outcome.ready.unwrap();
        assert_eq!(
            (ready.status, ready.reason, outcome.volume),
            (false, reason::NOT_EMPTY, None)
        );
        let remedy = format!("confirm it by: lvchange --addtag {RESTORED} vg0/pvc-1");
        assert!(ready.message.ends_with(&remedy), "{}", ready.message);
    }
}

#[test]
fn volume_of_former_object_is_published_as_it_is() {
    for tags in [
        &[TAGS[0], FORMER][..],
        &[TAGS[0], TAGS[1], RESTORED],
        &[TAGS[0], RESTORED],
    ] {
        for content in all_contents() {
            let outcome = settled(&overwritten(), &[vg(vec![tagged(tags)])], Some(content));
            assert!(outcome.ready.unwrap().status, "{tags:?}");
            assert_eq!(outcome.volume, Some((uuid(1), Bytes(32 << 20))));
        }
    }
}

#[test]
fn volume_of_another_claim_is_never_taken_for_a_renamed_one() {
    let groups = [vg(vec![victim()])];
    let outcome = settled(&overwritten(), &groups, None);
    let ready = outcome.ready.unwrap();
    assert_eq!(ready.reason, reason::LOGICAL_VOLUME_MISSING);
    assert!(ready.message.contains("is missing"), "{}", ready.message);
    assert_eq!(
        removed(&absent(overwritten()), &groups, None),
        (true, reason::REMOVED)
    );
}

#[test]
fn copy_with_former_name_of_renamed_volume_is_left_unchanged() {
    let renamed = Lv {
        name: "precious".to_owned(),
        ..lv()
    };
    let copy = Lv {
        uuid: uuid(2),
        ..lv()
    };
    let groups = [vg(vec![renamed, copy])];
    assert_eq!(
        ready(&published(), &groups),
        (false, reason::LOGICAL_VOLUME_MISSING)
    );
    assert_eq!(
        removed(&absent(published()), &groups, None),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );
}

#[test]
fn volume_with_tags_of_its_object_is_removed() {
    for tags in [&TAGS[..], &[TAGS[0], RESTORED]] {
        for others in [vec![], vec![victim()]] {
            let groups = [vg([vec![tagged(tags)], others].concat())];
            assert_eq!(
                next(&absent(overwritten()), &groups, None),
                remove(SegmentType::Plain)
            );
        }
    }
}

#[test]
fn volume_with_tag_of_its_claim_alone_is_not_removed() {
    for tags in [&[TAGS[0]][..], &[TAGS[0], FORMER]] {
        let outcome = settled(&absent(overwritten()), &[vg(vec![tagged(tags)])], None);
        let removed = outcome.removed.unwrap();
        assert_eq!(
            (removed.status, removed.reason),
            (false, reason::FOREIGN_LOGICAL_VOLUME)
        );
        for remedy in [
            format!("lvchange --addtag {RESTORED} vg0/pvc-1"),
            format!("lvchange --deltag {} vg0/pvc-1", TAGS[0]),
        ] {
            assert!(removed.message.contains(&remedy), "{}", removed.message);
        }
    }
}

#[test]
fn never_used_volume_with_tags_of_its_object_is_removed_only_with_marker() {
    let unused = VolumeSpec {
        state: State::AbsentIfNeverUsed,
        ..overwritten()
    };
    let groups = [vg(vec![lv()])];
    assert_eq!(
        next(&unused, &groups, Some(Content::Unformatted)),
        remove(SegmentType::Plain)
    );
    for content in [Content::Blank, Content::Data("ext4".to_owned())] {
        assert_eq!(
            removed(&unused, &groups, Some(content)),
            (false, reason::NOT_EMPTY)
        );
    }
}
