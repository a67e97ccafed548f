//! Health, faults and transitions of volumes, as the letters of `lv_attr` show them.

use super::{VOLUMES, parse_mismatches, parse_volume, report, row, vg0, volume};
use crate::lvm::{LvHealth, MissingPart, PoolFault, RaidSync, SyncKind};
use crate::units::Bytes;

#[test]
fn parse_reads_health_and_transitions() {
    for (lv_attr, health) in [
        ("-wi-ao----", LvHealth::Good),
        ("-wi-----p-", LvHealth::Partial),
        ("Vwi-a-tzp-", LvHealth::Partial),
        ("rwi-aor-r-", LvHealth::ImageFailed),
        ("rwi-aor-m-", LvHealth::Good),
        ("Vwi-aotzF-", LvHealth::Failed),
        ("twi-aotzD-", LvHealth::Good),
        ("twi-aotzM-", LvHealth::Good),
        ("Cwi-aoC---", LvHealth::Good),
        ("Cwi-aoC-M-", LvHealth::CacheReadOnly),
        ("owi-aoC-M-", LvHealth::CacheReadOnly),
        ("Cwi-aoC-F-", LvHealth::Failed),
        ("-ri-ao----", LvHealth::ReadOnly),
        ("-Ri-ao----", LvHealth::ReadOnlyDevice),
        ("Vri-aotz--", LvHealth::ReadOnly),
        ("rri-aor-p-", LvHealth::Partial),
    ] {
        assert_eq!(volume(lv_attr, "").health, health, "{lv_attr}");
    }
    assert!(volume("rwi-aor-s-", "").is_in_transition, "a reshape");
    for line in VOLUMES.lines().filter(|line| !line.is_empty()) {
        let (columns, description) = line.split_at(48);
        let lv_attr = columns.split_whitespace().next().unwrap();
        let expected = ["moving", "merged", "pvmove"]
            .iter()
            .any(|word| description.contains(word));
        assert_eq!(volume(lv_attr, "").is_in_transition, expected, "{line}");
    }
}

#[test]
fn parse_reads_thin_pool() {
    let vg = vg0(include_bytes!(
        "../../../../fixtures/lvm2-2.03.16-kinds.json"
    ));
    let thin = vg.lv("thin1").unwrap();
    let pool = vg.lv("pool").unwrap();
    assert_eq!(thin.pool.as_deref(), Some("pool"));
    assert!(
        pool.state
            .as_ref()
            .is_some_and(|state| state.fault.is_none() && state.metadata == Bytes(4 << 20))
    );
}

#[test]
fn parse_reads_pool_fault() {
    let fault = |lv_attr: &str| volume(lv_attr, "").state.unwrap().fault;
    assert_eq!(fault("twi-aotz--"), None);
    assert_eq!(fault("twi-aotzD-"), Some(PoolFault::DataFull));
    for lv_attr in ["twi-aotzM-", "twi-cotzM-", "twi-cotz--", "twi-CotzD-"] {
        let fault = fault(lv_attr);
        assert!(
            matches!(fault, Some(PoolFault::MetadataReadOnly { .. })),
            "{lv_attr}: {fault:?}"
        );
    }
    assert!(matches!(
        fault("twi-cotzF-"),
        Some(PoolFault::Failed { .. })
    ));
}

#[test]
fn parse_reads_images_on_missing_disks() {
    let kinds = include_str!("../../../../fixtures/lvm2-2.03.16-kinds.json");
    let disk = kinds.split("\"pv_name\":\"/dev/ubdd\"").nth(1).unwrap();
    let attributes = disk.split("\"pv_attr\":\"").nth(1).unwrap();
    assert!(attributes.starts_with("a--"));
    let at = kinds.len() - attributes.len();
    let missing = format!("{}a-m{}", &kinds[..at], &attributes[3..]);
    let vg = vg0(missing.as_bytes());
    assert_eq!(vg.lv("r1").unwrap().missing_images, [1].into());
    assert_eq!(vg.lv("striped").unwrap().missing_images, [].into());
    for (name, part) in [
        ("r1", MissingPart::Data),
        ("striped", MissingPart::Data),
        ("pvc-a", MissingPart::None),
    ] {
        assert_eq!(vg.lv(name).unwrap().missing_part, part, "{name}");
    }
    assert_eq!(
        vg0(kinds.as_bytes()).lv("r1").unwrap().missing_images,
        [].into()
    );
}

