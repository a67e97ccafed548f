//! Volume groups that the agent creates of a StorageBackend's devices.

use std::time::Duration;

use crds::devices::NodeDevice;
use serde_json::json;

use crate::fixture::{AGENT, Fixture, PROGRAM};

/// Name of the volume group and of the backend.
const MADE: &str = "made-0";

/// The two disks of the group, by links like udev's.
const DISKS: [&str; 2] = ["/dev/disk/by-id/one", "/dev/disk/by-id/two"];

/// Path of the real LVM while a test replaces its program.
const LVM: &str = "/run/kept/lvm";

/// Restores the initial state: disks, LVM's backups, the agent's files and its report.
fn clean(fixture: &Fixture) {
    fixture.kill_agent();
    fixture.shell(&format!(
        "mkdir -p /dev/disk/by-id; ln -sfn ../../ubdi {}; ln -sfn ../../ubdj {}
         vgremove -qqff {MADE} 2>/dev/null || true
         for disk in i j; do pvremove -qqff -y /dev/ubd$disk 2>/dev/null || true; wipefs -qa /dev/ubd$disk; done
         rm -rf /run/state/volume-groups /etc/lvm/backup/{MADE}",
        DISKS[0], DISKS[1]
    ));
    fixture.start_agent();
    fixture.wait_for_report("the group is gone", |report| !has_group(report));
    fixture.delete_storage();
    fixture.wait_for_report("the devices are no longer reported", |report| {
        report
            .status
            .as_ref()
            .is_some_and(|status| status.missing_volume_groups.is_empty())
    });
}

fn has_group(report: &crds::NodeStorage) -> bool {
    let groups = report.status.clone().unwrap_or_default().volume_groups;
    groups.iter().any(|group| group.name == MADE)
}

fn devices(report: &crds::NodeStorage) -> Vec<NodeDevice> {
    report.status.clone().unwrap_or_default().devices
}

/// Applies a backend with both disks and further devices.
fn apply_backend(fixture: &Fixture, more: &[&str]) {
    let devices = [&DISKS[..], more].concat();
    fixture.backend(MADE, json!({"volumeGroup": MADE, "devices": devices}));
}

/// Waits until the group is reported, and checks that it is complete and consists of the two disks.
fn check_group(fixture: &Fixture) {
    fixture.wait_for_report("the group has both disks", |report| {
        let devices = devices(report);
        let members: Vec<&str> = devices
            .iter()
            .filter(|device| device.in_volume_group)
            .map(|device| device.path.as_str())
            .collect();
        has_group(report) && DISKS.iter().all(|disk| members.contains(disk))
    });
    let group = fixture.shell(&format!(
        "vgs --noheadings -o pv_count,vg_missing_pv_count,vg_tags {MADE}"
    ));
    assert_eq!(
        group.split_whitespace().collect::<Vec<_>>(),
        ["2", "0", &format!("flexlvm.dev/backend={MADE}")]
    );
    let disks = fixture.shell(&format!("pvs --noheadings -o pv_name -S vg_name={MADE}"));
    assert_eq!(
        disks.split_whitespace().collect::<Vec<_>>(),
        ["/dev/ubdi", "/dev/ubdj"]
    );
    fixture.wait_for_script(
        "nothing is left to do",
        "test ! -e /run/state/volume-groups/made-0.json",
    );
}

/// Removes the group and the backend.
fn done(fixture: &Fixture) {
    fixture.delete_backend(MADE);
    clean(fixture);
}

/// Waits until the device has this reason and message.
fn wait_for_device(fixture: &Fixture, path: &str, reason: &str, phrase: &str) {
    fixture.wait_for_report(
        &format!("{path} has reason {reason} {phrase:?}"),
        |report| {
            devices(report).iter().any(|device: &NodeDevice| {
                let message = device.message.as_deref().unwrap_or_default();
                device.path == path
                    && device.reason.as_deref() == Some(reason)
                    && message.contains(phrase)
            })
        },
    );
}

/// A disk that has been a physical volume.
const ORPHAN: &str = "/dev/ubdn";

