//! Health of existing volumes: missing disks, RAID images, thin pools; and the volumes on the other
//! disks of a partial group.

use std::collections::BTreeSet;

use crds::cache::CacheMode;
use host::lvm::{Level, LvHealth, PoolFault, PoolState, RaidSync, Stripes, SyncKind};

use super::images::{mirror, mirrored};
use super::pool_and_cache::{cached, pool, thin};
use super::*;
use crate::agent::condition::ConditionUpdate;
use crate::agent::volumes::spec::CacheSpec;

/// Returns a group of two disks, of which disk 101 is missing.
fn partial(lvs: Vec<Lv>) -> Vg {
    let missing = Pv {
        name: "[unknown]".to_owned(),
        allocatable: false,
        is_missing: true,
        ..pv(101, 50)
    };
    Vg {
        fault: Some(VgFault::DisksMissing { count: 1 }),
        pvs: vec![pv(100, 50), missing],
        ..vg(lvs)
    }
}

/// Returns a volume on the missing disk.
fn on_missing_disk() -> Lv {
    Lv {
        shares: BTreeMap::from([(uuid(101), Extents(8))]),
        health: LvHealth::Partial,
        ..lv()
    }
}

/// Returns `Ready` and `Healthy`.
fn conditions(spec: &VolumeSpec, vg: Vg) -> [ConditionUpdate; 2] {
    let outcome = settled(spec, &[vg], None);
    assert!(outcome.volume.is_some());
    [outcome.ready.unwrap(), outcome.healthy.unwrap()]
}

#[test]
fn volume_on_intact_disks_of_a_partial_group_stays_ready() {
    let other = Lv {
        name: "pvc-2".to_owned(),
        uuid: uuid(2),
        ..on_missing_disk()
    };
    let [ready, healthy] = conditions(&published(), partial(vec![lv(), other]));
    assert_eq!((ready.status, ready.reason), (true, reason::READY));
    assert_eq!((healthy.status, healthy.reason), (true, reason::HEALTHY));
}

#[test]
fn volume_of_group_that_permits_no_change_stays_ready_until_it_has_to_grow() {
    for fault in [VgFault::NotResizeable, VgFault::ReadOnly] {
        let unchangeable = Vg {
            fault: Some(fault),
            ..vg(vec![lv()])
        };
        let [now, healthy] = conditions(&published(), unchangeable.clone());
        assert!(now.status && healthy.status);
        let larger = VolumeSpec {
            size: Bytes(64 << 20),
            ..published()
        };
        assert_eq!(
            ready(&larger, &[unchangeable]),
            (false, reason::VOLUME_GROUP_UNUSABLE)
        );
    }
    let exported = Vg {
        fault: Some(VgFault::Exported),
        ..vg(vec![lv()])
    };
    assert!(!ready(&published(), &[exported]).0);
}

#[test]
fn partial_group_is_not_changed() {
    let group = [partial(vec![lv()])];
    let larger = VolumeSpec {
        size: Bytes(64 << 20),
        ..published()
    };
    let retagged = VolumeSpec {
        trace: Some(LvTag::new("flexlvm.dev/claim=shop/new").unwrap()),
        ..published()
    };
    let outcome = settled(&larger, &group, None);
    assert_eq!(outcome.ready.unwrap().reason, reason::VOLUME_GROUP_UNUSABLE);
    assert_eq!(outcome.healthy.unwrap().reason, reason::HEALTHY);
    assert_eq!(outcome.volume, Some((uuid(1), lv().size)));
    let mut outdated = lv();
    outdated
        .tags
        .push("flexlvm.dev/claim=default/old".to_owned());
    assert_eq!(
        ready(&retagged, &[partial(vec![outdated])]),
        (true, reason::READY)
    );
    // A new volume, and one that was never published, go elsewhere.
    for groups in [[partial(vec![])], [partial(vec![lv()])]] {
        assert_eq!(
            ready(&spec(), &groups),
            (false, reason::VOLUME_GROUP_UNUSABLE)
        );
    }
    // Nothing is removed, neither the intact volume nor the one on the missing disk.
    for state in [State::Absent, State::AbsentIfNeverUsed] {
        for lv in [lv(), on_missing_disk()] {
            let absent = VolumeSpec {
                state,
                ..published()
            };
            assert_eq!(
                removed(&absent, &[partial(vec![lv])], Some(Content::Unformatted)),
                (false, reason::VOLUME_GROUP_UNUSABLE)
            );
        }
    }
}

