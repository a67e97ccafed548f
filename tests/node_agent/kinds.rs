//! Every kind of volume on real LVM: made, filled, grown, checked, removed; and what it takes of
//! each disk compared with the one cost model, extent by extent.

use crds::condition::{READY, REMOVED};
use host::Bytes;
use host::lvm::{Cost, Layout};
use serde_json::{Value, json};

use super::stage::{DISKS, GROUP, KINDS, Stage};

const EXTENT: Bytes = Bytes(4 << 20);

/// Layouts as an admin writes them, each with the kind that LVM is to show.
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

/// What the controller would promise: the first disks, an image on each.
fn shares(stage: &Stage, cost: Cost) -> Value {
    let uuids = stage.shell(&format!(
        "pvs --noheadings -o pv_uuid -S vg_name={KINDS} -O pv_name"
    ));
    let share = |uuid: &str| json!({"uuid": uuid, "size": cost.image.bytes(EXTENT).0.to_string()});
    json!(
        uuids
            .split_whitespace()
            .take(cost.images as usize)
            .map(share)
            .collect::<Vec<_>>()
    )
}

/// How many extents are taken of each disk that has any taken.
fn taken(stage: &Stage) -> Vec<u64> {
    let taken = stage.shell(&format!(
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

pub(crate) fn every_kind_lives_and_dies(stage: &Stage) {
    for (layout, segtype) in layouts() {
        let name = stage.name();
        let small = cost(&layout, 37);
        let spec = json!({"volumeGroup": KINDS, "layout": layout, "physicalVolumes": shares(stage, small)});
        stage.order_with(&name, "37Mi", spec);
        let uuid = stage.ready(&name);
        assert_eq!(stage.lvs(&name, "segtype"), segtype, "{layout}");
        assert_eq!(stage.mark_in(KINDS, &name), "fresh", "{layout}");
        assert_eq!(taken(stage), images(small), "{layout}");
        let size = stage.says(&name, READY, "Ready", "").size.unwrap();
        assert_eq!(
            crds::quantity::parse(&size).unwrap(),
            small.size.bytes(EXTENT).0,
            "{layout}"
        );

        let device = format!("/dev/{KINDS}/{name}");
        let sum = format!("head -c 36M {device} | md5sum");
        let before = stage.shell(&format!(
            "dd if=/dev/urandom of={device} bs=1M count=36 conv=fsync status=none; {sum}"
        ));
        // Checksums, so far that they need more room too.
        let mebibytes = if read(&layout).has_integrity() {
            602
        } else {
            101
        };
        let larger = cost(&layout, mebibytes);
        let size = format!("{mebibytes}Mi");
        stage.change(
            &name,
            json!({"size": size, "physicalVolumes": shares(stage, larger)}),
        );
        stage.reaches(&name, larger.size.bytes(EXTENT).0);
        assert_eq!(taken(stage), images(larger), "{layout}");
        assert_eq!(
            stage.shell(&format!("blockdev --getsize64 {device}")),
            larger.size.bytes(EXTENT).0.to_string()
        );
        assert_eq!(stage.shell(&sum), before, "{layout}");
        assert_eq!(
            stage.shell(&format!(
                "lvs --noheadings -o lv_uuid,lv_health_status {KINDS}/{name}"
            )),
            uuid
        );
        stage.remove(&name);
        assert_eq!(taken(stage), [0_u64; 0], "{layout}");
    }
}

/// Sizes in MiB at which something rounds; without a device where that can be, which is much
/// faster.
pub(crate) fn lvm_takes_what_the_model_says(stage: &Stage) {
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
        let make = |(number, cost): (usize, &Cost)| {
            format!(
                "lvcreate -qq --yes {kind} --extents {} {quick} -n model{number} {KINDS}; count",
                cost.size.0
            )
        };
        let script: Vec<String> = costs.iter().enumerate().map(make).collect();
        let counts = stage.shell(&format!(
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

pub(crate) fn checksums_that_a_crash_left_out_are_added(stage: &Stage) {
    let name = stage.name();
    let layout = json!({"type": "RAID1", "integrity": true});
    let claim = name.trim_start_matches("pvc-");
    stage.shell(&format!(
        "lvcreate -qq --yes --type raid1 --mirrors 1 -l 8 --addtag flexlvm.dev/claim-uid={claim} -n {name} {KINDS} \
         $(pvs --noheadings -o pv_name -S vg_name={KINDS} -O pv_name | head -2)"
    ));
    let wanted = cost(&layout, 32);
    let spec =
        json!({"volumeGroup": KINDS, "layout": layout, "physicalVolumes": shares(stage, wanted)});
    stage.order_with(&name, "32Mi", spec);
    stage.ready(&name);
    assert_eq!(taken(stage), images(wanted));
    assert_eq!(stage.mark_in(KINDS, &name), "fresh");
    stage.remove(&name);
}

pub(crate) fn a_mirror_with_a_snapshot_is_kept_with_it(stage: &Stage) {
    let name = stage.name();
    let layout = json!({"type": "RAID1"});
    let spec = json!({"volumeGroup": KINDS, "layout": layout, "physicalVolumes": shares(stage, cost(&layout, 32))});
    stage.order_with(&name, "32Mi", spec);
    stage.ready(&name);
    stage.shell(&format!("lvcreate -qq -y -s -n copy -L 8M {KINDS}/{name}"));
    stage.change(&name, json!({"state": "Absent"}));
    stage.says(&name, REMOVED, "InUse", "has snapshots");
    assert_ne!(stage.lvs("copy", "lv_name"), "");
    stage.shell(&format!("lvremove -qq -y {KINDS}/copy"));
    stage.says(&name, REMOVED, "Removed", "");
}

pub(crate) fn too_few_disks_are_no_lesser_kind(stage: &Stage) {
    let name = stage.name();
    // All of the one disk's group; a second disk is not there.
    stage.order_with(
        &name,
        "32Mi",
        json!({"volumeGroup": GROUP, "layout": {"type": "RAID1"}}),
    );
    stage.says(&name, READY, "LvmFailed", "lvcreate");
    assert_eq!(stage.lvs(&name, "lv_name"), "");
    stage.change(&name, json!({"state": "Absent"}));
    stage.says(&name, REMOVED, "NeverCreated", "");
    assert!(DISKS.len() >= 5, "RAID6 needs five disks");
}