/// Writes to the other disks: an ext4, a partition table with a partition, swap, an orphaned PV, a
/// mounted ext4. The last disk is too small.
fn use_other_disks(fixture: &Fixture) {
    fixture.shell(
        "mkfs.ext4 -q /dev/ubdk; mkswap -q /dev/ubdm; swapon /dev/ubdm; pvcreate -qq /dev/ubdn
         printf '\\000\\000\\000\\000\\203\\000\\000\\000\\000\\010\\000\\000\\000\\010\\000\\000' | dd of=/dev/ubdl bs=1 seek=446 conv=notrunc status=none
         printf '\\125\\252' | dd of=/dev/ubdl bs=1 seek=510 conv=notrunc status=none; blockdev --rereadpt /dev/ubdl
         mkfs.ext4 -q /dev/ubdo; mkdir -p /mnt/used; mount /dev/ubdo /mnt/used; sync",
    );
}

/// Returns the checksums of the other disks, without the mounted one.
fn sums_of_others(fixture: &Fixture) -> String {
    fixture.shell("sync; for disk in k l m n p; do sha256sum /dev/ubd$disk; done")
}

/// Waits until each device that the agent does not use is reported with its reason.
fn check_reasons(fixture: &Fixture) {
    for (path, reason, phrase) in [
        ("/dev/ubdk", "NotBlank", "it contains ext4"),
        ("/dev/ubdl", "Partitioned", "it has partitions (ubdl1)"),
        ("/dev/ubdm", "InUse", "it is used as swap"),
        (ORPHAN, "PhysicalVolume", "`pvremove /dev/ubdn`"),
        ("/dev/ubdo", "InUse", "it is mounted at /mnt/used"),
        ("/dev/ubdp", "TooSmall", "it has 32 MiB"),
        (
            "/dev/ubdd",
            "PhysicalVolume",
            "it is part of volume group kinds",
        ),
        ("/dev/null", "NotABlockDevice", ""),
        ("/dev/disk/by-id/none", "NotFound", ""),
    ] {
        wait_for_device(fixture, path, reason, phrase);
    }
}

pub(crate) fn volume_group_is_created_of_blank_devices_only(fixture: &Fixture) {
    clean(fixture);
    use_other_disks(fixture);
    let before = sums_of_others(fixture);
    let devices = [
        "/dev/ubdk",
        "/dev/ubdl",
        "/dev/ubdm",
        ORPHAN,
        "/dev/ubdo",
        "/dev/ubdp",
        "/dev/ubdd",
        "/dev/null",
        "/dev/ubdi",
        "/dev/disk/by-id/none",
    ];
    apply_backend(fixture, &devices);
    check_group(fixture);
    check_reasons(fixture);
    assert_eq!(
        sums_of_others(fixture),
        before,
        "other devices are unchanged"
    );
    let before = fixture.storage().metadata.resource_version;
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(
        fixture.storage().metadata.resource_version,
        before,
        "the unchanged report is not rewritten"
    );

    // A device that becomes free later is reported, and not added.
    fixture.shell("pvremove -qq /dev/ubdn; ln -sfn ../../ubdn /dev/disk/by-id/later");
    wait_for_device(
        fixture,
        ORPHAN,
        "VolumeGroupExists",
        "to add the device: `vgextend made-0 /dev/ubdn`",
    );
    fixture.shell("printf raw | dd of=/dev/ubdn bs=1 seek=3000000 conv=notrunc status=none; ln -sfn ../../ubdn /dev/disk/by-id/raw");
    wait_for_device(fixture, ORPHAN, "NotBlank", "byte 3000000 is not zero");
    assert_eq!(
        fixture.shell(&format!("vgs --noheadings -o pv_count {MADE}")),
        "2"
    );
    fixture.shell("umount /mnt/used; swapoff /dev/ubdm; wipefs -qa /dev/ubdk /dev/ubdm /dev/ubdo");
    done(fixture);
}