#[test]
fn volume_on_missing_disk_has_failed() {
    let conditions = conditions(&published(), partial(vec![on_missing_disk()]));
    for condition in &conditions {
        assert!(!condition.status && condition.reason == reason::FAILED);
        let message = &condition.message;
        for phrase in [
            "vg0/pvc-1 on node1 has failed",
            &format!("is on physical volume {}, which", uuid(101)),
            "vgextend --restoremissing vg0",
        ] {
            assert!(message.contains(phrase), "{message}");
        }
    }
    // Not even a refresh is tried on it.
    let groups = [partial(vec![on_missing_disk()])];
    let device = host::block::DeviceState {
        size: EXTENT,
        is_suspended: true,
    };
    let step = plan(
        &published(),
        ObservedVolume {
            device: Some(device),
            ..observed(&groups)
        },
    );
    assert!(matches!(step, Step::Done(_)), "{step:?}");
}

#[test]
fn raid_is_degraded_while_its_level_allows_and_failed_beyond() {
    let spec = VolumeSpec {
        published: Some(uuid(1)),
        ..mirrored()
    };
    let without = |images: &[u32]| Lv {
        health: LvHealth::Partial,
        missing_images: images.iter().copied().collect::<BTreeSet<_>>(),
        ..mirror()
    };
    let [ready, healthy] = conditions(&spec, partial(vec![without(&[1])]));
    assert!(ready.status);
    assert_eq!(healthy.reason, reason::DEGRADED);
    assert!(healthy.message.contains("lvconvert --repair vg0/pvc-1"));
    assert!(healthy.message.contains(uuid(101).as_str()));
    let [ready, healthy] = conditions(&spec, partial(vec![without(&[0, 1])]));
    assert_eq!(
        (ready.reason, healthy.reason),
        (reason::FAILED, reason::FAILED)
    );
    // LVM has given the missing disk up: the group is complete, an image is missing.
    let [ready, healthy] = conditions(&spec, vg(vec![without(&[])]));
    assert!(ready.status && healthy.reason == reason::DEGRADED);
    let failed_image = Lv {
        health: LvHealth::ImageFailed,
        ..mirror()
    };
    let [ready, healthy] = conditions(&spec, vg(vec![failed_image]));
    assert!(ready.status && healthy.reason == reason::DEGRADED);
    assert!(healthy.message.contains("lvchange --refresh vg0/pvc-1"));
}

/// Returns a volume in a pool with this fault.
fn in_pool(fault: PoolFault, metadata_used: u32) -> Vg {
    let state = PoolState {
        fault: Some(fault),
        metadata_used,
        ..pool(100).state.unwrap()
    };
    let faulty = Lv {
        state: Some(state),
        ..pool(100)
    };
    let thin = Lv {
        segment_type: SegmentType::Thin,
        pool: Some(pool(1).name),
        shares: BTreeMap::new(),
        ..lv()
    };
    vg(vec![thin, faulty])
}

#[test]
fn volume_in_full_or_failed_pool_is_not_healthy() {
    let spec = VolumeSpec {
        published: Some(uuid(1)),
        ..thin()
    };
    let pool = "flexlvm-thin".to_owned();
    let read_only = PoolFault::MetadataReadOnly { pool: pool.clone() };
    for (fault, metadata_used, is_ready, reason) in [
        (PoolFault::DataFull, 2, true, reason::POOL_FULL),
        (read_only.clone(), 100, true, reason::POOL_METADATA_FULL),
        (read_only, 50, true, reason::POOL_READ_ONLY),
        (PoolFault::Failed { pool }, 0, false, reason::FAILED),
    ] {
        let [ready, healthy] = conditions(&spec, in_pool(fault.clone(), metadata_used));
        assert_eq!((ready.status, healthy.status), (is_ready, false));
        assert_eq!(healthy.reason, reason);
        for phrase in [
            "thin pool vg0/flexlvm-thin",
            &fault.to_string(),
            "100 % of its data",
        ] {
            assert!(healthy.message.contains(phrase), "{}", healthy.message);
        }
    }
}

#[test]
fn volume_that_failed_before_its_publication_is_not_published() {
    let failed = PoolFault::Failed {
        pool: "flexlvm-thin".to_owned(),
    };
    let outcome = settled(&thin(), &[in_pool(failed, 0)], Some(Content::Unformatted));
    assert_eq!(outcome.ready.unwrap().reason, reason::FAILED);
    assert_eq!((outcome.volume, outcome.healthy), (None, None));
}

#[test]
fn published_volume_that_is_missing_is_not_healthy() {
    let outcome = settled(&published(), &[vg(vec![])], None);
    let healthy = outcome.healthy.unwrap();
    assert!(!healthy.status && healthy.reason == reason::LOGICAL_VOLUME_MISSING);
    assert_eq!(settled(&spec(), &[], None).healthy, None);
}

