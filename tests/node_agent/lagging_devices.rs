//! Devices that lag behind LVM's metadata: smaller, or suspended, as an LVM command leaves them that
//! was killed.

use crds::condition::READY;
use serde_json::json;

use crate::fixture::{Fixture, GROUP};

/// Replaces the node's LVM by one that refuses to refresh.
const REFUSE_REFRESH: &str = r#"lvm=$(realpath /usr/sbin/lvm); mkdir -p /run/kept; cp -a $lvm /run/kept/lvm
    cat >/run/lvm.sh <<'S'
#!/bin/sh
case "$*" in *--refresh*) echo "no refresh today" >&2; exit 5 ;; esac
exec /run/kept/lvm "$@"
S
    chmod +x /run/lvm.sh; mount --bind /run/lvm.sh $lvm"#;

/// Returns device-mapper's name of a volume.
fn mapper_name(name: &str) -> String {
    let doubled = |name: &str| name.replace('-', "--");
    format!("{}-{}", doubled(GROUP), doubled(name))
}

/// Returns the device's folder in sysfs, as an expression of the shell.
fn sysfs_folder(name: &str) -> String {
    format!("/sys/class/block/$(basename $(realpath /dev/{GROUP}/{name}))")
}

/// Returns the size of the device in bytes.
fn device_size(fixture: &Fixture, name: &str) -> u64 {
    let size = fixture.shell(&format!("cat {}/size", sysfs_folder(name)));
    size.parse::<u64>().unwrap() * 512
}

/// Creates a volume of 64 MiB, grows it to 128 MiB, and loads its former table into the device while
/// the agent is stopped.
fn lagging_volume(fixture: &Fixture) -> String {
    let name = fixture.volume("64Mi");
    let dm = mapper_name(&name);
    let table = fixture.shell(&format!("dmsetup table {dm}"));
    fixture.change(&name, json!({"size": "128Mi"}));
    fixture.reaches(&name, 128 << 20);
    fixture.kill_agent();
    fixture.shell(&format!(
        "echo '{table}' | dmsetup reload {dm}; dmsetup resume {dm}"
    ));
    assert_eq!(device_size(fixture, &name), 64 << 20);
    name
}

pub(crate) fn lagging_device_is_refreshed(fixture: &Fixture) {
    let name = lagging_volume(fixture);
    let dm = mapper_name(&name);
    fixture.shell(&format!("dmsetup suspend {dm}"));
    fixture.start_agent();
    fixture.wait_for_script(
        "the device is resumed",
        &format!("grep -qx 0 {}/dm/suspended", sysfs_folder(&name)),
    );
    fixture.wait_for_script(
        "the device has its size",
        &format!("blockdev --getsize64 /dev/{GROUP}/{name} | grep -qx 134217728"),
    );
    fixture.shell(&format!("head -c 4096 /dev/{GROUP}/{name} >/dev/null"));
    fixture.ready(&name);
    fixture.reaches(&name, 128 << 20);
    // A volume that is removed is resumed first: what has it open could not end.
    fixture.kill_agent();
    fixture.shell(&format!("dmsetup suspend {dm}"));
    fixture.start_agent();
    fixture.remove(&name);
}

pub(crate) fn device_that_can_not_be_refreshed_is_reported(fixture: &Fixture) {
    let name = lagging_volume(fixture);
    fixture.shell(REFUSE_REFRESH);
    fixture.start_agent();
    let status = fixture.wait_for_condition(
        &name,
        READY,
        "DeviceOutdated",
        "has 64 MiB, but 128 MiB in LVM's metadata",
    );
    assert_eq!(status.size.unwrap().0, "64Mi");
    fixture.wait_for_condition(&name, READY, "DeviceOutdated", "no refresh today");
    fixture.shell("umount $(realpath /usr/sbin/lvm)");
    fixture.ready(&name);
    fixture.reaches(&name, 128 << 20);
    assert_eq!(device_size(fixture, &name), 128 << 20);
    fixture.remove(&name);
}