pub(crate) fn existing_volume_group_is_not_recreated(fixture: &Fixture) {
    clean(fixture);
    fixture.shell("dd if=/dev/zero of=/dev/ubdn bs=1M count=5 status=none");
    apply_backend(fixture, &[]);
    check_group(fixture);
    // Known from LVM's backup; without a backup, from the node's report.
    fixture.shell(&format!(
        "cp /etc/lvm/backup/{MADE} /run/backup; vgrename -qq {MADE} away; cp /run/backup /etc/lvm/backup/{MADE}"
    ));
    apply_backend(fixture, &["/dev/ubdn"]);
    wait_for_device(
        fixture,
        "/dev/ubdn",
        "VolumeGroupVanished",
        "/etc/lvm/backup/made-0",
    );
    fixture.shell(&format!(
        "rm /etc/lvm/backup/{MADE}; ln -sfn ../../ubdn /dev/disk/by-id/again"
    ));
    wait_for_device(
        fixture,
        "/dev/ubdn",
        "VolumeGroupVanished",
        "NodeStorage node1 lists it",
    );
    fixture.kill_agent();
    fixture.start_agent();
    std::thread::sleep(Duration::from_secs(8));
    wait_for_device(
        fixture,
        "/dev/ubdn",
        "VolumeGroupVanished",
        "NodeStorage node1 lists it",
    );
    assert_eq!(
        fixture.shell("vgs --noheadings -o vg_name | grep -c made || true"),
        "0"
    );
    fixture.shell(&format!("vgrename -qq away {MADE}"));
    check_group(fixture);
    done(fixture);
}

/// Replaces LVM's program with a script.
fn replace_lvm(fixture: &Fixture, script: &str) {
    fixture.shell(&format!(
        "lvm=$(realpath /usr/sbin/lvm); mkdir -p /run/kept; test -e {LVM} || cp -a $lvm {LVM}
         cat >/run/lvm.sh <<'END'\n#!/bin/sh\n{script}\nEND\nchmod +x /run/lvm.sh; mount --bind /run/lvm.sh $lvm"
    ));
}

fn restore_lvm(fixture: &Fixture) {
    fixture.shell("umount $(realpath /usr/sbin/lvm)");
}

pub(crate) fn creation_is_resumed_after_agent_is_killed_at_each_step(fixture: &Fixture) {
    let kill = "kill -9 $(cat /run/agent.pid)";
    // At the first physical volume, the second, and the group; LVM itself continues.
    for (verb, count) in [("pvcreate", 1), ("pvcreate", 2), ("vgcreate", 1)] {
        clean(fixture);
        fixture.shell("rm -f /run/count");
        let step = format!(
            "test $1 = {verb} && echo >>/run/count && test $(wc -l </run/count) = {count} && {kill}"
        );
        replace_lvm(fixture, &format!("{LVM} \"$@\" || exit\n{step}\nexit 0"));
        apply_backend(fixture, &[]);
        fixture.wait_for_script(
            "the agent is gone",
            "! kill -0 $(cat /run/agent.pid) 2>/dev/null",
        );
        restore_lvm(fixture);
        fixture.start_agent();
        check_group(fixture);
        done(fixture);
    }
}

pub(crate) fn creation_is_resumed_after_lvm_is_killed(fixture: &Fixture) {
    clean(fixture);
    // Half of the modifying commands are killed after up to half a second, which is about their
    // duration.
    replace_lvm(
        fixture,
        &format!(
            "case $1 in pvcreate|vgcreate) echo $1 >>/run/tried; time=$(od -An -N1 -tu1 /dev/urandom | tr -d ' ')
             test $(wc -l </run/tried) -gt 6 || exec timeout -s KILL 0.$(printf %03d $((time * 2))) {LVM} \"$@\";; esac
             exec {LVM} \"$@\""
        ),
    );
    apply_backend(fixture, &[]);
    fixture.wait_for_report("the group is created, or waits for an admin", |report| {
        has_group(report) || devices(report).iter().any(is_marked)
    });
    restore_lvm(fixture);
    fixture.wait_for_report("the group is created, with an admin's help", |report| {
        devices(report)
            .iter()
            .filter(|device| is_marked(device))
            .for_each(|device| clear(fixture, &device.path));
        has_group(report)
    });
    check_group(fixture);
    done(fixture);
}

