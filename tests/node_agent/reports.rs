//! What LVM reports: with an admin's settings, after `vgextend`, and while the group is away.

use std::time::Duration;

use crds::NodeStorage;
use crds::condition::{self, READY, REMOVED};
use serde_json::{Value, json};

use crate::fixture::{Fixture, GROUP, KINDS};

/// Settings that admins use for readable reports, one that adds a log to them, and sort keys that do
/// not exist.
const REPORT_SETTINGS: &str = r#"
report { list_item_separator=";" prefixes=1 compact_output=1 compact_output_cols="lv_tags"
         mark_hidden_devices=0 binary_values_as_numeric=1 time_format="%A"
         vgs_sort="none" lvs_sort="none" pvs_sort="none" vgs_sort_full="none" lvs_sort_full="none"
         pvs_sort_full="none" pvsegs_sort_full="none" segs_sort_full="none" }
log { report_command_log=1 prefix="lvm: " command_names=1 }
"#;

/// Returns true if the volume group is reported with this size.
fn has_size(storage: &NodeStorage, size: &str) -> bool {
    let mut groups = storage
        .status
        .iter()
        .flat_map(|status| &status.volume_groups);
    groups.any(|group| group.name == GROUP && group.size.0 == size)
}

pub(crate) fn report_settings_do_not_change_what_the_agent_reads(fixture: &Fixture) {
    let before = fixture.volume("64Mi");
    fixture.shell(&format!(
        "mv /etc/lvm/lvmlocal.conf /etc/lvm/lvmlocal.saved
         cat >/etc/lvm/lvmlocal.conf <<'S'\n{REPORT_SETTINGS}S\n"
    ));
    let during = fixture.volume("64Mi");
    fixture.change(&before, json!({"size": "128Mi"}));
    fixture.reaches(&before, 128 << 20);
    fixture.change(&during, json!({"state": "Absent"}));
    fixture.wait_for_condition(&during, REMOVED, "Removed", "");
    fixture.shell("mv /etc/lvm/lvmlocal.saved /etc/lvm/lvmlocal.conf");
    assert_eq!(fixture.lvs(&during, "lv_name"), "");
    fixture.remove(&before);
}

pub(crate) fn damaged_metadata_of_another_group_stops_nothing(fixture: &Fixture) {
    // The metadata's text begins in the disk's tenth sector. LVM then prints `Retrying metadata
    // scan.`, by default into its report.
    fixture.shell(
        "vgcreate -qq damaged /dev/ubdc
         dd if=/dev/zero of=/dev/ubdc bs=512 seek=9 count=1 conv=notrunc,fsync 2>/dev/null",
    );
    let name = fixture.volume("64Mi");
    fixture.wait_for_report("the damage is reported", |storage| {
        let status = storage.status.clone().unwrap_or_default();
        let mut warnings = status.lvm_warnings.iter();
        warnings.any(|warning| warning.contains("/dev/ubdc"))
            && condition::is_true(&status.conditions, READY)
    });
    fixture.change(&name, json!({"size": "128Mi"}));
    fixture.reaches(&name, 128 << 20);
    fixture.remove(&name);
    fixture.shell("wipefs -qa /dev/ubdc");
    let name = fixture.volume("64Mi");
    fixture.wait_for_report("the damage is no longer reported", |storage| {
        let status = storage.status.clone().unwrap_or_default();
        let mut warnings = status.lvm_warnings.iter();
        warnings.all(|warning| !warning.contains("/dev/ubdc"))
    });
    fixture.remove(&name);
}

