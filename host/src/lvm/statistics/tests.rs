//! Statistics in reports of a real LVM, printed by the command of `command::report`.

use proptest::prelude::*;

use super::{GroupStatistics, LvmStatistics, Ratio, VolumeStatistics, parse};

const REPORT: &[u8] = include_bytes!("../../../fixtures/lvm2-2.03.16-statistics.json");

/// Printed before the command had the columns of the statistics.
const EARLIER: &[u8] = include_bytes!("../../../fixtures/lvm2-2.03.16-kinds.json");

fn vg0(statistics: &LvmStatistics) -> &GroupStatistics {
    let mut groups = statistics.groups.iter();
    groups.find(|group| group.name == "vg0").unwrap()
}

fn volume<'a>(group: &'a GroupStatistics, name: &str) -> &'a VolumeStatistics {
    let mut volumes = group.volumes.iter();
    volumes.find(|volume| volume.name == name).unwrap()
}

#[test]
fn every_column_is_read() {
    let statistics = parse(REPORT);
    let group = vg0(&statistics);
    assert_eq!(group.missing_disks, Some(1));
    assert_eq!((group.max_volumes, group.max_disks), (Some(0), Some(0)));
    assert_eq!(group.permissions, "writeable");
    assert_eq!(group.allocation_policy, "normal");
    assert!(group.size() > group.free() && group.free() > Some(0));
    assert!(group.metadata_size > group.metadata_free && group.metadata_free > Some(0));
    assert!(group.metadata_areas > Some(0) && group.used_metadata_areas > Some(0));
    assert_eq!(group.snapshots, Some(1));

    let missing: Vec<_> = group
        .disks
        .iter()
        .filter(|disk| disk.is_missing())
        .collect();
    assert_eq!(missing.len(), 1);
    assert!(!missing[0].is_allocatable());
    let present = group.disks.iter().find(|disk| !disk.is_missing()).unwrap();
    assert!(present.is_allocatable() && present.device_size > group.bytes(present.extents));
    assert!(present.metadata_size > Some(0) && present.metadata_free > Some(0));

    let plain = volume(group, "pvc-a");
    assert_eq!(
        (plain.layout.as_str(), plain.size),
        ("linear", Some(32 << 20))
    );
    assert_eq!(
        (plain.health.as_str(), plain.permissions.as_str()),
        ("", "writeable")
    );
    assert!(plain.is_active() && plain.data_used.is_none() && plain.sync_action.is_empty());
    let raid = volume(group, "r1");
    assert_eq!(
        (raid.layout.as_str(), raid.health.as_str()),
        ("raid,raid1", "partial")
    );
    assert_eq!(
        (raid.sync_action.as_str(), raid.mismatches),
        ("idle", Some(0))
    );
    assert!(raid.synced.is_some());
    let pool = volume(group, "pool");
    assert!(pool.is_thin_pool() && pool.layout == "thin,pool" && pool.when_full == "queue");
    assert!(pool.data_used > Some(Ratio(0)) && pool.metadata_used > Some(Ratio(0)));
    assert!(pool.metadata_size > Some(0));
    assert_eq!(volume(group, "thin1").pool, "pool");
    let snapshot = volume(group, "snapb");
    assert!(snapshot.is_snapshot() && snapshot.snapshot_used.is_some() && !pool.is_snapshot());
}

#[test]
fn missing_columns_leave_values_out() {
    let statistics = parse(EARLIER);
    let group = vg0(&statistics);
    assert_eq!((group.size(), group.max_disks), (Some(2046 << 22), None));
    let pool = volume(group, "pool");
    assert_eq!(
        (pool.data_used, pool.metadata_used),
        (Some(Ratio(0)), Some(Ratio(1094)))
    );
    assert!(pool.health.is_empty() && pool.when_full.is_empty());
    assert!(volume(group, "pvc-a").is_open() && !volume(group, "pvc-c").is_active());
}

#[test]
fn malformed_columns_leave_values_out() {
    let report =
        br#"{"report": [{"pv": [{"pv_name": 1}]}, {"vg": [{"vg_name": "a", "max_lv": "many",
        "vg_extent_size": "4", "vg_extent_count": "18446744073709551615"}],
        "lv": [{"lv_name": null, "data_percent": "1.234"}, {"sync_percent": "100.00"}]}]}"#;
    let statistics = parse(report);
    let [group] = &statistics.groups[..] else {
        panic!("{statistics:?}");
    };
    assert_eq!(
        (group.name.as_str(), group.max_volumes, group.size()),
        ("a", None, None)
    );
    assert_eq!(group.volumes[0], VolumeStatistics::default());
    assert!((group.volumes[1].synced.unwrap().as_f64() - 1.0).abs() < 1e-9);
    for other in [&b""[..], b"[]", b"{\"report\": 1}"] {
        assert_eq!(parse(other), LvmStatistics::default());
    }
}

proptest! {
    #[test]
    fn parse_never_panics(text in "\\PC{0,200}") {
        let _ = parse(text.as_bytes());
    }
}