/// Returns true if LVM has only marked the disk as part of a group. An admin must clear it, because
/// the agent never forces LVM.
fn is_marked(device: &NodeDevice) -> bool {
    device
        .message
        .as_deref()
        .is_some_and(|message| message.contains("clears it, and then the agent creates the group"))
}

/// Follows the message's instructions, unless the disk has a group by now.
fn clear(fixture: &Fixture, path: &str) {
    let group = format!("$(pvs --noheadings -o vg_name {path} 2>/dev/null)");
    fixture.shell(&format!(
        "if test {group} = '[unknown]'; then
         pvremove -qq -y --force --force {path} && dd if=/dev/zero of={path} bs=1M count=5 status=none; fi"
    ));
}

pub(crate) fn disk_that_lvm_only_marked_waits_for_admin(fixture: &Fixture) {
    clean(fixture);
    // LVM marks both disks as part of a group, writes the group's metadata, and is killed before
    // the metadata reaches a disk.
    let save = "for disk in i j; do dd if=/dev/ubd$disk of=/run/ubd$disk bs=512 skip=8 count=2040 status=none; done";
    let restore = "for disk in i j; do dd if=/run/ubd$disk of=/dev/ubd$disk bs=512 seek=8 conv=notrunc status=none; done";
    replace_lvm(
        fixture,
        &format!(
            "test $1 = vgcreate || exec {LVM} \"$@\"\n{save}; {LVM} \"$@\"; {restore}
             rm -f /etc/lvm/backup/{MADE}; exit 5"
        ),
    );
    apply_backend(fixture, &[]);
    wait_for_device(
        fixture,
        DISKS[1],
        "PhysicalVolume",
        "`pvremove --force --force /dev/disk/by-id/two && dd ",
    );
    restore_lvm(fixture);
    clear(fixture, DISKS[1]);
    wait_for_device(
        fixture,
        DISKS[1],
        "CreateFailed",
        "once /dev/disk/by-id/one, which belongs to it, is cleared",
    );
    assert_eq!(
        fixture.shell(&format!("vgs --noheadings {MADE} 2>/dev/null || true")),
        ""
    );
    clear(fixture, DISKS[0]);
    check_group(fixture);
    done(fixture);
}

pub(crate) fn two_agents_create_one_volume_group(fixture: &Fixture) {
    clean(fixture);
    fixture.shell(&format!(
        "setsid {PROGRAM} {AGENT} >>/run/agent2.log 2>&1 </dev/null & echo $! >/run/agent2.pid"
    ));
    std::thread::sleep(Duration::from_secs(5));
    apply_backend(fixture, &[]);
    // Either agent may write the report last, and may not have observed the group yet: checked with
    // LVM.
    let count = format!("vgs --noheadings -o pv_count,vg_missing_pv_count {MADE}");
    fixture.wait_for_script(
        "the group is made of both disks",
        &format!("test \"$(echo $({count}))\" = '2 0'"),
    );
    fixture.shell("kill -9 $(cat /run/agent2.pid)");
    fixture.kill_agent();
    fixture.start_agent();
    check_group(fixture);
    done(fixture);
}

pub(crate) fn file_system_created_before_pvcreate_is_not_overwritten(fixture: &Fixture) {
    clean(fixture);
    // An admin creates a file system between the agent's last check and LVM's own.
    replace_lvm(
        fixture,
        &format!(
            "test $1 != pvcreate || blkid -p /dev/ubdj >/dev/null || mkfs.ext4 -q /dev/ubdj\nexec {LVM} \"$@\""
        ),
    );
    apply_backend(fixture, &[]);
    // The first disk is a physical volume by then, and becomes the group; the other one is
    // unchanged.
    wait_for_device(fixture, DISKS[1], "NotBlank", "it contains ext4");
    restore_lvm(fixture);
    fixture.shell("fsck.ext4 -fn /dev/ubdj");
    fixture.wait_for_script(
        "the group has one disk",
        &format!("test $(vgs --noheadings -o pv_count {MADE}) = 1"),
    );
    done(fixture);
}
