//! First mounts: what gets a file system, and what never does.

use crate::stage::{KEPT, Stage};
use crate::{FILESYSTEMS, smallest};

pub(crate) fn first_mount_makes_the_file_system_and_data_survive(stage: &Stage) {
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, smallest(fs));
        let folder = stage.mount("first", &volume);
        assert_eq!(stage.shell(&format!("findmnt -no FSTYPE {folder}")), fs);
        assert_eq!(stage.mark(&volume, "read"), "none");
        let sum = stage.shell(&format!(
            "head -c 8M /dev/urandom | tee {folder}/data | sha256sum"
        ));
        stage.succeeds(&["unmount", &folder]);
        assert_eq!(stage.mounts(&folder), 0);
        stage.shell(&format!("rmdir {folder}"));
        let folder = stage.mount("second", &volume);
        assert_eq!(stage.shell(&format!("sha256sum <{folder}/data")), sum);
        stage.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn mkfs_and_mount_options_arrive(stage: &Stage) {
    let mut volume = stage.fresh_volume("ext4", 64);
    volume.options.mkfs = ["-i", "65536", "-L", "data"].map(str::to_owned).to_vec();
    volume.options.mount = ["noatime", "nosuid", "commit=17"]
        .map(str::to_owned)
        .to_vec();
    let folder = stage.mount("options", &volume);
    let options = stage.shell(&format!("findmnt -no OPTIONS {folder}"));
    for option in ["noatime", "nosuid", "commit=17"] {
        assert!(options.contains(option), "{options}");
    }
    assert_eq!(stage.shell(&format!("e2label {}", volume.device())), "data");
    stage.succeeds(&["unmount", &folder]);
    volume.options.mount = vec!["ro".to_owned(), "noexec".to_owned()];
    let folder = stage.mount("options", &volume);
    let options = stage.shell(&format!("findmnt -no VFS-OPTIONS {folder}"));
    assert!(
        options.starts_with("ro,") && options.contains("noexec"),
        "{options}"
    );
    stage.succeeds(&["unmount", &folder]);
}

pub(crate) fn a_volume_that_is_not_ours_is_refused_and_untouched(stage: &Stage) {
    let one = stage.fresh_volume("ext4", 64);
    let mut other = stage.fresh_volume("ext4", 64);
    other.options.uuid = one.options.uuid.clone();
    let blank = stage.bare_volume("ext4", 64);
    let foreign = stage.fresh_volume("ext4", 320);
    stage.shell(&format!("mkfs.xfs -q -K {}", foreign.device()));
    let partitioned = stage.fresh_volume("ext4", 64);
    for (bytes, at) in [
        (r"\200\1\1\0\203\1\1\11\0\10\0\0\0\0\1\0", 446),
        (r"\125\252", 510),
    ] {
        stage.poke(&partitioned, bytes, at);
    }
    let half_wiped = stage.fresh_volume("ext4", 64);
    stage.poke(&half_wiped, r"\123\357", 1080);
    for (volume, words) in [
        (&other, &["is another one than the volume's"][..]),
        (&blank, &["carries no file system and no format marker"]),
        (&foreign, &["carries xfs, but ext4 was requested"]),
        (&partitioned, &["partition table (dos)"]),
        (&half_wiped, &["carries ext2, but ext4 was requested"]),
    ] {
        let (folder, before) = (stage.folder("refused", volume), stage.checksum(volume));
        stage.fails(&["mount", &folder, &volume.json("rw")], words);
        stage.fails(&["mount", &folder, &volume.json("ro")], words);
        assert_eq!(stage.checksum(volume), before, "{words:?}");
        assert_eq!(stage.mounts(&folder), 0);
    }
    let fresh = stage.fresh_volume("ext4", 64);
    let (folder, before) = (stage.folder("refused", &fresh), stage.checksum(&fresh));
    stage.fails(
        &["mount", &folder, &fresh.json("ro")],
        &["read-only mount can't create"],
    );
    let mut gone = fresh.clone();
    gone.options.volume = host::LvName::new("pvc-gone").unwrap();
    stage.fails(&["mount", &folder, &gone.json("rw")], &["pvc-gone"]);
    assert_eq!((stage.checksum(&fresh), stage.mounts(&folder)), (before, 0));
}

