//! All layouts on real LVM: created, filled, extended, checked, removed; and their allocation on
//! each disk compared with the cost model, in extents.

use crds::condition::{READY, REMOVED};
use host::Bytes;
use host::lvm::{Cost, Layout};
use serde_json::{Value, json};

use super::fixture::{DISKS, Fixture, GROUP, KINDS};
use super::reports::wait_for_limit;

const EXTENT: Bytes = Bytes(4 << 20);

/// Layouts as in a StorageBackend, each with LVM's segment type.
fn layouts() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"type": "Linear"}), "linear"),
        (
            json!({"type": "Striped", "stripes": 3, "stripeSize": "128Ki"}),
            "striped",
        ),
        (json!({"type": "RAID1"}), "raid1"),
        (json!({"type": "RAID1", "integrity": true}), "raid1"),
        (json!({"type": "RAID5"}), "raid5"),
        (json!({"type": "RAID6"}), "raid6"),
        (json!({"type": "RAID10"}), "raid10"),
    ]
}

fn read(layout: &Value) -> Layout {
    placement::layout::to_lvm(&serde_json::from_value(layout.clone()).unwrap()).unwrap()
}

fn cost(layout: &Value, mebibytes: u64) -> Cost {
    read(layout).cost(Bytes(mebibytes << 20), EXTENT).unwrap()
}

/// Returns the controller's reservation: an image on each of the first disks.
fn shares(fixture: &Fixture, cost: Cost) -> Value {
    let uuids = fixture.shell(&format!(
        "pvs --noheadings -o pv_uuid -S vg_name={KINDS} -O pv_name"
    ));
    json!(
        uuids
            .split_whitespace()
            .take(cost.images as usize)
            .map(|uuid: &str| json!({"uuid": uuid, "size": cost.image.bytes(EXTENT).0.to_string()}))
            .collect::<Vec<_>>()
    )
}

/// Returns the number of allocated extents of each disk that has any.
fn taken(fixture: &Fixture) -> Vec<u64> {
    let taken = fixture.shell(&format!(
        "pvs --noheadings -o pv_pe_alloc_count -S vg_name={KINDS} -O pv_name"
    ));
    taken
        .split_whitespace()
        .map(|extents| extents.parse().unwrap())
        .filter(|extents| *extents > 0)
        .collect()
}

fn images(cost: Cost) -> Vec<u64> {
    vec![cost.image.0; cost.images as usize]
}

/// LVM does not count the images of a RAID, and counts their checksums while it creates them.
pub(crate) fn raid1_counts_as_one_logical_volume(fixture: &Fixture) {
    for (layout, needs) in [
        (json!({"type": "RAID1"}), 1),
        (json!({"type": "RAID1", "integrity": true}), 3),
    ] {
        let name = fixture.name();
        let spec = json!({"volumeGroup": KINDS, "layout": layout, "physicalVolumes": shares(fixture, cost(&layout, 37))});
        if needs > 1 {
            fixture.shell(&format!("vgchange -qq -l {} {KINDS}", needs - 1));
            fixture.create_volume_with(&name, "37Mi", spec);
            let phrase = format!("needs {needs} more");
            fixture.wait_for_condition(&name, READY, "VolumeLimitReached", &phrase);
            fixture.shell(&format!("vgchange -qq -l {needs} {KINDS}"));
        } else {
            fixture.shell(&format!("vgchange -qq -l {needs} {KINDS}"));
            fixture.create_volume_with(&name, "37Mi", spec);
        }
        fixture.ready(&name);
        wait_for_limit(fixture, KINDS);
        fixture.shell(&format!("vgchange -qq -l 0 {KINDS}"));
        fixture.remove(&name);
    }
}

pub(crate) fn each_layout_is_created_grown_and_removed(fixture: &Fixture) {
    for (layout, segtype) in layouts() {
        let name = fixture.name();
        let small = cost(&layout, 37);
        let spec = json!({"volumeGroup": KINDS, "layout": layout, "physicalVolumes": shares(fixture, small)});
        fixture.create_volume_with(&name, "37Mi", spec);
        let uuid = fixture.ready(&name);
        assert_eq!(fixture.lvs(&name, "segtype"), segtype, "{layout}");
        assert_eq!(fixture.mark_in(KINDS, &name), "unformatted", "{layout}");
        assert_eq!(taken(fixture), images(small), "{layout}");
        let size = fixture
            .wait_for_condition(&name, READY, "Ready", "")
            .size
            .unwrap();
        assert_eq!(
            crds::quantity::parse(&size).unwrap(),
            small.size.bytes(EXTENT).0,
            "{layout}"
        );

        let device = format!("/dev/{KINDS}/{name}");
        let sum = format!("head -c 36M {device} | md5sum");
        let before = fixture.shell(&format!(
            "dd if=/dev/urandom of={device} bs=1M count=36 conv=fsync status=none; {sum}"
        ));
        // Growth for which the checksums need additional space, too.
        let mebibytes = if read(&layout).has_integrity() {
            602
        } else {
            101
        };
        let larger = cost(&layout, mebibytes);
        let size = format!("{mebibytes}Mi");
        fixture.change(
            &name,
            json!({"size": size, "physicalVolumes": shares(fixture, larger)}),
        );
        fixture.reaches(&name, larger.size.bytes(EXTENT).0);
        assert_eq!(taken(fixture), images(larger), "{layout}");
        assert_eq!(
            fixture.shell(&format!("blockdev --getsize64 {device}")),
            larger.size.bytes(EXTENT).0.to_string()
        );
        assert_eq!(fixture.shell(&sum), before, "{layout}");
        assert_eq!(
            fixture.shell(&format!(
                "lvs --noheadings -o lv_uuid,lv_health_status {KINDS}/{name}"
            )),
            uuid
        );
        fixture.remove(&name);
        assert_eq!(taken(fixture), [0_u64; 0], "{layout}");
    }
}