pub(crate) fn vgextend_is_reported_within_five_seconds(fixture: &Fixture) {
    fixture.wait_for_report("the volume group has its first size", |storage| {
        has_size(storage, "4092Mi")
    });
    fixture.shell(&format!("vgextend -qq {GROUP} /dev/ubdc"));
    let took = fixture.wait_for_report("the volume group has grown", |storage| {
        has_size(storage, "5112Mi")
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    fixture.shell(&format!("vgreduce -qq {GROUP} /dev/ubdc"));
    let took = fixture.wait_for_report("the volume group has shrunk", |storage| {
        has_size(storage, "4092Mi")
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Returns LVM's limit on the number of logical volumes in a group, and how many more it allows, as
/// reported.
fn limit(storage: &NodeStorage, name: &str) -> Option<(u32, u32)> {
    let groups = &storage.status.as_ref()?.volume_groups;
    let limit = groups
        .iter()
        .find(|group| group.name == name)?
        .logical_volume_limit?;
    Some((limit.maximum, limit.remaining))
}

/// Waits until the reported limit of a group is the one that LVM reports.
pub(crate) fn wait_for_limit(fixture: &Fixture, group: &str) {
    let numbers = fixture.shell(&format!("vgs --noheadings -o max_lv,lv_count {group}"));
    let numbers: Vec<u32> = numbers
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let expected = (numbers[0] > 0).then(|| (numbers[0], numbers[0] - numbers[1]));
    fixture.wait_for_report("the limit is reported as LVM counts", |storage| {
        limit(storage, group) == expected
    });
}

/// Creates a volume for which LVM counts two logical volumes: it waits until the limit of its group
/// allows both.
pub(crate) fn creation_needs_two_lvs(fixture: &Fixture, size: &str, spec: Value) {
    let name = fixture.name();
    fixture.shell(&format!("vgchange -qq -l 1 {KINDS}"));
    fixture.create_volume_with(&name, size, spec);
    fixture.wait_for_condition(&name, READY, "VolumeLimitReached", "needs 2 more");
    fixture.shell(&format!("vgchange -qq -l 2 {KINDS}"));
    fixture.ready(&name);
    wait_for_limit(fixture, KINDS);
    fixture.shell(&format!("vgchange -qq -l 0 {KINDS}"));
    fixture.remove(&name);
}

pub(crate) fn limit_of_logical_volumes_is_reported(fixture: &Fixture) {
    let [name, waiting] = [fixture.volume("64Mi"), fixture.name()];
    fixture.shell(&format!(
        "vgchange -qq -l $(vgs --noheadings -o lv_count {GROUP}) {GROUP}
         ! lvcreate -qq -y -n more -L 8M {GROUP} 2>/run/refused
         grep 'Maximum number of logical volumes' /run/refused"
    ));
    wait_for_limit(fixture, GROUP);
    fixture.create_volume(&waiting, "64Mi");
    fixture.wait_for_condition(&waiting, READY, "VolumeLimitReached", "needs 1 more");
    // An existing volume still grows.
    fixture.change(&name, json!({"size": "128Mi"}));
    fixture.reaches(&name, 128 << 20);
    fixture.shell(&format!("vgchange -qq -l 0 {GROUP}"));
    fixture.ready(&waiting);
    wait_for_limit(fixture, GROUP);
    for name in [&name, &waiting] {
        fixture.remove(name);
    }
}

/// LVM refuses each new volume, although the group has free space.
pub(crate) fn full_metadata_area_is_reported(fixture: &Fixture) {
    let existing = fixture.name();
    fixture.shell(
        "pvcreate -qq --dataalignment 64k --metadatasize 60k /dev/ubdi; vgcreate -qq small /dev/ubdi",
    );
    fixture.create_volume_with(&existing, "8Mi", json!({"volumeGroup": "small"}));
    fixture.ready(&existing);
    fixture.shell(
        "lvcreate -qq -an -Zn -Wn -n filler -l 1 small
         long=$(head -c 900 /dev/zero | tr '\\0' x)
         while lvchange -qq --addtag $(date +%N)$long small/filler 2>/run/refused; do :; done
         grep 'exceeds maximum metadata size' /run/refused",
    );
    let is_full = |storage: &NodeStorage| {
        let groups = storage.status.clone().unwrap_or_default().volume_groups;
        groups.iter().any(|group| {
            let reason = group.unusable_reason.clone().unwrap_or_default();
            group.name == "small" && reason.contains("its metadata area is full")
        })
    };
    fixture.wait_for_report("the full area is reported", is_full);
    fixture.ready(&existing);
    fixture.remove(&existing);
    fixture.shell("lvremove -qq -y small/filler");
    fixture.wait_for_report("the area has space", |storage| !is_full(storage));
    fixture.shell("vgremove -qq small; pvremove -qq /dev/ubdi");
}

/// A disk that a storage system presents twice, or that was cloned.
pub(crate) fn disk_that_exists_twice_is_reported_and_stops_no_volume(fixture: &Fixture) {
    let [existing, waiting] = [(); 2].map(|()| fixture.name());
    let in_group = json!({"volumeGroup": "twice"});
    fixture.shell("vgcreate -qq twice /dev/ubdi");
    fixture.create_volume_with(&existing, "64Mi", in_group.clone());
    fixture.ready(&existing);
    // LVM writes no backup when a copy appears: any change makes the agent take a report at once.
    let change = format!("vgchange -qq --addtag a {GROUP}; vgchange -qq --deltag a {GROUP}");
    fixture.shell(&format!(
        "dd if=/dev/ubdi of=/dev/ubdj bs=1M count=8 conv=fsync status=none; {change}"
    ));
    fixture.wait_for_report("the copy is reported", |storage| {
        let groups = storage.status.clone().unwrap_or_default().volume_groups;
        groups.iter().any(|group| {
            let reason = group.unusable_reason.clone().unwrap_or_default();
            group.name == "twice" && reason.contains("finds the copy /dev/ubdj")
        })
    });
    fixture.create_volume_with(&waiting, "64Mi", in_group);
    fixture.wait_for_condition(&waiting, READY, "VolumeGroupUnusable", "exists twice");
    fixture.ready(&existing);
    // LVM itself refuses.
    fixture.shell(&format!(
        "! lvcreate -qq -y -n more -L 8M twice 2>/run/refused
         grep 'with duplicate PV devices' /run/refused
         dd if=/dev/zero of=/dev/ubdj bs=1M count=8 conv=fsync status=none; {change}"
    ));
    fixture.ready(&waiting);
    for name in [&existing, &waiting] {
        fixture.remove(name);
    }
    fixture.shell("vgremove -qq twice; pvremove -qq /dev/ubdi");
}

pub(crate) fn volume_group_disappears_and_returns(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!("vgchange -qq -an {GROUP}; vgexport -qq {GROUP}"));
    fixture.wait_for_condition(
        &name,
        READY,
        "VolumeGroupUnusable",
        "it is exported; vgimport brings it back",
    );
    let waiting = fixture.name();
    fixture.create_volume(&waiting, "64Mi");
    fixture.wait_for_condition(&waiting, READY, "VolumeGroupUnusable", "");
    fixture.shell(&format!(
        "vgimport -qq {GROUP}; vgrename -qq {GROUP} elsewhere"
    ));
    fixture.wait_for_condition(
        &name,
        READY,
        "LogicalVolumeMissing",
        "was renamed to elsewhere/",
    );
    fixture.wait_for_condition(
        &waiting,
        READY,
        "VolumeGroupMissing",
        "node1 has no volume group vg-0",
    );
    fixture.shell(&format!("vgrename -qq elsewhere {GROUP}"));
    for name in [&name, &waiting] {
        fixture.ready(name);
        fixture.remove(name);
    }
}
