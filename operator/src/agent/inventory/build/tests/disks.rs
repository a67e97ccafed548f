//! The published disks: their paths, whether they are missing, and the volumes on them.

use crds::node_storage::PhysicalVolume;
use host::Extents;

use super::*;

/// Returns a published disk of `vg0` by its number in LVM's report.
fn disk(status: &NodeStorageStatus, number: usize) -> PhysicalVolume {
    let uuid = vg0(&groups()).pvs[number].uuid.to_string();
    let disks = status
        .volume_groups
        .iter()
        .flat_map(|group| &group.physical_volumes);
    let mut disks = disks.filter(|disk| disk.uuid == uuid);
    disks.next().unwrap().clone()
}

fn vg0(groups: &[Vg]) -> Vg {
    let mut groups = groups.iter();
    groups.find(|vg| vg.name == "vg0").unwrap().clone()
}

/// Returns the fixture's groups, in which the second disk of `vg0` is missing.
fn partial() -> Vec<Vg> {
    let mut groups = groups();
    let vg0 = groups.iter_mut().find(|vg| vg.name == "vg0").unwrap();
    vg0.pvs[1].is_missing = true;
    vg0.pvs[1].name = "[unknown]".to_owned();
    vg0.pvs[1].allocatable = false;
    groups
}

/// Adds a volume on both disks of `vg0`, and one in the thin pool, which has its metadata on the
/// second disk.
fn with_volumes(mut groups: Vec<Vg>) -> Vec<Vg> {
    let vg0 = groups.iter_mut().find(|vg| vg.name == "vg0").unwrap();
    let model = vg0.lv("pvc-a").unwrap().clone();
    let on_both = vg0.pvs.iter().map(|pv| (pv.uuid.clone(), Extents(9)));
    vg0.lvs.push(Lv {
        name: "pvc-mirror".to_owned(),
        tags: vec!["flexlvm.dev/claim-uid=mirror".to_owned()],
        shares: on_both.collect(),
        ..model.clone()
    });
    vg0.lvs.push(Lv {
        name: "pvc-thin".to_owned(),
        tags: vec!["flexlvm.dev/claim-uid=thin".to_owned()],
        segment_type: SegmentType::Thin,
        pool: Some("pool".to_owned()),
        shares: BTreeMap::new(),
        ..model
    });
    groups
}

fn specs() -> Vec<VolumeSpec> {
    ["thin", "mirror", "c", "a"]
        .map(|claim| spec(claim, Bytes(32 << 20), None))
        .to_vec()
}

#[test]
fn disk_lists_the_volumes_with_a_part_on_it() {
    let published = status(with_volumes(groups()), &specs());
    let first = disk(&published, 0);
    assert_eq!(
        first.volumes,
        ["pvc-a", "pvc-c", "pvc-mirror", "pvc-thin"],
        "pvc-b has no object"
    );
    let second = disk(&published, 1);
    assert_eq!(second.volumes, ["pvc-mirror", "pvc-thin"]);
    for disk in [first, second] {
        assert_eq!((disk.missing, disk.omitted_volumes), (None, None));
    }
}

#[test]
fn missing_disk_stays_listed_with_its_volumes_and_last_path() {
    let path = "/dev/disk/by-id/ata-Example_1".to_owned();
    let report = |groups| LvmReport {
        groups: Some(Arc::new(groups)),
        ..LvmReport::default()
    };
    let specs = specs();
    let now = Time(Timestamp::UNIX_EPOCH);
    let stable_paths = BTreeMap::from([("/dev/ubdd".to_owned(), path.clone())]);
    let complete = report(with_volumes(groups()));
    let before = ReportInputs {
        specs: &specs,
        stable_paths: &stable_paths,
        ..inputs(&complete)
    };
    let before = build(&NodeStorageStatus::default(), before, &now);
    assert_eq!(disk(&before, 0).path, None);
    assert_eq!(disk(&before, 1).path.as_ref(), Some(&path));

    let partial = report(with_volumes(partial()));
    let after = ReportInputs {
        specs: &specs,
        ..inputs(&partial)
    };
    let after = build(&before, after, &now);
    let lost = disk(&after, 1);
    assert_eq!(
        (lost.missing, lost.path.as_ref()),
        (Some(true), Some(&path))
    );
    assert_eq!(lost.volumes, ["pvc-mirror", "pvc-thin"]);
    assert!(differ(&before, &after), "published at once");
    let json = serde_json::to_value(disk(&after, 0)).unwrap();
    assert!(json.get("missing").is_none() && json.get("path").is_none());
}

/// Otherwise each volume would cost a write of the NodeStorage.
#[test]
fn volumes_on_disks_alone_are_published_with_a_delay() {
    let before = status(with_volumes(groups()), &specs());
    let mut later = before.clone();
    let disk = &mut later.volume_groups[0].physical_volumes[0];
    disk.volumes = vec!["pvc-later".to_owned()];
    disk.omitted_volumes = Some(1);
    assert!(later != before && !differ(&before, &later));
    later.volume_groups[0].physical_volumes[0].missing = Some(true);
    assert!(differ(&before, &later));
}

#[test]
fn listed_volumes_are_bounded_and_those_of_missing_disks_come_first() {
    let mut groups = partial();
    let vg0 = groups.iter_mut().find(|vg| vg.name == "vg0").unwrap();
    let model = vg0.lv("pvc-a").unwrap().clone();
    let [first, second] = [0, 1].map(|number| vg0.pvs[number].uuid.clone());
    let mut specs = Vec::new();
    for number in 0..900 {
        let claim = format!("n{number:03}");
        let on_it = if number < 700 { &second } else { &first };
        vg0.lvs.push(Lv {
            name: format!("pvc-{claim}"),
            tags: vec![format!("flexlvm.dev/claim-uid={claim}")],
            shares: [(first.clone(), Extents(1)), (on_it.clone(), Extents(1))].into(),
            ..model.clone()
        });
        specs.push(spec(&claim, EXTENT, None));
    }
    let published = status(groups, &specs);
    let lost = disk(&published, 1);
    assert_eq!((lost.volumes.len(), lost.omitted_volumes), (700, None));
    let other = disk(&published, 0);
    assert_eq!(
        (other.volumes.len(), other.omitted_volumes),
        (300, Some(600))
    );
    assert_eq!(other.volumes[0], "pvc-n000");
}
