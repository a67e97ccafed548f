//! Volumes of several images, and their disks.

use host::lvm::Level;

use super::*;

/// Returns the spec of a RAID1 of eight extents on the first two of three disks.
pub(super) fn mirrored() -> VolumeSpec {
    let layout = Layout::Raid {
        level: Level::Raid1 { copies: 2 },
        integrity: false,
    };
    let disks = [100, 101]
        .map(|disk| (uuid(disk), Extents(9).bytes(EXTENT)))
        .into();
    VolumeSpec {
        layout,
        disks,
        ..spec()
    }
}

/// Returns a group of three disks, the last of which is full.
pub(super) fn three_disks(lvs: Vec<Lv>) -> Vg {
    Vg {
        pvs: vec![pv(100, 50), pv(101, 50), pv(102, 0)],
        ..vg(lvs)
    }
}

pub(super) fn mirror() -> Lv {
    let shares = [100, 101].map(|disk| (uuid(disk), Extents(9))).into();
    Lv {
        segment_type: SegmentType::Raid,
        shares,
        ..lv()
    }
}

#[test]
fn images_are_created_and_extended_on_their_reserved_disks() {
    let devices = ["/dev/sd100", "/dev/sd101"];
    assert_eq!(
        next(&mirrored(), &[three_disks(vec![])], None),
        create(8, &devices)
    );
    let larger = VolumeSpec {
        size: Bytes(33 << 20),
        published: Some(uuid(1)),
        ..mirrored()
    };
    assert_eq!(
        next(&larger, &[three_disks(vec![mirror()])], None),
        extend(9, &devices)
    );
    assert!(
        ready(
            &VolumeSpec {
                published: Some(uuid(1)),
                ..mirrored()
            },
            &[three_disks(vec![mirror()])]
        )
        .0
    );

    let full = Vg {
        pvs: vec![pv(100, 50), pv(101, 8), pv(102, 100)],
        ..vg(vec![])
    };
    let outcome = settled(&mirrored(), &[full], None).ready.unwrap();
    assert_eq!(outcome.reason, reason::INSUFFICIENT_SPACE);
    assert_eq!(
        outcome.message,
        "no space on disk /dev/sd101 of volume group vg0 on node1: 32 MiB free, 36 MiB needed"
    );
    let gone = Vg {
        pvs: vec![pv(100, 50), pv(102, 100)],
        ..vg(vec![])
    };
    assert!(
        settled(&mirrored(), &[gone], None)
            .ready
            .unwrap()
            .message
            .contains("is missing in volume group vg0")
    );
    let full = Vg {
        pvs: vec![pv(100, 0), pv(101, 8), pv(102, 100)],
        ..vg(vec![mirror()])
    };
    assert!(
        settled(&larger, &[full], None)
            .ready
            .unwrap()
            .message
            .starts_with("no space on disk /dev/sd100")
    );
}

#[test]
fn linear_volume_uses_any_free_extents() {
    let on_full = VolumeSpec {
        disks: [(uuid(102), Bytes(32 << 20))].into(),
        ..spec()
    };
    assert_eq!(next(&on_full, &[three_disks(vec![])], None), create(8, &[]));
    let kept_back = Pv {
        allocatable: false,
        ..pv(100, 50)
    };
    let group = Vg {
        pvs: vec![kept_back, pv(101, 7)],
        ..vg(vec![])
    };
    assert_eq!(
        ready(&spec(), &[group]),
        (false, reason::INSUFFICIENT_SPACE)
    );
}

#[test]
fn missing_integrity_is_added_before_publication() {
    let layout = Layout::Raid {
        level: Level::Raid1 { copies: 2 },
        integrity: true,
    };
    let checked = VolumeSpec {
        layout,
        ..mirrored()
    };
    let groups = [three_disks(vec![mirror()])];
    assert_eq!(
        next(&checked, &groups, None),
        LvmChange::AddIntegrity.into()
    );
    let published = VolumeSpec {
        published: Some(uuid(1)),
        ..checked
    };
    assert!(
        ready(&published, &groups).0,
        "an admin may have removed the checksums on purpose"
    );
}

#[test]
fn extent_size_unsuitable_for_the_layout_is_reported() {
    let small = Vg {
        extent_size: Bytes(256 << 10),
        ..three_disks(vec![])
    };
    assert_eq!(
        ready(&mirrored(), &[small]),
        (false, reason::LAYOUT_UNSUITABLE)
    );
}
