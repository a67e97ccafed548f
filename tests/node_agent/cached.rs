//! Cached volumes on real LVM.

use crds::{NodeStorage, StorageBackend};
use host::Bytes;
use serde_json::{Value, json};

use super::fixture::{DISKS, Fixture, KINDS};
use super::reports::creation_needs_two_lvs;

const EXTENT: Bytes = Bytes(4 << 20);

/// Returns the spec of a volume on the first disk, with a cache of 64 MiB on the last one.
pub(crate) fn cached(fixture: &Fixture, mebibytes: u64) -> Value {
    let disks = fixture.shell(&format!(
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

/// Returns the number of allocated extents of each disk.
fn taken(fixture: &Fixture) -> Vec<u64> {
    let taken = fixture.shell(&format!(
        "pvs --noheadings -o pv_pe_alloc_count -S vg_name={KINDS} -O pv_name"
    ));
    taken
        .split_whitespace()
        .map(|extents| extents.parse().unwrap())
        .collect()
}

/// Until it is attached, the cache counts.
pub(crate) fn cache_counts_while_its_volume_is_created(fixture: &Fixture) {
    creation_needs_two_lvs(fixture, "37Mi", cached(fixture, 37));
}

pub(crate) fn cached_volume_is_created_grown_and_removed(fixture: &Fixture) {
    let name = fixture.name();
    fixture.create_volume_with(&name, "37Mi", cached(fixture, 37));
    let uuid = fixture.ready(&name);
    assert_eq!(
        fixture.lvs(&name, "segtype,cache_mode"),
        "cache writethrough"
    );
    assert_eq!(fixture.mark_in(KINDS, &name), "unformatted");
    assert_eq!(taken(fixture), [10, 0, 0, 0, 16]);
    fixture.wait_for_report("the cache does not count as used by others", |storage| {
        let mut groups = storage
            .status
            .iter()
            .flat_map(|status| &status.volume_groups);
        groups.any(|group| group.name == KINDS && group.used_by_others.0 == "0")
    });

    let device = format!("/dev/{KINDS}/{name}");
    let sum = format!("head -c 36M {device} | md5sum");
    let before = fixture.shell(&format!(
        "dd if=/dev/urandom of={device} bs=1M count=36 conv=fsync status=none; {sum}"
    ));
    let Value::Object(grown) = cached(fixture, 602) else {
        unreachable!()
    };
    fixture.change(
        &name,
        json!({"size": "602Mi", "physicalVolumes": grown["physicalVolumes"]}),
    );
    fixture.reaches(&name, 604 << 20);
    assert_eq!(taken(fixture), [151, 0, 0, 0, 16]);
    assert_eq!(fixture.shell(&sum), before);
    assert_eq!(
        fixture.lvs(&name, "lv_uuid,segtype"),
        format!("{uuid} cache")
    );
    fixture.remove(&name);
    assert_eq!(taken(fixture), [0; 5]);
}

/// Creates an LV as the agent does before a crash, for a LogicalVolume that exists.
fn create_lv(fixture: &Fixture, name: &str, suffix: &str, extents: u32) {
    let claim = name.trim_start_matches("pvc-");
    fixture.shell(&format!(
        "lvcreate -qq -y --addtag flexlvm.dev/claim-uid={claim} --addtag {} -l {extents} \
         -n {name}{suffix} {KINDS}",
        fixture.object_tag(name)
    ));
}

pub(crate) fn missing_cache_is_attached_after_crash(fixture: &Fixture) {
    let [without, beside, dropped] = [(); 3].map(|()| fixture.name());
    // Its removal is requested while only the cache exists.
    let mut absent = cached(fixture, 32);
    absent["state"] = json!("Absent");
    fixture.kill_agent();
    for (name, spec) in [
        (&without, cached(fixture, 32)),
        (&beside, cached(fixture, 32)),
        (&dropped, absent),
    ] {
        fixture.create_volume_with(name, "32Mi", spec);
    }
    create_lv(fixture, &without, "", 8);
    create_lv(fixture, &beside, "", 8);
    create_lv(fixture, &beside, "_cache", 16);
    create_lv(fixture, &dropped, "_cache", 16);
    fixture.start_agent();
    for name in [&without, &beside] {
        fixture.ready(name);
        assert_eq!(
            (fixture.lvs(name, "segtype"), fixture.mark_in(KINDS, name)),
            ("cache".to_owned(), "unformatted".to_owned())
        );
        fixture.remove(name);
    }
    fixture.wait_for_condition(&dropped, crds::condition::REMOVED, "NeverCreated", "");
    assert_eq!(taken(fixture), [0; 5]);
}

/// Returns the disks that a backend may name for caches: `NAME: PATH,…`.
fn cache_paths(storage: &NodeStorage) -> Vec<String> {
    let groups = storage
        .status
        .iter()
        .flat_map(|status| &status.volume_groups);
    groups
        .filter(|group| group.name == KINDS)
        .flat_map(|group| &group.physical_volumes)
        .filter(|disk| !disk.cache_paths.is_empty())
        .map(|disk| format!("{}: {}", disk.name, disk.cache_paths.join(",")))
        .collect()
}

pub(crate) fn cache_disks_are_reported_by_stable_paths(fixture: &Fixture) {
    let [.., fast] = DISKS;
    fixture.shell(&format!("ln -s {fast} /dev/fast-disk"));
    let backend: StorageBackend = serde_json::from_value(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": "cached"},
        "spec": {"volumeGroup": KINDS, "layout": {"type": "Cached"}, "cache": {"devices": ["/dev/fast-disk"], "size": "10%"}}}))
    .unwrap();
    fixture.apply(&backend);
    let expected = format!("{fast}: /dev/fast-disk");
    fixture.wait_for_report("the disk is reserved for caches", |storage| {
        cache_paths(storage) == [expected.as_str()]
    });
    fixture.delete_backend("cached");
    fixture.wait_for_report("the disk is available for all volumes again", |storage| {
        cache_paths(storage).is_empty()
    });
}
