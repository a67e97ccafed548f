//! What file systems need of the driver: checks, read-only mounts, copies beside their origins.

use crate::stage::{Stage, Volume};
use crate::{FILESYSTEMS, smallest};

/// A volume with a file of this content, unmounted.
fn with_file(stage: &Stage, pod: &str, fs: &'static str) -> Volume {
    let volume = stage.fresh_volume(fs, smallest(fs));
    let folder = stage.mount(pod, &volume);
    stage.shell(&format!("echo hello >{folder}/file"));
    stage.succeeds(&["unmount", &folder]);
    volume
}

/// Has the superblock say that there are errors, without any.
fn ask_for_a_check(stage: &Stage, volume: &Volume) {
    stage.shell(&format!(
        "debugfs -w -R 'ssv state 3' {} 2>&1",
        volume.device()
    ));
}

fn state(stage: &Stage, volume: &Volume) -> String {
    stage.shell(&format!(
        "dumpe2fs -h {} 2>/dev/null | sed -n 's/^Filesystem state: *//p'",
        volume.device()
    ))
}

pub(crate) fn a_damaged_ext4_is_repaired(stage: &Stage) {
    // What -p repairs: blocks that are marked as used, and are not.
    let volume = with_file(stage, "repaired", "ext4");
    stage.shell(&format!(
        "debugfs -w -R 'setb 9000 100' {} 2>&1",
        volume.device()
    ));
    ask_for_a_check(stage, &volume);
    let folder = stage.mount("repaired", &volume);
    assert_eq!(stage.shell(&format!("cat {folder}/file")), "hello");
    stage.succeeds(&["unmount", &folder]);
    assert_eq!(state(stage, &volume), "clean");
    stage.shell(&format!("e2fsck -fn {}", volume.device()));
    // What it does not: a folder that claims the block of another. Nothing is changed beyond what
    // -p does.
    let volume = with_file(stage, "broken", "ext4");
    stage.shell(&format!(
        "debugfs -w -R 'clri <2>' {} 2>&1",
        volume.device()
    ));
    ask_for_a_check(stage, &volume);
    let folder = stage.folder("broken", &volume);
    let by_hand = format!(
        "`e2fsck -f /dev/mapper/vg--0-{}`",
        volume.options.volume.as_str().replace('-', "--")
    );
    for _ in 0..2 {
        stage.fails(
            &["mount", &folder, &volume.json("rw")],
            &["is damaged", &by_hand, "output:"],
        );
        assert_eq!(stage.mounts(&folder), 0);
    }
    stage.shell(&format!(
        "e2fsck -fy {} >/dev/null || test $? = 1",
        volume.device()
    ));
    stage.mount("broken", &volume);
    stage.succeeds(&["unmount", &folder]);
    // Without a journal a file system that was not unmounted is checked, too.
    let mut volume = stage.fresh_volume("ext4", 64);
    volume.options.mkfs = Vec::new();
    stage.shell(&format!(
        "mkfs.ext4 -q -F -E nodiscard -O ^has_journal {} 60M",
        volume.device()
    ));
    stage.shell(&format!(
        "debugfs -w -R 'ssv state 0' {} 2>&1",
        volume.device()
    ));
    let folder = stage.mount("no-journal", &volume);
    // While it is mounted it looks as if it had not been unmounted: a reader may join the writer
    // all the same.
    let reader = stage.folder("no-journal-reader", &volume);
    stage.succeeds(&["mount", &reader, &volume.json("ro")]);
    stage.succeeds(&["unmount", &reader]);
    stage.succeeds(&["unmount", &folder]);
    assert_eq!(state(stage, &volume), "clean");
}

pub(crate) fn a_check_is_bounded(stage: &Stage) {
    let mut volume = with_file(stage, "checked", "ext4");
    let folder = stage.folder("checked", &volume);
    ask_for_a_check(stage, &volume);
    // One that fails, lies or is killed.
    for (lie, words) in [
        ("exit 8", "exit status 8"),
        ("kill -9 $$", "signal"),
        ("exit 0", "still requests a check"),
        ("exit 4", "is damaged"),
    ] {
        let before = stage.checksum(&volume);
        stage.replace("e2fsck", lie);
        stage.fails(&["mount", &folder, &volume.json("rw")], &[words]);
        stage.undo("e2fsck");
        assert_eq!(
            (stage.mounts(&folder), stage.checksum(&volume)),
            (0, before),
            "{lie}"
        );
    }
    // A read-only mount changes nothing, not even beneath, and no writable one joins it unchecked.
    let before = stage.checksum(&volume);
    stage.succeeds(&["mount", &folder, &volume.json("ro")]);
    assert!(
        stage
            .shell(&format!("findmnt -no FS-OPTIONS {folder}"))
            .starts_with("ro")
    );
    let other = stage.folder("checked-too", &volume);
    stage.fails(
        &["mount", &other, &volume.json("rw")],
        &["mounted elsewhere in another way"],
    );
    stage.succeeds(&["unmount", &folder]);
    assert_eq!(stage.checksum(&volume), before);
    // Who wants none gets none.
    volume.options.fsck = flexvolume::Fsck::Never;
    stage.replace("e2fsck", "exit 4");
    stage.mount("checked", &volume);
    // And what is mounted is not checked.
    volume.options.fsck = flexvolume::Fsck::Auto;
    stage.succeeds(&["mount", &other, &volume.json("rw")]);
    stage.undo("e2fsck");
    stage.succeeds(&["unmount", &other]);
    stage.succeeds(&["unmount", &folder]);
    stage.mount("checked", &volume);
    stage.succeeds(&["unmount", &folder]);
    assert_eq!(state(stage, &volume), "clean");
}