#[test]
fn missing_part_is_a_cache_only_if_no_data_are_missing() {
    for (name, part) in [
        ("pvc-1_cache_cvol", MissingPart::Cache),
        ("pvc-1_corig", MissingPart::Data),
        ("pvc-1", MissingPart::Data),
    ] {
        assert_eq!(MissingPart::from_name(name), part, "{name}");
    }
    assert_eq!(MissingPart::Cache.max(MissingPart::Data), MissingPart::Data);
    assert_eq!(
        MissingPart::None.max(MissingPart::Cache),
        MissingPart::Cache
    );
}

#[test]
fn parse_reads_synchronization_of_raid() {
    let columns = r#""raid_sync_action":"recover","sync_percent":"43.75","lv_size""#;
    let raid = row("rwi-aor---", "").replace("\"lv_size\"", columns);
    let sync = parse_volume(report(&raid).as_bytes()).unwrap().sync;
    let expected = RaidSync {
        kind: SyncKind::Recover,
        percent: 40,
    };
    assert_eq!(sync, Some(expected));
    assert_eq!(volume("rwi-aor---", "").sync, None);
}

#[test]
fn parse_mismatches_lists_volumes_that_have_any() {
    let uuid = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";
    let list = |count: &str| {
        let row = format!(r#"{{"lv_uuid":"{uuid}","integritymismatches":"{count}"}}"#);
        parse_mismatches(report(&row).as_bytes())
    };
    assert_eq!(list("3").unwrap().into_values().collect::<Vec<_>>(), [3]);
    assert!(list("0").unwrap().is_empty() && list("").unwrap().is_empty());
    assert!(list("x").is_err());
    assert!(parse_mismatches(report(&row("-wi-a-----", "")).as_bytes()).is_err());
}

/// As `lvcreate --raidintegrity` leaves it if it is killed after it has created the volumes for the
/// checksums.
#[test]
fn checksums_that_are_not_attached_do_not_count() {
    let kinds = include_str!("../../../../fixtures/lvm2-2.03.16-kinds.json");
    assert!(vg0(kinds.as_bytes()).lv("r1").unwrap().integrity);
    let mut interrupted = kinds.to_owned();
    for image in ["r1_rimage_0_imeta", "r1_rimage_1_imeta"] {
        interrupted = interrupted.replace(&format!("[{image}]"), image);
    }
    let vg = vg0(interrupted.as_bytes());
    assert!(!vg.lv("r1").unwrap().integrity);
    assert!(vg.lv("r1_rimage_0_imeta").is_none(), "it is internal");
}

#[test]
fn parse_reads_mismatches_and_unzeroed_pools() {
    let columns = r#""raid_mismatch_count":"128","lv_size""#;
    let raid = row("rwi-aor-m-", "").replace("\"lv_size\"", columns);
    let differing = parse_volume(report(&raid).as_bytes()).unwrap();
    assert_eq!(differing.raid_mismatches, 128);
    assert_eq!(differing.health, LvHealth::Good);
    for (lv_attr, has_stale_blocks) in [
        ("twi-aotz--", false),
        ("twi-aot---", true),
        ("Vwi-aotz--", false),
        ("Vwi-aot---", true),
        ("owi-aot---", true),
        ("-wi-ao----", false),
        ("rwi-aor---", false),
    ] {
        let found = volume(lv_attr, "").has_stale_blocks;
        assert_eq!(found, has_stale_blocks, "{lv_attr}");
    }
}
