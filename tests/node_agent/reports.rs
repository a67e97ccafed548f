//! What LVM reports: with an admin's settings, after `vgextend`, and while the group is away.

use std::time::Duration;

use crds::NodeStorage;
use crds::condition::{self, READY, REMOVED};
use serde_json::json;

use crate::fixture::{Fixture, GROUP};

/// Settings that admins use for readable reports, and one that adds a log to them.
const REPORT_SETTINGS: &str = r#"
report { list_item_separator=";" prefixes=1 compact_output=1 compact_output_cols="lv_tags"
         mark_hidden_devices=0 binary_values_as_numeric=1 time_format="%A" }
log { report_command_log=1 }
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