/// Returns the condition `Healthy` of a RAID while it is synchronized.
fn synchronized(layout: Layout, kind: SyncKind, mismatches: u64) -> ConditionUpdate {
    let spec = VolumeSpec {
        published: Some(uuid(1)),
        layout,
        ..mirrored()
    };
    let raid = Lv {
        sync: Some(RaidSync { kind, percent: 45 }),
        integrity_mismatches: mismatches,
        ..mirror()
    };
    let [ready, healthy] = conditions(&spec, vg(vec![raid]));
    assert!(ready.status, "{ready:?}");
    healthy
}

#[test]
fn synchronized_volume_is_healthy_if_it_could_lose_a_disk() {
    let stripes = Stripes {
        count: 2,
        size: Bytes(64 << 10),
    };
    let raid = |level| Layout::Raid {
        level,
        integrity: false,
    };
    let raid1 = raid(Level::Raid1 { copies: 2 });
    for (layout, kind, is_healthy) in [
        (raid1, SyncKind::Resync, true),
        (raid1, SyncKind::Recover, false),
        (raid(Level::Raid10(stripes)), SyncKind::Resync, true),
        (raid(Level::Raid10(stripes)), SyncKind::Recover, false),
        (raid(Level::Raid5(stripes)), SyncKind::Resync, false),
        (raid(Level::Raid6(stripes)), SyncKind::Recover, false),
        // An admin converted it.
        (Layout::Linear, SyncKind::Resync, false),
    ] {
        let healthy = synchronized(layout, kind, 0);
        let found = (healthy.status, healthy.reason);
        assert_eq!(
            found,
            (is_healthy, reason::RESYNCING),
            "{layout:?} {kind:?}"
        );
        assert!(healthy.message.contains("45 %"), "{}", healthy.message);
    }
}

#[test]
fn worst_fault_is_reported() {
    let raid1 = mirrored().layout;
    let healthy = synchronized(raid1, SyncKind::Resync, 3);
    assert_eq!(
        (healthy.status, healthy.reason),
        (false, reason::INTEGRITY_MISMATCHES)
    );
    assert!(
        healthy.message.contains("but 3 reads"),
        "{}",
        healthy.message
    );
    let worse = Lv {
        health: LvHealth::ImageFailed,
        integrity_mismatches: 3,
        ..mirror()
    };
    let spec = VolumeSpec {
        published: Some(uuid(1)),
        ..mirrored()
    };
    let [_, healthy] = conditions(&spec, vg(vec![worse]));
    assert_eq!(healthy.reason, reason::DEGRADED);
}

/// Returns `Ready` and `Healthy` of a volume with this cache mode.
fn with_cache(
    mode: CacheMode,
    health: LvHealth,
    missing_part: MissingPart,
) -> [ConditionUpdate; 2] {
    let cache = cached().cache.map(|cache| CacheSpec { mode, ..cache });
    let spec = VolumeSpec {
        published: Some(uuid(1)),
        cache,
        ..cached()
    };
    let lv = Lv {
        segment_type: SegmentType::Cached,
        shares: [100, 101].map(|disk| (uuid(disk), Extents(8))).into(),
        health,
        missing_part,
        ..lv()
    };
    let group = match missing_part {
        MissingPart::None => vg(vec![lv]),
        MissingPart::Cache | MissingPart::Data => partial(vec![lv]),
    };
    conditions(&spec, group)
}

#[test]
fn lost_or_failed_cache_is_distinguished_from_lost_data() {
    let through = CacheMode::WriteThrough;
    let back = CacheMode::WriteBack;
    for (mode, health, missing_part, phrase) in [
        (
            through,
            LvHealth::Partial,
            MissingPart::Cache,
            "all data are on",
        ),
        (
            back,
            LvHealth::Partial,
            MissingPart::Cache,
            "the writes that are only there",
        ),
        (
            through,
            LvHealth::Failed,
            MissingPart::None,
            "its cache has failed",
        ),
    ] {
        for condition in with_cache(mode, health, missing_part) {
            assert!(!condition.status && condition.reason == reason::CACHE_FAILED);
            let message = &condition.message;
            assert!(
                message.contains(phrase) && message.contains("lvconvert --uncache"),
                "{message}"
            );
        }
    }
    let [ready, healthy] = with_cache(through, LvHealth::CacheReadOnly, MissingPart::None);
    assert!(ready.status && !healthy.status);
    assert_eq!(healthy.reason, reason::CACHE_FAILED);
    for condition in with_cache(through, LvHealth::Partial, MissingPart::Data) {
        assert_eq!(condition.reason, reason::FAILED);
    }
    let [_, healthy] = with_cache(through, LvHealth::Good, MissingPart::None);
    assert!(healthy.status);
}
