//! File systems: checks, read-only mounts, snapshots next to their origins.

use crate::fixture::{Fixture, Volume};
use crate::{FILESYSTEMS, smallest};

/// Creates a volume with a file, unmounted.
fn with_file(fixture: &Fixture, pod: &str, fs: &'static str) -> Volume {
    let volume = fixture.unformatted_volume(fs, smallest(fs));
    let folder = fixture.mount(pod, &volume);
    fixture.shell(&format!("echo hello >{folder}/file"));
    fixture.succeeds(&["unmount", &folder]);
    volume
}

/// Sets the error flag in the superblock, without a real error.
fn request_check(fixture: &Fixture, volume: &Volume) {
    fixture.shell(&format!(
        "debugfs -w -R 'ssv state 3' {} 2>&1",
        volume.device()
    ));
}

fn state(fixture: &Fixture, volume: &Volume) -> String {
    fixture.shell(&format!(
        "dumpe2fs -h {} 2>/dev/null | sed -n 's/^Filesystem state: *//p'",
        volume.device()
    ))
}

pub(crate) fn damaged_ext4_is_repaired(fixture: &Fixture) {
    // Damage that e2fsck -p repairs: unused blocks marked as used.
    let volume = with_file(fixture, "repaired", "ext4");
    fixture.shell(&format!(
        "debugfs -w -R 'setb 9000 100' {} 2>&1",
        volume.device()
    ));
    request_check(fixture, &volume);
    let folder = fixture.mount("repaired", &volume);
    assert_eq!(fixture.shell(&format!("cat {folder}/file")), "hello");
    fixture.succeeds(&["unmount", &folder]);
    assert_eq!(state(fixture, &volume), "clean");
    fixture.shell(&format!("e2fsck -fn {}", volume.device()));
    // Damage that it does not repair: a folder that claims another one's block. The driver changes
    // nothing beyond what e2fsck -p does.
    let volume = with_file(fixture, "broken", "ext4");
    fixture.shell(&format!(
        "debugfs -w -R 'clri <2>' {} 2>&1",
        volume.device()
    ));
    request_check(fixture, &volume);
    let folder = fixture.folder("broken", &volume);
    let by_hand = format!(
        "`e2fsck -f /dev/mapper/vg--0-{}`",
        volume.options.volume.as_str().replace('-', "--")
    );
    for _ in 0..2 {
        fixture.fails(
            &["mount", &folder, &volume.json("rw")],
            &["is damaged", &by_hand, "output:"],
        );
        assert_eq!(fixture.mounts(&folder), 0);
    }
    fixture.shell(&format!(
        "e2fsck -fy {} >/dev/null || test $? = 1",
        volume.device()
    ));
    fixture.mount("broken", &volume);
    fixture.succeeds(&["unmount", &folder]);
    // A file system without a journal is checked after an unclean unmount, too.
    let mut volume = fixture.unformatted_volume("ext4", 64);
    volume.options.mkfs = Vec::new();
    fixture.shell(&format!(
        "mkfs.ext4 -q -F -E nodiscard -O ^has_journal {} 60M",
        volume.device()
    ));
    fixture.shell(&format!(
        "debugfs -w -R 'ssv state 0' {} 2>&1",
        volume.device()
    ));
    let folder = fixture.mount("no-journal", &volume);
    // While mounted it looks uncleanly unmounted: a reader may join the writer nevertheless.
    let reader = fixture.folder("no-journal-reader", &volume);
    fixture.succeeds(&["mount", &reader, &volume.json("ro")]);
    fixture.succeeds(&["unmount", &reader]);
    fixture.succeeds(&["unmount", &folder]);
    assert_eq!(state(fixture, &volume), "clean");
}

pub(crate) fn check_is_bounded(fixture: &Fixture) {
    let mut volume = with_file(fixture, "checked", "ext4");
    let folder = fixture.folder("checked", &volume);
    request_check(fixture, &volume);
    // An e2fsck that fails, lies or is killed.
    for (fault, phrase) in [
        ("exit 8", "exit status 8"),
        ("kill -9 $$", "signal"),
        ("exit 0", "still requests a check"),
        ("exit 4", "is damaged"),
    ] {
        let before = fixture.checksum(&volume);
        fixture.replace("e2fsck", fault);
        fixture.fails(&["mount", &folder, &volume.json("rw")], &[phrase]);
        fixture.undo("e2fsck");
        assert_eq!(
            (fixture.mounts(&folder), fixture.checksum(&volume)),
            (0, before),
            "{fault}"
        );
    }
    // A read-only mount changes nothing, including the block device, and no writable mount joins it
    // unchecked.
    let before = fixture.checksum(&volume);
    fixture.succeeds(&["mount", &folder, &volume.json("ro")]);
    assert!(
        fixture
            .shell(&format!("findmnt -no FS-OPTIONS {folder}"))
            .starts_with("ro")
    );
    let other = fixture.folder("checked-too", &volume);
    fixture.fails(
        &["mount", &other, &volume.json("rw")],
        &["mounted elsewhere with a different read-only state"],
    );
    fixture.succeeds(&["unmount", &folder]);
    assert_eq!(fixture.checksum(&volume), before);
    // A volume with checks disabled is not checked.
    volume.options.fsck = flexvolume::Fsck::Never;
    fixture.replace("e2fsck", "exit 4");
    fixture.mount("checked", &volume);
    // A mounted volume is not checked.
    volume.options.fsck = flexvolume::Fsck::Auto;
    fixture.succeeds(&["mount", &other, &volume.json("rw")]);
    fixture.undo("e2fsck");
    fixture.succeeds(&["unmount", &other]);
    fixture.succeeds(&["unmount", &folder]);
    fixture.mount("checked", &volume);
    fixture.succeeds(&["unmount", &folder]);
    assert_eq!(state(fixture, &volume), "clean");
}