pub(crate) fn read_only_is_read_only(stage: &Stage) {
    for fs in FILESYSTEMS {
        let mut volume = with_file(stage, "reader", fs);
        let (reader, writer) = (
            stage.folder("reader", &volume),
            stage.folder("writer", &volume),
        );
        let refuses_writes = |folder: &str| {
            stage.shell(&format!(
                "grep -q hello {folder}/file; ! touch {folder}/other 2>/dev/null"
            ));
        };
        // By the pod, and by an option.
        stage.succeeds(&["mount", &reader, &volume.json("ro")]);
        refuses_writes(&reader);
        volume.options.mount = vec!["ro".to_owned()];
        stage.succeeds(&["mount", &writer, &volume.json("rw")]);
        refuses_writes(&writer);
        volume.options.mount.clear();
        stage.succeeds(&["unmount", &writer]);
        // Another pod may write meanwhile, and the reader sees it.
        stage.succeeds(&["mount", &writer, &volume.json("rw")]);
        stage.shell(&format!(
            "echo again >{writer}/again; grep -q again {reader}/again"
        ));
        refuses_writes(&reader);
        stage.succeeds(&["unmount", &reader]);
        stage.succeeds(&["mount", &reader, &volume.json("ro")]);
        stage.succeeds(&["unmount", &writer]);
        refuses_writes(&reader);
        stage.succeeds(&["unmount", &reader]);
        // By the logical volume: who wants to write is told.
        stage.shell(&format!("lvchange -qq -pr {}", volume.path()));
        let before = stage.checksum(&volume);
        stage.fails(
            &["mount", &writer, &volume.json("rw")],
            &["the logical volume is read-only", "--permission rw"],
        );
        stage.succeeds(&["mount", &reader, &volume.json("ro")]);
        refuses_writes(&reader);
        stage.succeeds(&["unmount", &reader]);
        assert_eq!(stage.checksum(&volume), before, "{fs}");
        stage.shell(&format!("lvchange -qq -prw {}", volume.path()));
        stage.succeeds(&["mount", &writer, &volume.json("rw")]);
        stage.succeeds(&["unmount", &writer]);
    }
}

/// A snapshot of the volume, as a volume of its own.
fn snapshot(stage: &Stage, origin: &Volume) -> Volume {
    let mut copy = origin.clone();
    let name = format!("{}-copy", origin.options.volume);
    // LVM gives a snapshot none of its origin's tags.
    let tag = origin.options.key.digest().tag();
    stage.shell(&format!(
        "lvcreate -qq -y -s --addtag {tag} -n {name} -L 64M {}",
        origin.path()
    ));
    let uuid = stage.shell(&format!("lvs --noheadings -o lv_uuid vg-0/{name}"));
    copy.options.uuid = host::LvUuid::new(uuid.trim()).unwrap();
    copy.options.volume = host::LvName::new(name).unwrap();
    copy
}

