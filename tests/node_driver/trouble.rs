//! Programs, devices and nodes that fail.

use crate::stage::Stage;
use crate::{FILESYSTEMS, smallest};

pub(crate) fn a_hanging_program_ends_in_a_failure(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    let folder = stage.folder("hanging", &volume);
    stage.poke(&volume, "left over", 100_000);
    stage.replace("wipefs", "trap \"\" TERM; sleep 1000 & wait; sleep 1000");
    let begun = std::time::Instant::now();
    stage.fails(
        &["mount", &folder, &volume.json("rw")],
        &["wipefs", "timed out after"],
    );
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(40),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        stage.shell("pgrep -fc 'sleep 100[0]' || true"),
        "0",
        "its children are ended, too"
    );
    stage.undo("wipefs");
    assert_eq!(stage.mark(&volume, "read"), "fresh");
    stage.mount("hanging", &volume);
    stage.succeeds(&["unmount", &folder]);
}

pub(crate) fn programs_that_fail_or_lie_do_no_harm(stage: &Stage) {
    let lies = [
        "exit 1",
        "exit 0",
        "exit 2",
        "echo TYPE=ext4",
        "echo garbage",
        "echo warning >&2",
        "kill -9 $$",
    ];
    for program in ["blkid", "wipefs", "mkfs.ext4"] {
        let volume = stage.fresh_volume("ext4", 64);
        stage.poke(&volume, "left over", 100_000);
        let (folder, before) = (stage.folder("lies", &volume), stage.checksum(&volume));
        for lie in lies {
            stage.replace(program, lie);
            let reply = stage.call(&["mount", &folder, &volume.json("rw")]);
            stage.undo(program);
            // One that finds nothing, when there is nothing, is no liar.
            if (program, lie) != ("blkid", "exit 2") && (program, lie) != ("wipefs", "exit 0") {
                assert_eq!(reply["status"], "Failure", "{program}: {lie}");
                assert_eq!(stage.mounts(&folder), 0);
            } else {
                stage.succeeds(&["unmount", &folder]);
                stage.shell(&format!(
                    "dd if=/dev/zero of={} bs=1M count=64 conv=notrunc 2>&1",
                    volume.device()
                ));
                stage.poke(&volume, "left over", 100_000);
                stage.mark(&volume, "fresh");
            }
            let expected = if program == "mkfs.ext4" {
                "formatting"
            } else {
                "fresh"
            };
            assert_eq!(stage.mark(&volume, "read"), expected, "{program}: {lie}");
        }
        if program != "mkfs.ext4" {
            assert_eq!(stage.checksum(&volume), before, "{program}");
        }
        stage.mount("lies", &volume);
        stage.succeeds(&["unmount", &folder]);
    }
    let volume = stage.fresh_volume("ext4", 64);
    let folder = stage.mount("lies", &volume);
    stage.succeeds(&["unmount", &folder]);
    for lie in ["exit 5", "exit 0", "kill -9 $$"] {
        stage.shell(&format!("lvchange -an {}", volume.path()));
        stage.replace("lvm", lie);
        let reply = stage.call(&["mount", &folder, &volume.json("rw")]);
        stage.undo("lvm");
        assert_eq!(
            (&reply["status"], stage.mounts(&folder)),
            (&"Failure".into(), 0),
            "lvm: {lie}"
        );
    }
    stage.mount("lies", &volume);
    stage.succeeds(&["unmount", &folder]);
}

pub(crate) fn a_failed_mount_leaves_nothing_behind(stage: &Stage) {
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, smallest(fs));
        let folder = stage.mount("failed", &volume);
        stage.succeeds(&["unmount", &folder]);
        // The magic stays, the rest of the superblock is damaged: only the kernel finds out.
        let at = match fs {
            "ext4" => 1024 + 0x54,
            "xfs" => 60,
            _ => (64 << 10) + 0x90,
        };
        stage.poke(&volume, r"\377\377\377\377\377\377", at);
        let before = stage.checksum(&volume);
        stage.fails(
            &["mount", &folder, &volume.json("rw")],
            &["can't be mounted", "damaged"],
        );
        assert_eq!(
            (stage.mounts(&folder), stage.checksum(&volume)),
            (0, before)
        );
        // Nobody holds the device, or its lock.
        let lock = format!("/run/flexlvm/{}.lock", volume.options.uuid);
        stage.shell(&format!(
            "flock -n {lock} lvchange -qq -an {}",
            volume.path()
        ));
    }
}

pub(crate) fn a_corrupt_mount_can_be_taken_down(stage: &Stage) {
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, smallest(fs));
        let folder = stage.mount("corrupt", &volume);
        stage.shell(&format!("touch {folder}/file; sync"));
        let dm = volume.device();
        let table = stage.shell(&format!("dmsetup table {dm}"));
        let sectors = table.split(' ').nth(1).unwrap();
        stage.shell(&format!(
            "echo 0 {sectors} error | dmsetup reload {dm} && dmsetup resume {dm}"
        ));
        stage.shell(&format!(
            "echo 2 >/proc/sys/vm/drop_caches; touch {folder}/other 2>/dev/null || sync || true"
        ));
        stage.succeeds(&["unmount", &folder]);
        assert_eq!(stage.mounts(&folder), 0);
        // Not known to be blank, only because it can't be read.
        stage.fails(&["mount", &folder, &volume.json("rw")], &["read"]);
        stage.shell(&format!(
            "echo '{table}' | dmsetup reload {dm} && dmsetup resume {dm}"
        ));
        let folder = stage.mount("corrupt", &volume);
        stage.shell(&format!("test -e {folder}/file"));
        stage.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn a_suspended_volume_is_waited_for(stage: &Stage) {
    for fs in ["ext4", "btrfs"] {
        suspended_volume_is_waited_for(stage, fs);
    }
}

fn suspended_volume_is_waited_for(stage: &Stage, fs: &'static str) {
    let volume = stage.fresh_volume(fs, smallest(fs));
    let folder = stage.mount("suspended", &volume);
    let device = volume.device();
    stage.shell(&format!("dmsetup suspend {device}"));
    stage.fails(&["unmount", &folder], &["is suspended"]);
    let other = stage.folder("suspended-too", &volume);
    stage.shell(&format!(
        "(sleep 1; dmsetup resume {device}) >/dev/null 2>&1 &"
    ));
    stage.succeeds(&["mount", &other, &volume.json("rw")]);
    stage.succeeds(&["unmount", &folder]);
    stage.succeeds(&["unmount", &other]);
}
