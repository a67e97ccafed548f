//! First mounts: which volumes are formatted, and which never are.

use crate::fixture::{Fixture, KEPT};
use crate::{FILESYSTEMS, smallest};

pub(crate) fn first_mount_creates_file_system_and_data_survives(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, smallest(fs));
        let folder = fixture.mount("first", &volume);
        assert_eq!(fixture.shell(&format!("findmnt -no FSTYPE {folder}")), fs);
        assert_eq!(fixture.mark(&volume, "read"), "none");
        let sum = fixture.shell(&format!(
            "head -c 8M /dev/urandom | tee {folder}/data | sha256sum"
        ));
        fixture.succeeds(&["unmount", &folder]);
        assert_eq!(fixture.mounts(&folder), 0);
        fixture.shell(&format!("rmdir {folder}"));
        let folder = fixture.mount("second", &volume);
        assert_eq!(fixture.shell(&format!("sha256sum <{folder}/data")), sum);
        fixture.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn mkfs_and_mount_options_are_applied(fixture: &Fixture) {
    let mut volume = fixture.unformatted_volume("ext4", 64);
    volume.options.mkfs = ["-i", "65536", "-L", "data"].map(str::to_owned).to_vec();
    volume.options.mount = ["noatime", "nosuid", "commit=17"]
        .map(str::to_owned)
        .to_vec();
    let folder = fixture.mount("options", &volume);
    let options = fixture.shell(&format!("findmnt -no OPTIONS {folder}"));
    for option in ["noatime", "nosuid", "commit=17"] {
        assert!(options.contains(option), "{options}");
    }
    assert_eq!(
        fixture.shell(&format!("e2label {}", volume.device())),
        "data"
    );
    fixture.succeeds(&["unmount", &folder]);
    volume.options.mount = vec!["ro".to_owned(), "noexec".to_owned()];
    let folder = fixture.mount("options", &volume);
    let options = fixture.shell(&format!("findmnt -no VFS-OPTIONS {folder}"));
    assert!(
        options.starts_with("ro,") && options.contains("noexec"),
        "{options}"
    );
    fixture.succeeds(&["unmount", &folder]);
}

pub(crate) fn foreign_volume_is_rejected_unchanged(fixture: &Fixture) {
    let one = fixture.unformatted_volume("ext4", 64);
    let mut other = fixture.unformatted_volume("ext4", 64);
    other.options.uuid = one.options.uuid.clone();
    let blank = fixture.bare_volume("ext4", 64);
    let foreign = fixture.unformatted_volume("ext4", 320);
    fixture.shell(&format!("mkfs.xfs -q -K {}", foreign.device()));
    let partitioned = fixture.unformatted_volume("ext4", 64);
    for (bytes, at) in [
        (r"\200\1\1\0\203\1\1\11\0\10\0\0\0\0\1\0", 446),
        (r"\125\252", 510),
    ] {
        fixture.poke(&partitioned, bytes, at);
    }
    let half_wiped = fixture.unformatted_volume("ext4", 64);
    fixture.poke(&half_wiped, r"\123\357", 1080);
    for (volume, phrases) in [
        (&other, &["is another one than the volume's"][..]),
        (&blank, &["carries no file system and no format marker"]),
        (&foreign, &["carries xfs, but ext4 was requested"]),
        (&partitioned, &["partition table (dos)"]),
        (&half_wiped, &["carries ext2, but ext4 was requested"]),
    ] {
        let folder = fixture.folder("refused", volume);
        let before = fixture.checksum(volume);
        fixture.fails(&["mount", &folder, &volume.json("rw")], phrases);
        fixture.fails(&["mount", &folder, &volume.json("ro")], phrases);
        assert_eq!(fixture.checksum(volume), before, "{phrases:?}");
        assert_eq!(fixture.mounts(&folder), 0);
    }
    let unformatted = fixture.unformatted_volume("ext4", 64);
    let folder = fixture.folder("refused", &unformatted);
    let before = fixture.checksum(&unformatted);
    fixture.fails(
        &["mount", &folder, &unformatted.json("ro")],
        &["read-only mount can't create"],
    );
    let mut gone = unformatted.clone();
    gone.options.volume = host::LvName::new("pvc-gone").unwrap();
    fixture.fails(&["mount", &folder, &gone.json("rw")], &["pvc-gone"]);
    assert_eq!(
        (fixture.checksum(&unformatted), fixture.mounts(&folder)),
        (before, 0)
    );
}

