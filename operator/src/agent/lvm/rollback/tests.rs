//! Cases in which a group's metadata counts as older than its volumes, and cases that look similar.

use std::collections::BTreeSet;
use std::path::Path;

use crds::LogicalVolume;
use host::block::mapped::MappedVolume;
use host::lvm::{Lv, LvHealth, LvRole, MissingPart, RaidParts, SegmentType, Vg};
use host::{Bytes, Extents, LvUuid};
use serde_json::{Value, json};

use super::{Rollback, by_devices, by_objects, by_record};
use crate::agent::lvm::record::GroupRecord;

const SIZE: Bytes = Bytes(64 << 20);

fn uuid(number: u32) -> LvUuid {
    LvUuid::from_plain(&format!("{number:032}")).unwrap()
}

fn lv(number: u32) -> Lv {
    Lv {
        name: format!("lv{number}"),
        uuid: uuid(number),
        size: SIZE,
        tags: vec![],
        active: true,
        open: true,
        segment_type: SegmentType::Plain,
        role: LvRole::Volume,
        shares: [].into(),
        integrity: false,
        pool: None,
        state: None,
        health: LvHealth::Good,
        is_in_transition: false,
        raid_parts: RaidParts::Hidden,
        raid_mismatches: 0,
        has_stale_blocks: false,
        missing_images: BTreeSet::new(),
        missing_part: MissingPart::None,
        sync: None,
        integrity_mismatches: 0,
    }
}

/// Returns group `vg0` with these volumes, and an internal volume of uuid 99.
fn vg(lvs: Vec<Lv>) -> Vg {
    Vg {
        name: "vg0".to_owned(),
        uuid: uuid(0),
        extent_size: Bytes(4 << 20),
        extents: Extents(100),
        free: Extents(50),
        fault: None,
        change_fault: None,
        max_lvs: None,
        lvs,
        internal: vec![uuid(99)],
        pvs: vec![],
        system_id: String::new(),
        seqno: 7,
    }
}

fn device(number: u32) -> MappedVolume {
    MappedVolume {
        name: format!("vg0-lv{number}"),
        group: uuid(0),
        volume: uuid(number),
        is_layer: false,
        size: SIZE,
    }
}

fn judged(lvs: Vec<Lv>, device: MappedVolume) -> Option<Rollback> {
    by_devices(&vg(lvs), &BTreeSet::from([device]))
}

#[test]
fn device_without_logical_volume_is_evidence_with_remedy() {
    let rollback = judged(vec![lv(1)], device(2)).unwrap();
    assert!(rollback.is_of_device() && !rollback.allows_removal());
    let message = rollback.to_string();
    for phrase in [
        "its metadata may have gone back to an older state",
        "device vg0-lv2 is active, but LVM has no logical volume with its uuid 000000-0000",
        "`vgcfgrestore --list vg0`",
        "`dmsetup remove vg0-lv2`",
    ] {
        assert!(message.contains(phrase), "{message}");
    }
    let layer = MappedVolume {
        is_layer: true,
        ..device(2)
    };
    assert!(judged(vec![lv(1)], layer).is_some());
}

#[test]
fn known_internal_and_foreign_devices_are_no_evidence() {
    for known in [device(1), device(99)] {
        assert_eq!(judged(vec![lv(1)], known), None);
    }
    let foreign = MappedVolume {
        group: uuid(5),
        ..device(2)
    };
    assert_eq!(judged(vec![lv(1)], foreign), None);
    assert_eq!(by_devices(&vg(vec![lv(1)]), &BTreeSet::new()), None);
}

#[test]
fn device_larger_than_its_volume_is_evidence() {
    let large = MappedVolume {
        size: Bytes(2 * SIZE.0),
        ..device(1)
    };
    let message = judged(vec![lv(1)], large.clone()).unwrap().to_string();
    assert!(
        message.contains("device vg0-lv1 has 128 MiB, but logical volume lv1 has 64 MiB in LVM"),
        "{message}"
    );
    let small = MappedVolume {
        size: Bytes(SIZE.0 / 2),
        ..device(1)
    };
    assert_eq!(judged(vec![lv(1)], small), None, "LVM extends it next");
    let layer = MappedVolume {
        is_layer: true,
        ..large.clone()
    };
    assert_eq!(judged(vec![lv(1)], layer), None);
    for (segment_type, role) in [
        (SegmentType::Plain, LvRole::Snapshot),
        (SegmentType::ThinPool, LvRole::Volume),
        (SegmentType::Other, LvRole::Volume),
    ] {
        let with_other_size = Lv {
            segment_type,
            role,
            ..lv(1)
        };
        assert_eq!(judged(vec![with_other_size], large.clone()), None);
    }
}