/// Tests sizes in MiB at which the model rounds; without activation where possible, which is much
/// faster.
pub(crate) fn allocation_by_lvm_matches_cost_model(fixture: &Fixture) {
    for (layout, sizes, quick) in [
        (json!({"type": "Linear"}), vec![1, 333], "-an -Zn -Wn"),
        (
            json!({"type": "Striped", "stripes": 5}),
            vec![23, 333],
            "-an -Zn -Wn",
        ),
        (
            json!({"type": "RAID1", "copies": 4}),
            vec![1, 777],
            "-an -Zn -Wn",
        ),
        (
            json!({"type": "RAID5", "stripes": 4}),
            vec![101, 1501],
            "-an -Zn -Wn",
        ),
        (json!({"type": "RAID6"}), vec![1, 777], "-an -Zn -Wn"),
        (json!({"type": "RAID10"}), vec![1, 777], "-an -Zn -Wn"),
        (json!({"type": "RAID1", "integrity": true}), vec![513], ""),
    ] {
        let costs: Vec<Cost> = sizes.iter().map(|size| cost(&layout, *size)).collect();
        let kind = read(&layout).arguments().join(" ");
        let script: Vec<String> = costs.iter().enumerate().map(|(number, cost): (usize, &Cost)| {
            format!(
                "lvcreate -qq --yes {kind} --extents {} {quick} -n model{number} {KINDS}; count",
                cost.size.0
            )
        }).collect();
        let counts = fixture.shell(&format!(
            "count() {{ echo $(pvs --noheadings -o pv_pe_alloc_count -S vg_name={KINDS} -O pv_name); }}; count
             {}; lvremove -qq -y {KINDS}",
            script.join("; ")
        ));
        let counts: Vec<Vec<u64>> = counts
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .map(|extents| extents.parse().unwrap())
                    .collect()
            })
            .collect();
        for ((counts, wanted), size) in counts.windows(2).zip(&costs).zip(&sizes) {
            let taken = counts[1]
                .iter()
                .zip(&counts[0])
                .map(|(after, before)| after - before);
            assert_eq!(
                taken.filter(|taken| *taken > 0).collect::<Vec<_>>(),
                images(*wanted),
                "{layout} of {size} MiB"
            );
        }
        assert_eq!(counts.len(), sizes.len() + 1);
    }
}

pub(crate) fn missing_checksums_are_added_after_crash(fixture: &Fixture) {
    let name = fixture.name();
    let layout = json!({"type": "RAID1", "integrity": true});
    let claim = name.trim_start_matches("pvc-");
    let wanted = cost(&layout, 32);
    let spec =
        json!({"volumeGroup": KINDS, "layout": layout, "physicalVolumes": shares(fixture, wanted)});
    fixture.kill_agent();
    fixture.create_volume_with(&name, "32Mi", spec);
    fixture.shell(&format!(
        "lvcreate -qq --yes --type raid1 --mirrors 1 -l 8 --addtag flexlvm.dev/claim-uid={claim} \
         --addtag {} -n {name} {KINDS} \
         $(pvs --noheadings -o pv_name -S vg_name={KINDS} -O pv_name | head -2)",
        fixture.object_tag(&name)
    ));
    fixture.start_agent();
    fixture.ready(&name);
    assert_eq!(taken(fixture), images(wanted));
    assert_eq!(fixture.mark_in(KINDS, &name), "unformatted");
    fixture.remove(&name);
}

pub(crate) fn raid1_with_snapshot_is_kept(fixture: &Fixture) {
    let name = fixture.name();
    let layout = json!({"type": "RAID1"});
    let spec = json!({"volumeGroup": KINDS, "layout": layout, "physicalVolumes": shares(fixture, cost(&layout, 32))});
    fixture.create_volume_with(&name, "32Mi", spec);
    fixture.ready(&name);
    fixture.shell(&format!("lvcreate -qq -y -s -n copy -L 8M {KINDS}/{name}"));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "InUse", "has snapshots");
    assert_ne!(fixture.lvs("copy", "lv_name"), "");
    fixture.shell(&format!("lvremove -qq -y {KINDS}/copy"));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");
}

pub(crate) fn too_few_disks_do_not_degrade_layout(fixture: &Fixture) {
    let name = fixture.name();
    // The group has one disk, and a second one does not exist.
    fixture.create_volume_with(
        &name,
        "32Mi",
        json!({"volumeGroup": GROUP, "layout": {"type": "RAID1"}}),
    );
    fixture.wait_for_condition(&name, READY, "LvmFailed", "lvcreate");
    assert_eq!(fixture.lvs(&name, "lv_name"), "");
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "NeverCreated", "");
    assert!(DISKS.len() >= 5, "RAID6 needs five disks");
}