pub(crate) fn a_volume_behind_a_loop_device_is_no_copy(stage: &Stage) {
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, smallest(fs));
        let folder = stage.mount("loop", &volume);
        stage.succeeds(&["unmount", &folder]);
        let device = stage.shell(&format!(
            "modprobe loop 2>/dev/null || true; losetup --find --show {}",
            volume.device()
        ));
        stage.shell(&format!(
            "mkdir -p /mnt/loop; mount {device} /mnt/loop; echo kept >/mnt/loop/file"
        ));
        let refusal = "/mnt/loop already, through a loop device: unmount that";
        stage.fails(&["mount", &folder, &volume.json("rw")], &[refusal]);
        stage.shell(&format!(
            "grep -q kept /mnt/loop/file; umount /mnt/loop; losetup --detach {device}"
        ));
        stage.mount("loop", &volume);
        stage.shell(&format!("grep -q kept {folder}/file"));
        stage.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn a_snapshot_beside_its_origin(stage: &Stage) {
    for fs in FILESYSTEMS {
        let origin = with_file(stage, "origin", fs);
        let copy = snapshot(stage, &origin);
        let (first, second) = (stage.folder("origin", &origin), stage.folder("copy", &copy));
        for (one, at, other, there) in [
            (&origin, &first, &copy, &second),
            (&copy, &second, &origin, &first),
        ] {
            stage.succeeds(&["mount", at, &one.json("rw")]);
            stage.shell(&format!("grep -q hello {at}/file; echo {at} >{at}/mine"));
            if fs == "btrfs" {
                // The kernel knows a btrfs by its uuid alone.
                stage.fails(
                    &["mount", there, &other.json("rw")],
                    &["a copy of the same btrfs is mounted on", at],
                );
                assert_eq!(stage.mounts(there), 0);
            } else {
                stage.succeeds(&["mount", there, &other.json("rw")]);
                stage
                    .shell(&format!("grep -q hello {there}/file; echo {there} >{there}/mine; grep -qx {at} {at}/mine"));
                // Again, and for another pod.
                stage.succeeds(&["mount", there, &other.json("rw")]);
                let third = stage.folder("third", other);
                stage.succeeds(&["mount", &third, &other.json("ro")]);
                stage.shell(&format!("grep -qx {there} {third}/mine"));
                stage.succeeds(&["unmount", &third]);
                stage.succeeds(&["unmount", there]);
            }
            stage.succeeds(&["unmount", at]);
        }
        stage.shell(&format!("lvremove -qq -y {}", copy.path()));
    }
    a_read_only_snapshot_of_what_is_written_to(stage);
}

/// It would have to recover, and can't be written to.
fn a_read_only_snapshot_of_what_is_written_to(stage: &Stage) {
    let origin = stage.fresh_volume("xfs", smallest("xfs"));
    let folder = stage.mount("written", &origin);
    stage.shell(&format!("echo hello >{folder}/file; sync {folder}/file"));
    let copy = snapshot(stage, &origin);
    stage.shell(&format!("lvchange -qq -pr {}", copy.path()));
    let beside = stage.folder("beside", &copy);
    let reply = stage.call(&["mount", &beside, &copy.json("ro")]);
    assert_eq!(reply["status"], "Failure", "{reply}");
    let message = reply["message"].as_str().unwrap();
    assert!(
        message.contains("read-only") && message.contains("lvchange --permission rw"),
        "{message}"
    );
    stage.shell(&format!("lvchange -qq -prw {}", copy.path()));
    stage.succeeds(&["mount", &beside, &copy.json("ro")]);
    stage.shell(&format!("grep -q hello {beside}/file"));
    stage.succeeds(&["unmount", &beside]);
    stage.succeeds(&["unmount", &folder]);
    stage.shell(&format!("lvremove -qq -y {}", copy.path()));
}

pub(crate) fn only_a_whole_btrfs_is_mounted(stage: &Stage) {
    // Another subvolume is the default: the whole is mounted all the same.
    let volume = with_file(stage, "whole", "btrfs");
    let folder = stage.mount("whole", &volume);
    stage.shell(&format!(
        "btrfs subvolume create {folder}/part; btrfs subvolume set-default {folder}/part"
    ));
    stage.succeeds(&["unmount", &folder]);
    stage.mount("whole", &volume);
    stage.shell(&format!("grep -q hello {folder}/file"));
    // By whichever of its names the kernel knows the device.
    for name in ["/dev/$(basename $(readlink -f DEVICE))", "DEVICE"] {
        stage.shell(&format!(
            "btrfs device scan {}",
            name.replace("DEVICE", &volume.device())
        ));
        stage.mount("whole", &volume);
        assert_eq!(stage.mounts(&folder), 1);
    }
    let other = stage.fresh_volume("btrfs", 200);
    stage.fails(
        &["mount", &folder, &other.json("rw")],
        &["something else is mounted"],
    );
    stage.succeeds(&["unmount", &folder]);
    // One of two devices is no volume.
    let second = stage.bare_volume("btrfs", 200);
    stage.shell(&format!(
        "mkfs.btrfs -q -f -K -d single -m raid1 {} {}",
        other.device(),
        second.device()
    ));
    stage.mark(&other, "clear");
    let folder = stage.folder("part", &other);
    stage.fails(&["mount", &folder, &other.json("rw")], &["several devices"]);
    stage.fails(&["mount", &folder, &other.json("ro")], &["several devices"]);
}