/// Checks that a folder has the file, and that writes to it fail.
fn check_read_only(fixture: &Fixture, folder: &str) {
    fixture.shell(&format!(
        "grep -q hello {folder}/file; ! touch {folder}/other 2>/dev/null"
    ));
}

pub(crate) fn read_only_mounts_reject_writes(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let mut volume = with_file(fixture, "reader", fs);
        let reader = fixture.folder("reader", &volume);
        let writer = fixture.folder("writer", &volume);
        // Read-only by the pod, and by an option.
        fixture.succeeds(&["mount", &reader, &volume.json("ro")]);
        check_read_only(fixture, &reader);
        volume.options.mount = vec!["ro".to_owned()];
        fixture.succeeds(&["mount", &writer, &volume.json("rw")]);
        check_read_only(fixture, &writer);
        volume.options.mount.clear();
        fixture.succeeds(&["unmount", &writer]);
        // Another pod may write meanwhile, and the reader sees it.
        fixture.succeeds(&["mount", &writer, &volume.json("rw")]);
        fixture.shell(&format!(
            "echo again >{writer}/again; grep -q again {reader}/again"
        ));
        check_read_only(fixture, &reader);
        fixture.succeeds(&["unmount", &reader]);
        fixture.succeeds(&["mount", &reader, &volume.json("ro")]);
        fixture.succeeds(&["unmount", &writer]);
        check_read_only(fixture, &reader);
        fixture.succeeds(&["unmount", &reader]);
        // A read-only logical volume: a writing pod gets an error.
        fixture.shell(&format!("lvchange -qq -pr {}", volume.path()));
        let before = fixture.checksum(&volume);
        fixture.fails(
            &["mount", &writer, &volume.json("rw")],
            &["the logical volume is read-only", "--permission rw"],
        );
        fixture.succeeds(&["mount", &reader, &volume.json("ro")]);
        check_read_only(fixture, &reader);
        fixture.succeeds(&["unmount", &reader]);
        assert_eq!(fixture.checksum(&volume), before, "{fs}");
        fixture.shell(&format!("lvchange -qq -prw {}", volume.path()));
        fixture.succeeds(&["mount", &writer, &volume.json("rw")]);
        fixture.succeeds(&["unmount", &writer]);
    }
}

/// Creates a snapshot of the volume, as a volume of its own.
fn snapshot(fixture: &Fixture, origin: &Volume) -> Volume {
    let mut copy = origin.clone();
    let name = format!("{}-copy", origin.options.volume);
    // LVM copies no tag from the origin to a snapshot.
    let tag = origin.options.key.digest().tag();
    fixture.shell(&format!(
        "lvcreate -qq -y -s --addtag {tag} -n {name} -L 64M {}",
        origin.path()
    ));
    let uuid = fixture.shell(&format!("lvs --noheadings -o lv_uuid vg-0/{name}"));
    copy.options.uuid = host::LvUuid::new(uuid.trim()).unwrap();
    copy.options.volume = host::LvName::new(name).unwrap();
    copy
}

