//! Volume groups that the agent makes of the devices that a StorageBackend names.

use std::time::Duration;

use crds::devices::NodeDevice;
use serde_json::json;

use crate::stage::{AGENT, PROGRAM, Stage};

/// The volume group, and the backend.
const MADE: &str = "made-0";

/// The two disks for it, by links as udev makes them.
const DISKS: [&str; 2] = ["/dev/disk/by-id/one", "/dev/disk/by-id/two"];

/// Runs real LVM, which is kept here, with something done before or after.
const LVM: &str = "/run/kept/lvm";

/// Makes everything as if there had never been a group: disks, backups, what the agent wrote, and
/// its report.
fn clean(stage: &Stage) {
    stage.kill_agent();
    stage.shell(&format!(
        "mkdir -p /dev/disk/by-id; ln -sfn ../../ubdi {}; ln -sfn ../../ubdj {}
         vgremove -qqff {MADE} 2>/dev/null || true
         for disk in i j; do pvremove -qqff -y /dev/ubd$disk 2>/dev/null || true; wipefs -qa /dev/ubd$disk; done
         rm -rf /run/state/volume-groups /etc/lvm/backup/{MADE}",
        DISKS[0], DISKS[1]
    ));
    stage.start_agent();
    stage.reports("the group is gone", |report| !has_group(report));
    stage.delete_storage();
    stage.reports("it is forgotten", |report| {
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

/// Wants the group of both disks, and of these.
fn want(stage: &Stage, more: &[&str]) {
    let devices = [&DISKS[..], more].concat();
    stage.backend(MADE, json!({"volumeGroup": MADE, "devices": devices}));
}

/// Waits until the group is reported with both disks, which LVM finds whole, each once.
fn is_made(stage: &Stage) {
    let is_taken = |report: &crds::NodeStorage| {
        let devices = devices(report);
        DISKS.iter().all(|path| {
            devices
                .iter()
                .any(|device| device.path == *path && device.in_volume_group)
        })
    };
    stage.reports("the group is made", |report| {
        has_group(report) && is_taken(report)
    });
    let group = stage.shell(&format!(
        "vgs --noheadings -o pv_count,vg_missing_pv_count,vg_tags {MADE}"
    ));
    assert_eq!(
        group.split_whitespace().collect::<Vec<_>>(),
        ["2", "0", &format!("flexlvm.dev/backend={MADE}")]
    );
    let disks = stage.shell(&format!("pvs --noheadings -o pv_name -S vg_name={MADE}"));
    assert_eq!(
        disks.split_whitespace().collect::<Vec<_>>(),
        ["/dev/ubdi", "/dev/ubdj"]
    );
    stage.comes_true(
        "nothing is left to do",
        "test ! -e /run/state/volume-groups/made-0.json",
    );
}

fn done(stage: &Stage) {
    stage.delete_backend(MADE);
    clean(stage);
}

/// Waits until the device says so.
fn says(stage: &Stage, path: &str, reason: &str, words: &str) {
    let is = |device: &NodeDevice| {
        let message = device.message.as_deref().unwrap_or_default();
        device.path == path && device.reason.as_deref() == Some(reason) && message.contains(words)
    };
    stage.reports(&format!("{path} says {reason} {words:?}"), |report| {
        devices(report).iter().any(is)
    });
}

pub(crate) fn a_volume_group_is_made_of_blank_devices_and_of_no_others(stage: &Stage) {
    clean(stage);
    // An ext4, a partition table with a partition, swap, an orphan, a mounted ext4, one that is too
    // small.
    stage.shell(
        "mkfs.ext4 -q /dev/ubdk; mkswap -q /dev/ubdm; swapon /dev/ubdm; pvcreate -qq /dev/ubdn
         printf '\\000\\000\\000\\000\\203\\000\\000\\000\\000\\010\\000\\000\\000\\010\\000\\000' | dd of=/dev/ubdl bs=1 seek=446 conv=notrunc status=none
         printf '\\125\\252' | dd of=/dev/ubdl bs=1 seek=510 conv=notrunc status=none; blockdev --rereadpt /dev/ubdl
         mkfs.ext4 -q /dev/ubdo; mkdir -p /mnt/used; mount /dev/ubdo /mnt/used; sync",
    );
    let sums = || stage.shell("sync; for disk in k l m n p; do sha256sum /dev/ubd$disk; done");
    let before = sums();
    let orphan = "/dev/ubdn";
    let others = [
        "/dev/ubdk",
        "/dev/ubdl",
        "/dev/ubdm",
        orphan,
        "/dev/ubdo",
        "/dev/ubdp",
        "/dev/ubdd",
        "/dev/null",
    ];
    want(
        stage,
        &[&others[..], &["/dev/ubdi", "/dev/disk/by-id/none"]].concat(),
    );
    is_made(stage);
    for (path, reason, words) in [
        ("/dev/ubdk", "NotBlank", "it contains ext4"),
        ("/dev/ubdl", "Partitioned", "it has partitions (ubdl1)"),
        ("/dev/ubdm", "InUse", "it is used as swap"),
        (orphan, "PhysicalVolume", "`pvremove /dev/ubdn`"),
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
        says(stage, path, reason, words);
    }
    assert_eq!(sums(), before, "not a byte of the others is changed");
    let written = |stage: &Stage| stage.storage().metadata.resource_version;
    let report = written(stage);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(written(stage), report, "nothing new is to be said");

    // What becomes free later is named, and not taken.
    stage.shell("pvremove -qq /dev/ubdn; ln -sfn ../../ubdn /dev/disk/by-id/later");
    says(
        stage,
        orphan,
        "VolumeGroupExists",
        "to add the device: `vgextend made-0 /dev/ubdn`",
    );
    stage.shell("printf raw | dd of=/dev/ubdn bs=1 seek=3000000 conv=notrunc status=none; ln -sfn ../../ubdn /dev/disk/by-id/raw");
    says(stage, orphan, "NotBlank", "byte 3000000 is not zero");
    assert_eq!(
        stage.shell(&format!("vgs --noheadings -o pv_count {MADE}")),
        "2"
    );
    stage.shell("umount /mnt/used; swapoff /dev/ubdm; wipefs -qa /dev/ubdk /dev/ubdm /dev/ubdo");
    done(stage);
}

pub(crate) fn a_volume_group_that_was_there_is_not_made_anew(stage: &Stage) {
    clean(stage);
    stage.shell("dd if=/dev/zero of=/dev/ubdn bs=1M count=5 status=none");
    want(stage, &[]);
    is_made(stage);
    // LVM's backup tells of it; without that, the node's report does.
    stage.shell(&format!(
        "cp /etc/lvm/backup/{MADE} /run/backup; vgrename -qq {MADE} away; cp /run/backup /etc/lvm/backup/{MADE}"
    ));
    want(stage, &["/dev/ubdn"]);
    says(
        stage,
        "/dev/ubdn",
        "VolumeGroupVanished",
        "/etc/lvm/backup/made-0",
    );
    stage.shell(&format!(
        "rm /etc/lvm/backup/{MADE}; ln -sfn ../../ubdn /dev/disk/by-id/again"
    ));
    says(
        stage,
        "/dev/ubdn",
        "VolumeGroupVanished",
        "NodeStorage node1 lists it",
    );
    stage.kill_agent();
    stage.start_agent();
    std::thread::sleep(Duration::from_secs(8));
    says(
        stage,
        "/dev/ubdn",
        "VolumeGroupVanished",
        "NodeStorage node1 lists it",
    );
    assert_eq!(
        stage.shell("vgs --noheadings -o vg_name | grep -c made || true"),
        "0"
    );
    stage.shell(&format!("vgrename -qq away {MADE}"));
    is_made(stage);
    done(stage);
}

/// Puts a script in the place of LVM's program.
fn disguise(stage: &Stage, script: &str) {
    stage.shell(&format!(
        "lvm=$(realpath /usr/sbin/lvm); mkdir -p /run/kept; test -e {LVM} || cp -a $lvm {LVM}
         cat >/run/lvm.sh <<'END'\n#!/bin/sh\n{script}\nEND\nchmod +x /run/lvm.sh; mount --bind /run/lvm.sh $lvm"
    ));
}

fn undisguise(stage: &Stage) {
    stage.shell("umount $(realpath /usr/sbin/lvm)");
}

pub(crate) fn an_agent_killed_at_each_step_is_taken_up(stage: &Stage) {
    let kill = "kill -9 $(cat /run/agent.pid)";
    // The first physical volume, the second, the group; LVM itself goes on.
    for (verb, count) in [("pvcreate", 1), ("pvcreate", 2), ("vgcreate", 1)] {
        clean(stage);
        stage.shell("rm -f /run/count");
        let step = format!(
            "test $1 = {verb} && echo >>/run/count && test $(wc -l </run/count) = {count} && {kill}"
        );
        disguise(stage, &format!("{LVM} \"$@\" || exit\n{step}\nexit 0"));
        want(stage, &[]);
        stage.comes_true(
            "the agent is gone",
            "! kill -0 $(cat /run/agent.pid) 2>/dev/null",
        );
        undisguise(stage);
        stage.start_agent();
        is_made(stage);
        done(stage);
    }
}

pub(crate) fn lvm_killed_at_any_time_is_taken_up(stage: &Stage) {
    clean(stage);
    // Half of the commands that change something are ended after up to half a second, which is
    // about what they take.
    disguise(
        stage,
        &format!(
            "case $1 in pvcreate|vgcreate) echo $1 >>/run/tried; time=$(od -An -N1 -tu1 /dev/urandom | tr -d ' ')
             test $(wc -l </run/tried) -gt 6 || exec timeout -s KILL 0.$(printf %03d $((time * 2))) {LVM} \"$@\";; esac
             exec {LVM} \"$@\""
        ),
    );
    want(stage, &[]);
    stage.reports("it is made, or waits for a person", |report| {
        has_group(report) || devices(report).iter().any(is_marked)
    });
    undisguise(stage);
    stage.reports("it is made, with a person's help", |report| {
        devices(report)
            .iter()
            .filter(|device| is_marked(device))
            .for_each(|device| clear(stage, &device.path));
        has_group(report)
    });
    is_made(stage);
    done(stage);
}

/// Whether LVM has marked a disk as part of a group, and no more: a person's to clear, since no
/// agent forces LVM to anything.
fn is_marked(device: &NodeDevice) -> bool {
    device
        .message
        .as_deref()
        .is_some_and(|message| message.contains("clears it, and then the agent creates the group"))
}

/// Does what the message says, unless the disk has a group by now.
fn clear(stage: &Stage, path: &str) {
    let group = format!("$(pvs --noheadings -o vg_name {path} 2>/dev/null)");
    stage.shell(&format!(
        "if test {group} = '[unknown]'; then
         pvremove -qq -y --force --force {path} && dd if=/dev/zero of={path} bs=1M count=5 status=none; fi"
    ));
}

pub(crate) fn a_disk_that_lvm_marked_and_no_more_is_waited_for(stage: &Stage) {
    clean(stage);
    // LVM says on both disks that a group has them, writes the group's metadata, and is ended
    // before those are on a disk.
    let save = |disk| {
        format!("dd if=/dev/ubd{disk} of=/run/ubd{disk} bs=512 skip=8 count=2040 status=none")
    };
    let bring_back = |disk| {
        format!("dd if=/run/ubd{disk} of=/dev/ubd{disk} bs=512 seek=8 conv=notrunc status=none")
    };
    disguise(
        stage,
        &format!(
            "test $1 = vgcreate || exec {LVM} \"$@\"\n{}; {}; {LVM} \"$@\"; {}; {}
             rm -f /etc/lvm/backup/{MADE}; exit 5",
            save('i'),
            save('j'),
            bring_back('i'),
            bring_back('j')
        ),
    );
    want(stage, &[]);
    says(
        stage,
        DISKS[1],
        "PhysicalVolume",
        "`pvremove --force --force /dev/disk/by-id/two && dd ",
    );
    undisguise(stage);
    clear(stage, DISKS[1]);
    says(
        stage,
        DISKS[1],
        "CreateFailed",
        "once /dev/disk/by-id/one, which is to be part of it, is cleared",
    );
    assert_eq!(
        stage.shell(&format!("vgs --noheadings {MADE} 2>/dev/null || true")),
        ""
    );
    clear(stage, DISKS[0]);
    is_made(stage);
    done(stage);
}

pub(crate) fn two_agents_make_one_volume_group(stage: &Stage) {
    clean(stage);
    stage.shell(&format!(
        "setsid {PROGRAM} {AGENT} >>/run/agent2.log 2>&1 </dev/null & echo $! >/run/agent2.pid"
    ));
    std::thread::sleep(Duration::from_secs(5));
    want(stage, &[]);
    // Which of two agents writes the one report last is chance, and so is whether it has seen the
    // group yet: LVM is asked.
    let count = format!("vgs --noheadings -o pv_count,vg_missing_pv_count {MADE}");
    stage.comes_true(
        "the group is made of both disks",
        &format!("test \"$(echo $({count}))\" = '2 0'"),
    );
    stage.shell("kill -9 $(cat /run/agent2.pid)");
    stage.kill_agent();
    stage.start_agent();
    is_made(stage);
    done(stage);
}

pub(crate) fn what_appears_before_lvm_looks_is_not_overwritten(stage: &Stage) {
    clean(stage);
    // Between the agent's last look and LVM's own, somebody makes a file system.
    disguise(
        stage,
        &format!(
            "test $1 != pvcreate || blkid -p /dev/ubdj >/dev/null || mkfs.ext4 -q /dev/ubdj\nexec {LVM} \"$@\""
        ),
    );
    want(stage, &[]);
    // The first disk is a physical volume by then, and becomes the group; the other one is left
    // alone.
    says(stage, DISKS[1], "NotBlank", "it contains ext4");
    undisguise(stage);
    stage.shell("fsck.ext4 -fn /dev/ubdj");
    stage.comes_true(
        "the group is of one",
        &format!("test $(vgs --noheadings -o pv_count {MADE}) = 1"),
    );
    done(stage);
}