pub(crate) fn blank_volume_needs_one_program(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, smallest(fs));
        // Where other volumes were before, LVM leaves everything beyond the first 4 KiB.
        fixture.shell(&format!(
            "dd if=/dev/zero of={} bs=1M count={} conv=notrunc 2>&1",
            volume.device(),
            smallest(fs)
        ));
        fixture.mark(&volume, "unformatted");
        let programs = ["blkid", "wipefs", "e2fsck", "lvm"];
        for program in programs {
            fixture.replace(program, "exit 1");
        }
        let folder = fixture.mount("blank", &volume);
        for program in programs {
            fixture.undo(program);
        }
        fixture.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn formatted_volume_is_mounted_unchanged(fixture: &Fixture) {
    let volume = fixture.unformatted_volume("ext4", 64);
    fixture.shell(&format!(
        "mkfs.ext4 -q -E nodiscard -L by-hand {}",
        volume.device()
    ));
    let folder = fixture.mount("prepared", &volume);
    assert_eq!(
        fixture.shell(&format!("e2label {}", volume.device())),
        "by-hand"
    );
    assert_eq!(fixture.mark(&volume, "read"), "none");
    fixture.succeeds(&["unmount", &folder]);
}

pub(crate) fn interrupted_mkfs_is_repeated(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        // Interrupted before it wrote anything, and after it had written everything.
        let volume = fixture.bare_volume(fs, smallest(fs));
        fixture.mark(&volume, "formatting");
        let folder = fixture.mount("short", &volume);
        assert_eq!(fixture.mark(&volume, "read"), "none");
        fixture.succeeds(&["unmount", &folder]);
        fixture.mark(&volume, "formatting");
        let before = fixture.shell(&format!("blkid -p -s UUID -o value {}", volume.device()));
        fixture.mount("short", &volume);
        let after = fixture.shell(&format!("blkid -p -s UUID -o value {}", volume.device()));
        // It was mounted once: the marker is wrong, and data takes precedence.
        assert_eq!(before, after);
        fixture.succeeds(&["unmount", &folder]);
    }
    // A real mkfs, interrupted by a power cut.
    let volumes = FILESYSTEMS.map(|fs| fixture.unformatted_volume(fs, smallest(fs)));
    let folders = volumes
        .each_ref()
        .map(|volume| fixture.folder("cut", volume));
    for (volume, folder) in volumes.iter().zip(&folders) {
        let mkfs = format!("mkfs.{}", volume.fs);
        fixture.replace(
            &mkfs,
            &format!("timeout 0.1 {KEPT}/{mkfs} \"$@\"; touch /run/begun.{mkfs}; sleep 1000"),
        );
        fixture.shell(&format!(
            "{} mount {folder} {:?} >/dev/null 2>&1 &
             for i in $(seq 600); do test -e /run/begun.{mkfs} && exit; sleep 0.1; done; false",
            fixture.driver(),
            volume.json("rw")
        ));
    }
    fixture.power_cut();
    fixture.shell(&format!("vgchange -qq -ay {}", volumes[0].options.group));
    for (volume, folder) in volumes.iter().zip(&folders) {
        fixture.undo(&format!("mkfs.{}", volume.fs));
        assert_eq!(fixture.mark(volume, "read"), "formatting");
        fixture.mount("cut", volume);
        fixture.shell(&format!("touch {folder}/file"));
        fixture.succeeds(&["unmount", folder]);
    }
}

pub(crate) fn mkfs_that_outlives_driver_keeps_lock(fixture: &Fixture) {
    let volume = fixture.unformatted_volume("ext4", 64);
    let folder = fixture.folder("outlived", &volume);
    fixture.replace("mkfs.ext4", "echo $$ >/run/mkfs.pid; exec sleep 1000");
    fixture.shell(&format!(
        "rm -f /run/mkfs.pid; {} mount {folder} {:?} >/dev/null 2>&1 & driver=$!
         for i in $(seq 600); do test -s /run/mkfs.pid && break; sleep 0.1; done; kill -9 $driver; wait || true",
        fixture.driver(),
        volume.json("rw")
    ));
    fixture.undo("mkfs.ext4");
    let lock = format!("/run/flexlvm/{}.lock", volume.options.uuid);
    assert_eq!(
        fixture.shell(&format!("flock -n {lock} echo free || echo held")),
        "held"
    );
    fixture.shell("kill -9 $(cat /run/mkfs.pid)");
    fixture.mount("outlived", &volume);
    fixture.succeeds(&["unmount", &folder]);
}
