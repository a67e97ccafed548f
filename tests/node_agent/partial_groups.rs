//! A volume group that lacks a disk: only volumes with a part on that disk are affected, and nothing
//! is changed or removed by force.

use crds::condition::{HEALTHY, READY, REMOVED};
use serde_json::{Value, json};

use crate::fixture::{DISKS, Fixture, KINDS};

/// The disk that is lost: LVM's label and metadata on it are hidden, its data stay.
const LOST: &str = DISKS[1];

/// Returns the uuid of a physical volume.
pub(crate) fn uuid_of(fixture: &Fixture, disk: &str) -> String {
    fixture.shell(&format!("pvs --noheadings -o pv_uuid {disk}"))
}

/// Returns the spec of a volume with 36 MiB on each of these disks.
pub(crate) fn on_disks(layout: &Value, uuids: &[&str]) -> Value {
    let shares: Vec<Value> = uuids
        .iter()
        .map(|uuid| json!({"uuid": uuid, "size": "36Mi"}))
        .collect();
    json!({"volumeGroup": KINDS, "layout": layout, "physicalVolumes": shares})
}

fn restart_agent(fixture: &Fixture) {
    fixture.kill_agent();
    fixture.start_agent();
}

pub(crate) fn volumes_on_intact_disks_of_partial_group_stay_ready(fixture: &Fixture) {
    let [first, second] = [DISKS[0], LOST].map(|disk| uuid_of(fixture, disk));
    let [intact, lost, mirror] = [(); 3].map(|()| fixture.name());
    let linear = json!({"type": "Linear"});
    fixture.create_volume_with(&intact, "32Mi", on_disks(&linear, &[&first]));
    fixture.create_volume_with(&lost, "32Mi", on_disks(&linear, &[&second]));
    let raid1 = json!({"type": "RAID1"});
    fixture.create_volume_with(&mirror, "32Mi", on_disks(&raid1, &[&first, &second]));
    for name in [&intact, &lost, &mirror] {
        fixture.ready(name);
        fixture.wait_for_condition(name, HEALTHY, "Healthy", "");
    }
    assert!(fixture.lvs(&lost, "devices").contains(LOST));

    fixture.shell(&format!(
        "dd if={LOST} of=/run/label bs=1M count=1 status=none
         dd if=/dev/zero of={LOST} bs=1M count=1 conv=fsync status=none"
    ));
    restart_agent(fixture);
    for type_ in [READY, HEALTHY] {
        fixture.wait_for_condition(&lost, type_, "Failed", &second);
    }
    fixture.wait_for_condition(&mirror, HEALTHY, "Degraded", "lvconvert --repair");
    fixture.wait_for_condition(&mirror, READY, "Ready", "");
    fixture.wait_for_condition(&intact, HEALTHY, "Healthy", "");
    fixture.ready(&intact);
    fixture.shell(&format!(
        "lvchange -qq -an {KINDS}/{intact}; lvchange -qq -ay {KINDS}/{intact}
         head -c 4096 /dev/{KINDS}/{intact} >/dev/null"
    ));
    // Nothing is extended or removed.
    let missing = "1 of its disks are missing";
    fixture.change(&intact, json!({"size": "64Mi"}));
    fixture.wait_for_condition(&intact, READY, "VolumeGroupUnusable", missing);
    fixture.change(&lost, json!({"state": "Absent"}));
    fixture.wait_for_condition(&lost, REMOVED, "VolumeGroupUnusable", missing);
    for (name, size) in [(&intact, "32.00m"), (&lost, "32.00m")] {
        assert_eq!(fixture.lvs(name, "lv_size"), size);
    }

    fixture.shell(&format!(
        "dd if=/run/label of={LOST} bs=1M conv=fsync status=none; rm /run/label"
    ));
    restart_agent(fixture);
    fixture.wait_for_condition(&lost, REMOVED, "Removed", "");
    fixture.reaches(&intact, 64 << 20);
    fixture.wait_for_condition(&mirror, HEALTHY, "Healthy", "");
    for name in [&intact, &mirror] {
        fixture.ready(name);
        fixture.remove(name);
    }
}
