//! Cases in which a thin pool is extended.

use std::collections::BTreeMap;

use crds::thin_pool::ThinPoolSettings;
use crds::{LogicalVolume, LogicalVolumeStatus};
use host::lvm::{Lv, LvHealth, LvRole, MissingPart, PoolState, Pv, RaidParts, SegmentType, Vg};
use host::{Bytes, Extents, LvUuid};
use serde_json::json;

use super::plan;
use crate::agent::volumes::spec::VolumeSpec;

const EXTENT: Bytes = Bytes(4 << 20);

fn uuid(number: u32) -> LvUuid {
    LvUuid::from_plain(&format!("{number:032}")).unwrap()
}

fn group(data_used: u32, tag: &str) -> Vg {
    let pool = Lv {
        name: "flexlvm-thin".to_owned(),
        uuid: uuid(1),
        size: Extents(100).bytes(EXTENT),
        tags: vec![tag.to_owned()],
        active: true,
        open: true,
        segment_type: SegmentType::ThinPool,
        role: LvRole::Volume,
        shares: BTreeMap::new(),
        integrity: false,
        pool: None,
        state: Some(PoolState {
            metadata: EXTENT,
            data_used,
            metadata_used: 1,
            fault: None,
        }),
        health: LvHealth::Good,
        missing_images: [].into(),
        missing_part: MissingPart::None,
        sync: None,
        integrity_mismatches: 0,
        is_in_transition: false,
        raid_parts: RaidParts::Hidden,
        raid_mismatches: 0,
        has_stale_blocks: false,
    };
    let volume = Lv {
        name: "pvc-1".to_owned(),
        uuid: uuid(2),
        segment_type: SegmentType::Thin,
        pool: Some("flexlvm-thin".to_owned()),
        state: None,
        ..pool.clone()
    };
    let disk = |number: u32, free: u64| Pv {
        uuid: uuid(number),
        name: format!("/dev/sd{number}"),
        extents: Extents(500),
        free: Extents(free),
        allocatable: true,
        is_missing: false,
    };
    Vg {
        name: "vg0".to_owned(),
        uuid: uuid(0),
        extent_size: EXTENT,
        extents: Extents(1500),
        free: Extents(700),
        fault: None,
        change_fault: None,
        max_lvs: None,
        lvs: vec![pool, volume],
        pvs: vec![disk(10, 0), disk(11, 200), disk(12, 500)],
        system_id: String::new(),
        internal: vec![],
        seqno: 1,
    }
}

fn specs() -> Vec<VolumeSpec> {
    let object = |name: &str, most: &str| {
        let plan = json!({"size": "400Mi", "maximumSize": most, "metadataSize": "4Mi",
            "physicalVolumes": [{"uuid": uuid(10).as_str(), "size": "404Mi"}, {"uuid": uuid(11).as_str(), "size": "400Mi"}]});
        let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": name, "uid": "2"},
            "spec": {"node": "n1", "backend": "thin", "volumeGroup": "vg0", "size": "1Gi", "layout": {"type": "Thin"},
                "thinPool": {"name": "flexlvm-thin", "create": plan}, "storageClass": "s", "reclaimPolicy": "Delete",
                "claim": {"namespace": "d", "name": "c", "uid": "1"}, "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a",
                "filesystem": {"type": "ext4"}}});
        let object: LogicalVolume = serde_json::from_value(object).unwrap();
        VolumeSpec::read(&object, &LogicalVolumeStatus::default()).unwrap()
    };
    // The second volume does not exist any more.
    vec![object("pvc-1", "800Mi"), object("pvc-2", "8Gi")]
}

#[test]
fn pool_is_extended_up_to_the_largest_reservation_of_its_volumes() {
    let tag = "flexlvm.dev/thin-pool=thin";
    let planned =
        |used: u32, tag: &str, specs: &[VolumeSpec]| plan(&[group(used, tag)], specs, |_| None);
    let growth = planned(75, tag, &specs()).pop().unwrap();
    assert_eq!(
        (growth.pool.as_str(), growth.extents, growth.disks),
        ("flexlvm-thin", Extents(120), vec!["/dev/sd11".to_owned()])
    );
    assert_eq!(
        planned(100, tag, &specs()).pop().unwrap().extents,
        Extents(144)
    );
    assert_eq!(planned(60, tag, &specs()), []);
    assert_eq!(planned(75, tag, &[]), []);
    assert_eq!(planned(75, "mine", &specs()), []);
    let mut renamed = group(75, tag);
    renamed.lvs[0].name = "fast-pool".to_owned();
    let growth = plan(&[renamed], &specs(), |_| None).pop().unwrap();
    assert_eq!(growth.pool.as_str(), "fast-pool");
    let rules = ThinPoolSettings {
        extend_at: Some(50),
        extend_by: Some(100),
        ..ThinPoolSettings::default()
    };
    assert_eq!(
        plan(&[group(60, tag)], &specs(), |_| Some(rules.clone()))
            .pop()
            .unwrap()
            .extents,
        Extents(200)
    );
}

#[test]
fn pool_is_not_extended_beyond_its_reservation() {
    let mut group = group(100, "flexlvm.dev/thin-pool=thin");
    group.lvs[0].size = Extents(190).bytes(EXTENT);
    let growth = plan(&[group], &specs(), |_| None).pop().unwrap();
    assert_eq!(growth.extents, Extents(200));
}
