//! Failing programs, devices and nodes.

use crate::fixture::Fixture;
use crate::{FILESYSTEMS, smallest};

pub(crate) fn hanging_program_ends_in_failure(fixture: &Fixture) {
    let volume = fixture.unformatted_volume("ext4", 64);
    let folder = fixture.folder("hanging", &volume);
    fixture.poke(&volume, "left over", 100_000);
    fixture.replace("wipefs", "trap \"\" TERM; sleep 1000 & wait; sleep 1000");
    let begun = std::time::Instant::now();
    fixture.fails(
        &["mount", &folder, &volume.json("rw")],
        &["wipefs", "timed out after"],
    );
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(40),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        fixture.shell("pgrep -fc 'sleep 100[0]' || true"),
        "0",
        "its children are killed, too"
    );
    fixture.undo("wipefs");
    assert_eq!(fixture.mark(&volume, "read"), "unformatted");
    fixture.mount("hanging", &volume);
    fixture.succeeds(&["unmount", &folder]);
}

pub(crate) fn failing_or_lying_programs_do_no_harm(fixture: &Fixture) {
    let faults = [
        "exit 1",
        "exit 0",
        "exit 2",
        "echo TYPE=ext4",
        "echo garbage",
        "echo warning >&2",
        "kill -9 $$",
    ];
    for program in ["blkid", "wipefs", "mkfs.ext4"] {
        let volume = fixture.unformatted_volume("ext4", 64);
        fixture.poke(&volume, "left over", 100_000);
        let folder = fixture.folder("lies", &volume);
        let before = fixture.checksum(&volume);
        for fault in faults {
            fixture.replace(program, fault);
            let reply = fixture.call(&["mount", &folder, &volume.json("rw")]);
            fixture.undo(program);
            // An empty result is correct where there is nothing to find.
            if (program, fault) != ("blkid", "exit 2") && (program, fault) != ("wipefs", "exit 0") {
                assert_eq!(reply["status"], "Failure", "{program}: {fault}");
                assert_eq!(fixture.mounts(&folder), 0);
            } else {
                fixture.succeeds(&["unmount", &folder]);
                fixture.shell(&format!(
                    "dd if=/dev/zero of={} bs=1M count=64 conv=notrunc 2>&1",
                    volume.device()
                ));
                fixture.poke(&volume, "left over", 100_000);
                fixture.mark(&volume, "unformatted");
            }
            let expected = if program == "mkfs.ext4" {
                "formatting"
            } else {
                "unformatted"
            };
            assert_eq!(
                fixture.mark(&volume, "read"),
                expected,
                "{program}: {fault}"
            );
        }
        if program != "mkfs.ext4" {
            assert_eq!(fixture.checksum(&volume), before, "{program}");
        }
        fixture.mount("lies", &volume);
        fixture.succeeds(&["unmount", &folder]);
    }
    check_failing_lvm(fixture);
}

/// Checks that a volume that LVM does not activate is not mounted.
fn check_failing_lvm(fixture: &Fixture) {
    let volume = fixture.unformatted_volume("ext4", 64);
    let folder = fixture.mount("lies", &volume);
    fixture.succeeds(&["unmount", &folder]);
    for fault in ["exit 5", "exit 0", "kill -9 $$"] {
        fixture.shell(&format!("lvchange -an {}", volume.path()));
        fixture.replace("lvm", fault);
        let reply = fixture.call(&["mount", &folder, &volume.json("rw")]);
        fixture.undo("lvm");
        assert_eq!(
            (&reply["status"], fixture.mounts(&folder)),
            (&"Failure".into(), 0),
            "lvm: {fault}"
        );
    }
    fixture.mount("lies", &volume);
    fixture.succeeds(&["unmount", &folder]);
}

pub(crate) fn failed_mount_leaves_nothing_behind(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, smallest(fs));
        let folder = fixture.mount("failed", &volume);
        fixture.succeeds(&["unmount", &folder]);
        // The magic number stays, the rest of the superblock is damaged: only the kernel detects
        // it.
        let at = match fs {
            "ext4" => 1024 + 0x54,
            "xfs" => 60,
            _ => (64 << 10) + 0x90,
        };
        fixture.poke(&volume, r"\377\377\377\377\377\377", at);
        let before = fixture.checksum(&volume);
        fixture.fails(
            &["mount", &folder, &volume.json("rw")],
            &["can't be mounted", "damaged"],
        );
        assert_eq!(
            (fixture.mounts(&folder), fixture.checksum(&volume)),
            (0, before)
        );
        // No process holds the device, or its lock.
        let lock = format!("/run/flexlvm/{}.lock", volume.options.uuid);
        fixture.shell(&format!(
            "flock -n {lock} lvchange -qq -an {}",
            volume.path()
        ));
    }
}

pub(crate) fn corrupt_mount_can_be_unmounted(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, smallest(fs));
        let folder = fixture.mount("corrupt", &volume);
        fixture.shell(&format!("touch {folder}/file; sync"));
        let dm = volume.device();
        let table = fixture.shell(&format!("dmsetup table {dm}"));
        let sectors = table.split(' ').nth(1).unwrap();
        fixture.shell(&format!(
            "echo 0 {sectors} error | dmsetup reload {dm} && dmsetup resume {dm}"
        ));
        fixture.shell(&format!(
            "echo 2 >/proc/sys/vm/drop_caches; touch {folder}/other 2>/dev/null || sync || true"
        ));
        fixture.succeeds(&["unmount", &folder]);
        assert_eq!(fixture.mounts(&folder), 0);
        // It cannot be read, so it is not known to be blank.
        fixture.fails(&["mount", &folder, &volume.json("rw")], &["read"]);
        fixture.shell(&format!(
            "echo '{table}' | dmsetup reload {dm} && dmsetup resume {dm}"
        ));
        let folder = fixture.mount("corrupt", &volume);
        fixture.shell(&format!("test -e {folder}/file"));
        fixture.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn driver_waits_for_suspended_volume(fixture: &Fixture) {
    for fs in ["ext4", "btrfs"] {
        check_suspended_volume(fixture, fs);
    }
}

fn check_suspended_volume(fixture: &Fixture, fs: &'static str) {
    let volume = fixture.unformatted_volume(fs, smallest(fs));
    let folder = fixture.mount("suspended", &volume);
    let device = volume.device();
    fixture.shell(&format!("dmsetup suspend {device}"));
    fixture.fails(&["unmount", &folder], &["is suspended"]);
    let other = fixture.folder("suspended-too", &volume);
    fixture.shell(&format!(
        "(sleep 1; dmsetup resume {device}) >/dev/null 2>&1 &"
    ));
    fixture.succeeds(&["mount", &other, &volume.json("rw")]);
    fixture.succeeds(&["unmount", &folder]);
    fixture.succeeds(&["unmount", &other]);
}
