//! Reports of a real LVM, each printed by the command of `command::report`, and the values parsed
//! from them.

mod health;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    Lv, LvRole, SegmentType, Vg, mark_duplicates, mark_foreign, parse, parse_disks,
    parse_mismatches, parse_uuids, parse_volume,
};
use crate::lvm::{LvHealth, MissingPart, RaidParts};
use crate::units::{Bytes, Extents};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../fixtures/lvm2-2.03.16-", $name, ".json"))
    };
}

fn vg0(report: &[u8]) -> Vg {
    parse(report)
        .unwrap()
        .into_iter()
        .find(|vg| vg.name == "vg0")
        .unwrap()
}

fn fault(report: &[u8]) -> String {
    vg0(report).fault.unwrap().to_string()
}

#[test]
fn parse_reads_volume_group_and_volume_kinds() {
    let vgs = parse(fixture!("kinds")).unwrap();
    assert_eq!(vgs.len(), 2);
    let vg = vg0(fixture!("kinds"));
    assert_eq!(
        (vg.extent_size, vg.extents, vg.free),
        (Bytes(4 << 20), Extents(2046), Extents(1974))
    );
    assert_eq!((&vg.fault, vg.lvs.len()), (&None, 8));

    let mounted = vg.lv("pvc-a").unwrap();
    assert_eq!(
        mounted,
        &Lv {
            name: "pvc-a".to_owned(),
            uuid: mounted.uuid.clone(),
            size: Bytes(32 << 20),
            tags: vec![
                "flexlvm.dev/claim-uid=a".to_owned(),
                "flexlvm.dev/claim=default/a".to_owned()
            ],
            active: true,
            open: true,
            segment_type: SegmentType::Plain,
            role: LvRole::Volume,
            shares: [(vg.pvs[0].uuid.clone(), Extents(8))].into(),
            integrity: false,
            pool: None,
            state: None,
            health: LvHealth::Good,
            missing_images: BTreeSet::new(),
            missing_part: MissingPart::None,
            sync: None,
            integrity_mismatches: 0,
            is_in_transition: false,
            raid_parts: RaidParts::Hidden,
            raid_mismatches: 0,
            has_stale_blocks: false,
        }
    );
    let inactive = vg.lv("pvc-c").unwrap();
    assert!(
        !inactive.active
            && !inactive.open
            && inactive.is_only(SegmentType::Plain)
            && inactive.has_tag("flexlvm.dev/claim-uid=c")
    );
    for (name, segment_type, role) in [
        ("striped", SegmentType::Plain, LvRole::Volume),
        ("r1", SegmentType::Raid, LvRole::Volume),
        ("pvc-b", SegmentType::Plain, LvRole::Origin),
        ("snapb", SegmentType::Plain, LvRole::Snapshot),
        ("thin1", SegmentType::Thin, LvRole::Volume),
        ("pool", SegmentType::ThinPool, LvRole::Volume),
    ] {
        let lv = vg.lv(name).unwrap();
        assert_eq!((lv.segment_type, lv.role), (segment_type, role), "{name}");
    }
}

#[test]
fn parse_reads_extents_per_disk() {
    let vg = vg0(fixture!("kinds"));
    let disks: Vec<_> = vg
        .pvs
        .iter()
        .map(|pv| (pv.name.as_str(), pv.extents.0, pv.free.0, pv.allocatable))
        .collect();
    assert_eq!(
        disks,
        [
            ("/dev/ubdb", 1023, 967, true),
            ("/dev/ubdd", 1023, 1007, true)
        ]
    );
    let shares = |name: &str| -> Vec<u64> {
        let lv = vg.lv(name).unwrap();
        vg.pvs
            .iter()
            .map(|pv| lv.shares.get(&pv.uuid).map_or(0, |extents| extents.0))
            .collect()
    };
    // The RAID's images, each with one extent of metadata and two of checksums; the pool's data and
    // metadata.
    assert_eq!(
        (shares("r1"), shares("striped"), shares("pvc-c")),
        (vec![11, 11], vec![4, 4], vec![8, 0])
    );
    assert_eq!((shares("pool"), shares("thin1")), (vec![8, 1], vec![0, 0]));
    assert!(vg.lv("r1").unwrap().integrity && !vg.lv("striped").unwrap().integrity);
    assert_eq!(vg.available(), vg.free);
    let partial = vg0(fixture!("partial"));
    assert!(
        !partial.pvs[1].allocatable && partial.pv(&partial.pvs[1].uuid) == Some(&partial.pvs[1])
    );
    assert_eq!(
        partial
            .pvs
            .iter()
            .map(|pv| pv.is_missing)
            .collect::<Vec<_>>(),
        [false, true]
    );
    assert!(
        matches!(
            partial.fault,
            Some(crate::lvm::VgFault::DisksMissing { .. })
        ) && vg.fault.is_none()
    );
    assert_eq!(partial.lv("pvc-a").unwrap().health, LvHealth::Good);
}