pub(crate) fn loop_device_of_volume_is_no_duplicate(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, smallest(fs));
        let folder = fixture.mount("loop", &volume);
        fixture.succeeds(&["unmount", &folder]);
        let device = fixture.shell(&format!(
            "modprobe loop 2>/dev/null || true; losetup --find --show {}",
            volume.device()
        ));
        fixture.shell(&format!(
            "mkdir -p /mnt/loop; mount {device} /mnt/loop; echo kept >/mnt/loop/file"
        ));
        let refusal = "/mnt/loop already, through a loop device: unmount that";
        fixture.fails(&["mount", &folder, &volume.json("rw")], &[refusal]);
        fixture.shell(&format!(
            "grep -q kept /mnt/loop/file; umount /mnt/loop; losetup --detach {device}"
        ));
        fixture.mount("loop", &volume);
        fixture.shell(&format!("grep -q kept {folder}/file"));
        fixture.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn snapshot_is_mounted_next_to_its_origin(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let origin = with_file(fixture, "origin", fs);
        let copy = snapshot(fixture, &origin);
        let first = fixture.folder("origin", &origin);
        let second = fixture.folder("copy", &copy);
        for (one, at, other, there) in [
            (&origin, &first, &copy, &second),
            (&copy, &second, &origin, &first),
        ] {
            fixture.succeeds(&["mount", at, &one.json("rw")]);
            fixture.shell(&format!("grep -q hello {at}/file; echo {at} >{at}/mine"));
            if fs == "btrfs" {
                // The kernel identifies a btrfs by its uuid alone.
                fixture.fails(
                    &["mount", there, &other.json("rw")],
                    &["a copy of the same btrfs is mounted on", at],
                );
                assert_eq!(fixture.mounts(there), 0);
            } else {
                fixture.succeeds(&["mount", there, &other.json("rw")]);
                fixture
                    .shell(&format!("grep -q hello {there}/file; echo {there} >{there}/mine; grep -qx {at} {at}/mine"));
                // Again, and for another pod.
                fixture.succeeds(&["mount", there, &other.json("rw")]);
                let third = fixture.folder("third", other);
                fixture.succeeds(&["mount", &third, &other.json("ro")]);
                fixture.shell(&format!("grep -qx {there} {third}/mine"));
                fixture.succeeds(&["unmount", &third]);
                fixture.succeeds(&["unmount", there]);
            }
            fixture.succeeds(&["unmount", at]);
        }
        fixture.shell(&format!("lvremove -qq -y {}", copy.path()));
    }
    read_only_snapshot_of_mounted_origin(fixture);
}

/// Such a snapshot needs log recovery, and rejects writes.
fn read_only_snapshot_of_mounted_origin(fixture: &Fixture) {
    let origin = fixture.unformatted_volume("xfs", smallest("xfs"));
    let folder = fixture.mount("written", &origin);
    fixture.shell(&format!("echo hello >{folder}/file; sync {folder}/file"));
    let copy = snapshot(fixture, &origin);
    fixture.shell(&format!("lvchange -qq -pr {}", copy.path()));
    let beside = fixture.folder("beside", &copy);
    let reply = fixture.call(&["mount", &beside, &copy.json("ro")]);
    assert_eq!(reply["status"], "Failure", "{reply}");
    let message = reply["message"].as_str().unwrap();
    assert!(
        message.contains("read-only") && message.contains("lvchange --permission rw"),
        "{message}"
    );
    fixture.shell(&format!("lvchange -qq -prw {}", copy.path()));
    fixture.succeeds(&["mount", &beside, &copy.json("ro")]);
    fixture.shell(&format!("grep -q hello {beside}/file"));
    fixture.succeeds(&["unmount", &beside]);
    fixture.succeeds(&["unmount", &folder]);
    fixture.shell(&format!("lvremove -qq -y {}", copy.path()));
}

pub(crate) fn only_complete_btrfs_is_mounted(fixture: &Fixture) {
    // With another default subvolume, the top level is mounted nevertheless.
    let volume = with_file(fixture, "whole", "btrfs");
    let folder = fixture.mount("whole", &volume);
    fixture.shell(&format!(
        "btrfs subvolume create {folder}/part; btrfs subvolume set-default {folder}/part"
    ));
    fixture.succeeds(&["unmount", &folder]);
    fixture.mount("whole", &volume);
    fixture.shell(&format!("grep -q hello {folder}/file"));
    // By any of the names by which the kernel may know the device.
    for name in ["/dev/$(basename $(readlink -f DEVICE))", "DEVICE"] {
        fixture.shell(&format!(
            "btrfs device scan {}",
            name.replace("DEVICE", &volume.device())
        ));
        fixture.mount("whole", &volume);
        assert_eq!(fixture.mounts(&folder), 1);
    }
    let other = fixture.unformatted_volume("btrfs", 200);
    fixture.fails(
        &["mount", &folder, &other.json("rw")],
        &["something else is mounted"],
    );
    fixture.succeeds(&["unmount", &folder]);
    // A btrfs on two devices is no volume.
    let second = fixture.bare_volume("btrfs", 200);
    fixture.shell(&format!(
        "mkfs.btrfs -q -f -K -d single -m raid1 {} {}",
        other.device(),
        second.device()
    ));
    fixture.mark(&other, "clear");
    let folder = fixture.folder("part", &other);
    fixture.fails(&["mount", &folder, &other.json("rw")], &["several devices"]);
    fixture.fails(&["mount", &folder, &other.json("ro")], &["several devices"]);
}
