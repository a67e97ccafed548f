//! Volumes with a cache in front, on real LVM.

use crds::StorageBackend;
use host::Bytes;
use serde_json::{Value, json};

use super::stage::{DISKS, KINDS, Stage};

const EXTENT: Bytes = Bytes(4 << 20);

/// An order for a volume on the first disk, with a cache of 64 MiB on the last one.
fn cached(stage: &Stage, mebibytes: u64) -> Value {
    let disks = stage.shell(&format!(
        "pvs --noheadings -o pv_uuid -S vg_name={KINDS} -O pv_name"
    ));
    let disks: Vec<&str> = disks.split_whitespace().collect();
    let size = Bytes(mebibytes << 20)
        .extents_up(EXTENT)
        .bytes(EXTENT)
        .0
        .to_string();
    json!({"volumeGroup": KINDS, "layout": {"type": "Cached"}, "physicalVolumes": [{"uuid": disks[0], "size": size}],
        "cache": {"size": "64Mi", "mode": "WriteThrough", "physicalVolumes": [{"uuid": disks[4], "size": "64Mi"}]}})
}

/// How many extents are taken of each disk.
fn taken(stage: &Stage) -> Vec<u64> {
    let taken = stage.shell(&format!(
        "pvs --noheadings -o pv_pe_alloc_count -S vg_name={KINDS} -O pv_name"
    ));
    taken
        .split_whitespace()
        .map(|extents| extents.parse().unwrap())
        .collect()
}

pub(crate) fn a_volume_with_a_cache_lives_and_dies(stage: &Stage) {
    let name = stage.name();
    stage.order_with(&name, "37Mi", cached(stage, 37));
    let uuid = stage.ready(&name);
    assert_eq!(stage.lvs(&name, "segtype,cache_mode"), "cache writethrough");
    assert_eq!(stage.mark_in(KINDS, &name), "fresh");
    assert_eq!(taken(stage), [10, 0, 0, 0, 16]);
    let others = |storage: &crds::NodeStorage| {
        let groups = storage.status.clone().unwrap_or_default().volume_groups;
        groups
            .into_iter()
            .find(|group| group.name == KINDS)
            .is_some_and(|group| group.used_by_others.0 == "0")
    };
    stage.reports("the cache is no others' use", others);

    let device = format!("/dev/{KINDS}/{name}");
    let sum = format!("head -c 36M {device} | md5sum");
    let before = stage.shell(&format!(
        "dd if=/dev/urandom of={device} bs=1M count=36 conv=fsync status=none; {sum}"
    ));
    let Value::Object(grown) = cached(stage, 602) else {
        unreachable!()
    };
    stage.change(
        &name,
        json!({"size": "602Mi", "physicalVolumes": grown["physicalVolumes"]}),
    );
    stage.reaches(&name, 604 << 20);
    assert_eq!(taken(stage), [151, 0, 0, 0, 16]);
    assert_eq!(stage.shell(&sum), before);
    assert_eq!(stage.lvs(&name, "lv_uuid,segtype"), format!("{uuid} cache"));
    stage.remove(&name);
    assert_eq!(taken(stage), [0; 5]);
}

pub(crate) fn a_cache_that_a_crash_left_out_is_put_in_front(stage: &Stage) {
    let [without, beside, dropped] = [(); 3].map(|()| stage.name());
    let make = |name: &str, kind: &str, extents: u32| {
        let claim = name.trim_start_matches("pvc-");
        stage.shell(&format!(
            "lvcreate -qq -y --addtag flexlvm.dev/claim-uid={claim} -l {extents} -n {name}{kind} {KINDS}"
        ));
    };
    make(&without, "", 8);
    make(&beside, "", 8);
    make(&beside, "_cache", 16);
    make(&dropped, "_cache", 16);
    for name in [&without, &beside] {
        stage.order_with(name, "32Mi", cached(stage, 32));
        stage.ready(name);
        assert_eq!(
            (stage.lvs(name, "segtype"), stage.mark_in(KINDS, name)),
            ("cache".to_owned(), "fresh".to_owned())
        );
        stage.remove(name);
    }
    // It was to be removed before anything but the cache was there.
    let mut spec = cached(stage, 32);
    spec["state"] = json!("Absent");
    stage.order_with(&dropped, "32Mi", spec);
    stage.says(&dropped, crds::condition::REMOVED, "NeverCreated", "");
    assert_eq!(taken(stage), [0; 5]);
}

pub(crate) fn disks_for_caches_are_known_by_their_stable_paths(stage: &Stage) {
    let [.., fast] = DISKS;
    stage.shell(&format!("ln -s {fast} /dev/fast-disk"));
    let backend: StorageBackend = serde_json::from_value(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": "cached"},
        "spec": {"volumeGroup": KINDS, "layout": {"type": "Cached"}, "cache": {"devices": ["/dev/fast-disk"], "size": "10%"}}}))
    .unwrap();
    stage.apply(&backend);
    let paths = |storage: &crds::NodeStorage| {
        let groups = storage.status.clone().unwrap_or_default().volume_groups;
        let disks = groups
            .into_iter()
            .filter(|group| group.name == KINDS)
            .flat_map(|group| group.physical_volumes);
        disks
            .filter(|disk| !disk.cache_paths.is_empty())
            .map(|disk| (disk.name, disk.cache_paths))
            .collect::<Vec<_>>()
    };
    let wanted = vec![(fast.to_owned(), vec!["/dev/fast-disk".to_owned()])];
    stage.reports("the disk is for caches", |storage| paths(storage) == wanted);
    stage.delete_backend("cached");
    stage.reports("the disk is for everything again", |storage| {
        paths(storage).is_empty()
    });
}