pub(crate) fn a_blank_volume_needs_one_program(stage: &Stage) {
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, smallest(fs));
        // Where other volumes were before, LVM leaves what is beyond its first 4 KiB.
        stage.shell(&format!(
            "dd if=/dev/zero of={} bs=1M count={} conv=notrunc 2>&1",
            volume.device(),
            smallest(fs)
        ));
        stage.mark(&volume, "fresh");
        let programs = ["blkid", "wipefs", "e2fsck", "lvm"];
        for program in programs {
            stage.replace(program, "exit 1");
        }
        let folder = stage.mount("blank", &volume);
        for program in programs {
            stage.undo(program);
        }
        stage.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn a_prepared_volume_is_taken_as_it_is(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    stage.shell(&format!(
        "mkfs.ext4 -q -E nodiscard -L by-hand {}",
        volume.device()
    ));
    let folder = stage.mount("prepared", &volume);
    assert_eq!(
        stage.shell(&format!("e2label {}", volume.device())),
        "by-hand"
    );
    assert_eq!(stage.mark(&volume, "read"), "none");
    stage.succeeds(&["unmount", &folder]);
}

pub(crate) fn a_mkfs_cut_short_is_made_again(stage: &Stage) {
    for fs in FILESYSTEMS {
        // Cut short before it wrote anything, and after it had written all.
        let volume = stage.bare_volume(fs, smallest(fs));
        stage.mark(&volume, "formatting");
        let folder = stage.mount("short", &volume);
        assert_eq!(stage.mark(&volume, "read"), "none");
        stage.succeeds(&["unmount", &folder]);
        stage.mark(&volume, "formatting");
        let before = stage.shell(&format!("blkid -p -s UUID -o value {}", volume.device()));
        stage.mount("short", &volume);
        let after = stage.shell(&format!("blkid -p -s UUID -o value {}", volume.device()));
        // It was mounted once: the mark is wrong, and data weigh more.
        assert_eq!(before, after);
        stage.succeeds(&["unmount", &folder]);
    }
    // A real mkfs, cut short in the middle by a loss of power.
    let volumes = FILESYSTEMS.map(|fs| stage.fresh_volume(fs, smallest(fs)));
    let folders = volumes.each_ref().map(|volume| stage.folder("cut", volume));
    for (volume, folder) in volumes.iter().zip(&folders) {
        let mkfs = format!("mkfs.{}", volume.fs);
        stage.replace(
            &mkfs,
            &format!("timeout 0.1 {KEPT}/{mkfs} \"$@\"; touch /run/begun.{mkfs}; sleep 1000"),
        );
        stage.shell(&format!(
            "{} mount {folder} {:?} >/dev/null 2>&1 &
             for i in $(seq 600); do test -e /run/begun.{mkfs} && exit; sleep 0.1; done; false",
            stage.driver(),
            volume.json("rw")
        ));
    }
    stage.power_cut();
    stage.shell(&format!("vgchange -qq -ay {}", volumes[0].options.group));
    for (volume, folder) in volumes.iter().zip(&folders) {
        stage.undo(&format!("mkfs.{}", volume.fs));
        assert_eq!(stage.mark(volume, "read"), "formatting");
        stage.mount("cut", volume);
        stage.shell(&format!("touch {folder}/file"));
        stage.succeeds(&["unmount", folder]);
    }
}

pub(crate) fn a_mkfs_that_outlives_its_driver_keeps_the_lock(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    let folder = stage.folder("outlived", &volume);
    stage.replace("mkfs.ext4", "echo $$ >/run/mkfs.pid; exec sleep 1000");
    stage.shell(&format!(
        "rm -f /run/mkfs.pid; {} mount {folder} {:?} >/dev/null 2>&1 & driver=$!
         for i in $(seq 600); do test -s /run/mkfs.pid && break; sleep 0.1; done; kill -9 $driver; wait || true",
        stage.driver(),
        volume.json("rw")
    ));
    stage.undo("mkfs.ext4");
    let lock = format!("/run/flexlvm/{}.lock", volume.options.uuid);
    assert_eq!(
        stage.shell(&format!("flock -n {lock} echo free || echo held")),
        "held"
    );
    stage.shell("kill -9 $(cat /run/mkfs.pid)");
    stage.mount("outlived", &volume);
    stage.succeeds(&["unmount", &folder]);
}