#[test]
fn lower_or_reused_seqno_is_evidence() {
    let path = Path::new("/state/metadata/a.json");
    let record = GroupRecord::from(&vg(vec![lv(1), lv(2)]));
    let judged = |seqno, lvs| {
        let present = Vg { seqno, ..vg(lvs) };
        by_record(&present, &record, path)
    };
    assert_eq!(judged(7, vec![lv(1), lv(2)]), None);
    assert_eq!(judged(8, vec![lv(1)]), None);
    let fell = judged(6, vec![lv(1), lv(2)]).unwrap().to_string();
    for phrase in [
        "its seqno is 6, and was 7 before",
        "`rm /state/metadata/a.json`",
    ] {
        assert!(fell.contains(phrase), "{fell}");
    }
    let larger = Lv {
        size: Bytes(2 * SIZE.0),
        ..lv(1)
    };
    for replaced in [vec![lv(1)], vec![lv(1), lv(3)], vec![larger, lv(2)]] {
        let rollback = judged(7, replaced).unwrap();
        assert!(matches!(rollback, Rollback::VolumesReplaced { .. }) && !rollback.allows_removal());
    }
}

fn object(name: &str, uuid: Option<&LvUuid>, change: &Value) -> LogicalVolume {
    let mut object = json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": name},
        "spec": {
            "node": "node1", "backend": "b", "volumeGroup": "vg0", "size": "64Mi", "storageClass": "s",
            "claim": {"namespace": "default", "name": "data", "uid": "1"}, "reclaimPolicy": "Retain",
            "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"},
        },
        "status": {"uuid": uuid.map(LvUuid::as_str)},
    });
    for (part, fields) in change.as_object().unwrap() {
        for (field, value) in fields.as_object().unwrap() {
            object[part][field] = value.clone();
        }
    }
    serde_json::from_value(object).unwrap()
}

#[test]
fn missing_volume_of_object_is_evidence_that_allows_removal() {
    let groups = [vg(vec![lv(1)])];
    let missing = object("pvc-2", Some(&uuid(2)), &json!({}));
    let found = by_objects(&groups, [&missing].into_iter());
    let rollback = &found["vg0"];
    assert!(rollback.allows_removal() && !rollback.is_of_device());
    let message = rollback.to_string();
    assert!(
        message.contains("the logical volume of LogicalVolume pvc-2 is missing")
            && message.contains("delete its claim and the pods that use it; without a claim, set its spec.state to Absent"),
        "{message}"
    );
}

#[test]
fn volume_smaller_than_reported_is_evidence() {
    let groups = [vg(vec![lv(1)])];
    let of_size = |size: &str| object("pvc-1", Some(&uuid(1)), &json!({"status": {"size": size}}));
    let found = by_objects(&groups, [&of_size("128Mi")].into_iter());
    let rollback = &found["vg0"];
    assert!(rollback.allows_removal() && !rollback.is_of_device());
    let message = rollback.to_string();
    for phrase in [
        "the logical volume of LogicalVolume pvc-1 has 64 MiB, and had 128 MiB before",
        "`vgcfgrestore --list vg0`",
        "`lvextend --size 134217728b vg0/lv1`",
    ] {
        assert!(message.contains(phrase), "{message}");
    }
    for no_less in ["64Mi", "32Mi"] {
        let found = by_objects(&groups, [&of_size(no_less)].into_iter());
        assert!(found.is_empty(), "{no_less}: {found:?}");
    }
}

#[test]
fn volume_that_exists_or_is_not_required_is_no_evidence() {
    let other = Vg {
        name: "renamed".to_owned(),
        uuid: uuid(50),
        ..vg(vec![lv(3)])
    };
    let groups = [vg(vec![lv(1)]), other];
    let none = json!({});
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    for (case, object) in [
        ("it exists", object("a", Some(&uuid(1)), &none)),
        ("it is internal", object("b", Some(&uuid(99)), &none)),
        ("it is in another group", object("c", Some(&uuid(3)), &none)),
        ("it was never reported", object("d", None, &none)),
        (
            "its removal is requested",
            object("e", Some(&uuid(2)), &json!({"spec": {"state": "Absent"}})),
        ),
        ("an admin ends it", object("f", Some(&uuid(2)), &deleted)),
    ] {
        let found = by_objects(&groups, [&object].into_iter());
        assert!(found.is_empty(), "{case}: {found:?}");
    }
}
