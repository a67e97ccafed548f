//! Health, faults and transitions of volumes, as the letters of `lv_attr` show them.

use super::{VOLUMES, vg0, volume};
use crate::lvm::{LvHealth, PoolFault};

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
    assert_eq!(
        vg0(kinds.as_bytes()).lv("r1").unwrap().missing_images,
        [].into()
    );
}