/// A row of `lvs` with these attributes.
fn row(lv_attr: &str, pool_lv: &str) -> String {
    let pool = match lv_attr.as_bytes()[0] {
        b't' => r#""data_percent":"2.50","metadata_percent":"10.94","lv_metadata_size":"4194304""#,
        _ => r#""data_percent":"","metadata_percent":"","lv_metadata_size":"""#,
    };
    format!(
        r#"{{"lv_name":"a","lv_uuid":"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP","lv_attr":"{lv_attr}",
        "lv_size":"4194304","lv_tags":"flexlvm.dev/static,x","pool_lv":"{pool_lv}",{pool}}}"#
    )
}

fn report(rows: &str) -> String {
    format!(r#"{{"report":[{{"lv":[{rows}]}}]}}"#)
}

fn volume(lv_attr: &str, pool_lv: &str) -> Lv {
    parse_volume(report(&row(lv_attr, pool_lv)).as_bytes()).unwrap()
}

/// As `lvs --all` of LVM 2.03.16 prints them: attributes, pool, segment type, role, description.
const VOLUMES: &str = "
    -wi-ao---- -              Plain    Volume   a linear or striped volume
    -wI-ao---- -              Plain    Volume   a volume whose extents pvmove is moving
    -wi-a----- -              Plain    Volume   a cachevol before it is attached
    owi-aos--- -              Plain    Origin   an origin
    Owi-aos--- -              Plain    Origin   an origin that its snapshot is merged into
    ori------- -              Plain    Origin   the read-only origin of thin volumes
    swi-a-s--- -              Plain    Snapshot a snapshot
    swi-I-s--- -              Plain    Snapshot a snapshot that is full
    Swi-a-s--- -              Plain    Snapshot a snapshot that is being merged
    rwi-aor--- -              Raid     Volume   a RAID1
    Rwi-aor--- -              Raid     Volume   a RAID1 that was never synchronized
    rwi-aor-p- -              Raid     Volume   a RAID1 without one of its disks
    owi-aor--- -              Raid     Origin   a RAID1 with a snapshot
    Cwi-aoC--- [a_cache_cvol] Cached   Volume   a cached volume
    owi-aoC--- [a_cache_cvol] Cached   Origin   a cached volume with a snapshot
    Vwi-aotz-- pool           Thin     Volume   a thin volume
    Vwi---tz-k pool           Thin     Volume   a thin snapshot
    owi-aotz-- pool           Thin     Origin   a thin volume with a COW snapshot
    Owi-aotz-- pool           Thin     Origin   a thin volume that its snapshot is merged into
    Swi-a-tz-k pool           Thin     Snapshot a thin snapshot that is being merged
    twi-aotz-- -              ThinPool Volume   a thin pool
    mwi-aom--- -              Other    Volume   a mirror
    cwi-aom--- -              Other    Volume   a volume that becomes a mirror
    owi-aom--- -              Other    Origin   a mirror with a snapshot
    p-C-aom--- -              Other    Volume   the volume of pvmove itself
    gwi-aoi--- -              Other    Volume   an image of a RAID with checksums
    iwi-aor--- -              Other    Volume   an image of a RAID
    ewi-aor--- -              Other    Volume   metadata of a RAID or a pool
    Twi-ao---- -              Other    Volume   the data of a thin pool
    vwi-aov--- -              Other    Volume   a VDO volume";

#[test]
fn parse_separates_segment_type_and_role() {
    for line in VOLUMES.lines().filter(|line| !line.is_empty()) {
        let columns: Vec<&str> = line.split_whitespace().take(4).collect();
        let [lv_attr, pool_lv, segment_type, role] = columns[..] else {
            panic!("{line}");
        };
        let lv = volume(lv_attr, pool_lv.trim_start_matches('-'));
        assert_eq!(format!("{:?}", lv.segment_type), segment_type, "{line}");
        assert_eq!(format!("{:?}", lv.role), role, "{line}");
        assert_eq!(lv.state.is_some(), segment_type == "ThinPool", "{line}");
        let pool = pool_lv.trim_matches(['[', ']', '-']);
        assert_eq!(lv.pool.unwrap_or_default(), pool, "{line}");
    }
    assert!(volume("-wi-ao----", "").is_only(SegmentType::Plain));
    assert!(!volume("owi-aos---", "").is_only(SegmentType::Plain));
}

#[test]
fn parse_volume_requires_exactly_one_volume() {
    let row = &row("-wi-a-----", "");
    let lv = parse_volume(report(row).as_bytes()).unwrap();
    assert!(lv.active && !lv.open && lv.has_tag("flexlvm.dev/static") && lv.size == Bytes(4 << 20));
    for bad in [
        report(""),
        report(&format!("{row},{row}")),
        r#"{"report":[]}"#.to_owned(),
        String::new(),
    ] {
        assert!(parse_volume(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn parse_disks_reads_owner() {
    let uuid = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";
    let row = |name: &str, group: &str| {
        format!(r#"{{"pv_name":"{name}", "pv_uuid":"{uuid}", "vg_name":"{group}"}}"#)
    };
    let answer = format!(
        r#"{{"report":[{{"pv":[{},{}]}}]}}"#,
        row("/dev/a", ""),
        row("/dev/b", "vg1")
    );
    let disks = parse_disks(answer.as_bytes()).unwrap();
    let owners: Vec<_> = disks
        .iter()
        .map(|disk| (disk.name.as_str(), disk.group.as_deref()))
        .collect();
    assert_eq!(owners, [("/dev/a", None), ("/dev/b", Some("vg1"))]);
    assert_eq!(parse_disks(br#"{"report":[{"pv":[]}]}"#).unwrap(), vec![]);
    for bad in [
        answer.replace("vg_name", "x"),
        answer.replace(uuid, "x"),
        r#"{"report":[{}]}"#.to_owned(),
    ] {
        assert!(parse_disks(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn parse_accepts_empty_report() {
    assert_eq!(parse(fixture!("nothing")).unwrap(), vec![]);
}

#[test]
fn fault_names_reason() {
    assert_eq!(
        fault(fixture!("exported")),
        "it is exported; vgimport brings it back"
    );
    assert!(fault(fixture!("partial")).starts_with("1 of its disks are missing; pvs shows which"));
    assert!(
        fault(fixture!("shared"))
            .starts_with("it is shared between hosts (lock type sanlock); vgchange --lockstart")
    );
    assert_eq!(
        fault(fixture!("not-resizeable")),
        "it is not resizeable; vgchange --resizeable y makes it so"
    );
    let clustered = std::str::from_utf8(fixture!("kinds"))
        .unwrap()
        .replace("wz--n-", "wz--nc");
    assert!(fault(clustered.as_bytes()).starts_with("it is clustered; vgchange --locktype none"));
    assert!(fault(fixture!("namesakes")).starts_with("two volume groups have this name"));
}

#[test]
fn limit_of_logical_volumes_counts_those_that_lvm_reports() {
    let unlimited = vg0(fixture!("kinds"));
    assert_eq!((unlimited.max_lvs, unlimited.remaining_lvs()), (None, None));
    let limited = |max: &str| {
        let report = std::str::from_utf8(fixture!("kinds")).unwrap();
        let column = format!("\"max_lv\":\"{max}\"");
        vg0(report.replace("\"max_lv\":\"0\"", &column).as_bytes())
    };
    assert_eq!(limited("10").remaining_lvs(), Some(2));
    assert_eq!(limited("8").remaining_lvs(), Some(0));
    assert_eq!(limited("7").remaining_lvs(), Some(0));
    assert_ne!(limited("8"), unlimited);
}

#[test]
fn mark_duplicates_marks_the_groups_of_duplicate_disks() {
    let mut vgs = parse(fixture!("kinds")).unwrap();
    let disk = vg0(fixture!("kinds")).pvs[1].clone();
    let message = format!(
        "  WARNING: Not using device /dev/sdx for PV {}.\n",
        disk.uuid
    );
    assert!(!mark_duplicates(&mut vgs, b"  WARNING: PV a is missing.\n"));
    assert!(mark_duplicates(&mut vgs, message.as_bytes()));
    for vg in &vgs {
        let reason = vg.change_fault.as_ref().map(ToString::to_string);
        let is_marked = vg.name == "vg0";
        assert_eq!(reason.is_some(), is_marked, "{}", vg.name);
        if let Some(reason) = reason {
            let start = format!("its disk {} exists twice", disk.name);
            assert!(
                reason.starts_with(&start) && reason.contains("/dev/sdx"),
                "{reason}"
            );
        }
        assert_eq!(vg.fault, None, "its volumes can be used");
    }
}

#[test]
fn mark_foreign_spares_usable_groups() {
    let mut vgs = parse(fixture!("foreign")).unwrap();
    mark_foreign(&mut vgs, &parse_uuids(fixture!("foreign-usable")).unwrap());
    let fault = |name| vgs.iter().find(|vg| vg.name == name).unwrap().fault.clone();
    assert_eq!(fault("vg1"), None);
    assert!(fault("vg0").unwrap().to_string().starts_with(
        "it belongs to another host, with system ID \"hostx\"; move it with vgexport there"
    ));
    let all: Vec<_> = vgs.iter().map(|vg| vg.uuid.clone()).collect();
    let mut vgs = parse(fixture!("foreign")).unwrap();
    mark_foreign(&mut vgs, &all);
    assert!(vgs.iter().all(|vg| vg.fault.is_none()));
}

#[test]
fn parse_rejects_incomplete_report() {
    let good = std::str::from_utf8(fixture!("kinds")).unwrap();
    for (old, new) in [
        ("\"lv_tags\":\"\"", "\"other\":\"\""),
        ("33554432", "32.00m"),
        ("\"2046\"", "\"-1\""),
        ("\"1974\"", "\"2047\""),
        ("\"max_lv\":\"0\"", "\"max_lv\":\"\""),
        ("-wi-ao----", "-wi"),
        ("wz--n-", ""),
        ("\"lv_uuid\":\"", "\"lv_uuid\":\"x"),
        ("\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":\"0\""),
        ("\"report\"", "\"reports\""),
        ("\"vg\":", "\"vgs\":"),
        ("\"pv\":", "\"pvs\":"),
        ("\"pv_attr\":\"a--\"", "\"pv_attr\":\"\""),
        ("\"pvseg_size\":\"8\"", "\"pvseg_size\":\"x\""),
        (
            "\"pv_pe_alloc_count\":\"56\"",
            "\"pv_pe_alloc_count\":\"1024\"",
        ),
    ] {
        assert!(good.contains(old), "{old}");
        assert!(parse(good.replace(old, new).as_bytes()).is_err(), "{old}");
    }
    assert!(parse(b"").is_err());
    assert!(parse(b"  Command failed.").is_err());
}

#[test]
fn parse_ignores_unknown_columns() {
    let later = std::str::from_utf8(fixture!("kinds"))
        .unwrap()
        .replace("{\"lv_name\"", "{\"lv_new\":[1], \"lv_name\"");
    assert_eq!(
        parse(later.as_bytes()).unwrap(),
        parse(fixture!("kinds")).unwrap()
    );
}

proptest! {
    #[test]
    fn parse_rejects_truncated_report(end in 0..3500_usize) {
        let good = fixture!("kinds").trim_ascii_end();
        prop_assume!(end < good.len());
        prop_assert!(parse(&good[..end]).is_err());
    }

    #[test]
    fn parse_never_panics(text in "\\PC{0,200}") {
        let _ = parse(text.as_bytes());
        let _ = parse_uuids(text.as_bytes());
        let _ = parse_volume(text.as_bytes());
    }
}
