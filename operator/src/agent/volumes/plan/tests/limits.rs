//! What LVM refuses in a group whose volumes can be used: more logical volumes than its limit, and
//! any change while a disk exists twice.

use super::images::mirrored;
use super::pool_and_cache::{cached, pool, thin};
use super::*;

fn limited(max: u64, lvs: Vec<Lv>) -> Vg {
    Vg {
        max_lvs: Some(max),
        ..vg(lvs)
    }
}

fn other(name: &str) -> Lv {
    Lv {
        name: name.to_owned(),
        uuid: uuid(8),
        tags: Vec::new(),
        ..lv()
    }
}

fn with_duplicate(lvs: Vec<Lv>) -> Vg {
    Vg {
        change_fault: Some(host::lvm::DuplicateDisk {
            used: "/dev/sd100".to_owned(),
            copy: "/dev/sdx".to_owned(),
        }),
        ..vg(lvs)
    }
}

#[test]
fn new_volume_waits_while_the_limit_is_reached() {
    let full = [limited(1, vec![other("root")])];
    let outcome = settled(&spec(), &full, None).ready.unwrap();
    assert_eq!(outcome.reason, reason::VOLUME_LIMIT_REACHED);
    assert_eq!(
        outcome.message,
        "volume group vg0 on node1 has 1 of 1 logical volumes (max_lv), but the volume needs 1 \
         more; raise the limit with vgchange --logicalvolume"
    );
    assert_eq!(
        next(&spec(), &[limited(2, vec![other("root")])], None),
        create(8, &[])
    );
}

#[test]
fn pool_cache_and_checksums_count_in_addition() {
    let checksums = VolumeSpec {
        layout: Layout::Raid {
            level: host::lvm::Level::Raid1 { copies: 2 },
            integrity: true,
        },
        ..mirrored()
    };
    for (spec, lvs, needs) in [
        (thin(), vec![], 2),
        (thin(), vec![pool(1)], 1),
        (cached(), vec![], 2),
        (mirrored(), vec![], 1),
        (checksums, vec![], 3),
    ] {
        let used = u64::try_from(lvs.len()).unwrap();
        let fits = [Vg {
            pvs: vec![pv(100, 50), pv(101, 50)],
            ..limited(used + needs, lvs.clone())
        }];
        assert!(matches!(next(&spec, &fits, None), Step::Act(_)), "{spec:?}");
        let full = [limited(used + needs - 1, lvs)];
        assert_eq!(
            ready(&spec, &full),
            (false, reason::VOLUME_LIMIT_REACHED),
            "{spec:?}"
        );
    }
}

#[test]
fn existing_volume_is_usable_and_grows_although_the_limit_is_reached() {
    let groups = [limited(1, vec![lv()])];
    assert_eq!(ready(&published(), &groups), (true, reason::READY));
    let larger = VolumeSpec {
        size: Bytes(33 << 20),
        ..published()
    };
    assert_eq!(next(&larger, &groups, None), extend(9, &[]));
}

#[test]
fn group_with_duplicate_disk_is_not_changed_and_its_volumes_stay_ready() {
    let groups = [with_duplicate(vec![lv()])];
    assert_eq!(ready(&published(), &groups), (true, reason::READY));
    let larger = VolumeSpec {
        size: Bytes(33 << 20),
        ..published()
    };
    let outcome = settled(&larger, &groups, None);
    let update = outcome.ready.unwrap();
    assert_eq!(update.reason, reason::VOLUME_GROUP_UNUSABLE);
    assert!(update.message.contains("/dev/sd100 exists twice"));
    assert!(outcome.volume.is_some());
    let absent = VolumeSpec {
        state: State::Absent,
        ..published()
    };
    assert_eq!(
        removed(&absent, &groups, None),
        (false, reason::VOLUME_GROUP_UNUSABLE)
    );
    assert_eq!(
        ready(&spec(), &[with_duplicate(vec![])]),
        (false, reason::VOLUME_GROUP_UNUSABLE)
    );
}

#[test]
fn insufficient_space_is_reported_with_numbers() {
    let large = VolumeSpec {
        size: Bytes(51 * EXTENT.0),
        ..spec()
    };
    let outcome = settled(&large, &[vg(vec![])], None);
    let update = outcome.ready.unwrap();
    assert_eq!(update.reason, reason::INSUFFICIENT_SPACE);
    assert_eq!(
        update.message,
        "no space in volume group vg0 on node1: 200 MiB free, 204 MiB needed"
    );

    // A volume that can't be extended stays usable.
    let outcome = settled(
        &VolumeSpec {
            size: Bytes(52 * EXTENT.0),
            ..published()
        },
        &[vg(vec![Lv {
            size: EXTENT,
            ..lv()
        }])],
        None,
    );
    let Outcome {
        ready: Some(update),
        volume,
        ..
    } = outcome
    else {
        panic!()
    };
    assert_eq!(
        update.message,
        "no space in volume group vg0 on node1: 200 MiB free, 204 MiB more needed"
    );
    assert_eq!(volume, Some((uuid(1), EXTENT)));
}
