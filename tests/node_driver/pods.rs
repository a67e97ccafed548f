//! Mounts and unmounts of pods: repeated, concurrent, and of one volume by several pods.

use crate::fixture::Fixture;
use crate::{FILESYSTEMS, smallest};

pub(crate) fn common_mount_and_unmount_run_no_program(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, smallest(fs));
        let folder = fixture.mount("common", &volume);
        fixture.succeeds(&["unmount", &folder]);
        let programs = [
            "blkid",
            "wipefs",
            "mkfs.ext4",
            "mkfs.xfs",
            "mkfs.btrfs",
            "resize2fs",
            "xfs_growfs",
            "btrfs",
            "e2fsck",
            "lvm",
            "mount",
            "umount",
        ];
        for program in programs {
            fixture.replace(program, "echo $0 >>/run/were-run; exit 1");
        }
        fixture.succeeds(&["mount", &folder, &volume.json("rw")]);
        assert_eq!(fixture.mounts(&folder), 1);
        fixture.succeeds(&["unmount", &folder]);
        for program in programs {
            fixture.undo(program);
        }
        assert_eq!(fixture.shell("cat /run/were-run 2>/dev/null || true"), "");
        assert_eq!(fixture.mounts(&folder), 0);
    }
}

pub(crate) fn two_pods_share_volume_one_read_only(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, smallest(fs));
        let folder = fixture.mount("maker", &volume);
        fixture.succeeds(&["unmount", &folder]);
        for order in [["rw", "ro"], ["ro", "rw"]] {
            for readwrite in order {
                let folder = fixture.folder(readwrite, &volume);
                fixture.succeeds(&["mount", &folder, &volume.json(readwrite)]);
            }
            let writer = fixture.folder("rw", &volume);
            let reader = fixture.folder("ro", &volume);
            fixture.shell(&format!(
                "echo hello >{writer}/file && grep -q hello {reader}/file"
            ));
            fixture.shell(&format!("! touch {reader}/file 2>/dev/null"));
            // One pod leaves, the other stays.
            fixture.succeeds(&["unmount", &writer]);
            fixture.shell(&format!("grep -q hello {reader}/file"));
            fixture.succeeds(&["mount", &writer, &volume.json("rw")]);
            fixture.succeeds(&["unmount", &reader]);
            fixture.shell(&format!("echo again >{writer}/file"));
            fixture.succeeds(&["unmount", &writer]);
        }
    }
}

pub(crate) fn concurrent_calls_create_one_file_system(fixture: &Fixture) {
    let volume = fixture.unformatted_volume("ext4", 64);
    let folders: Vec<String> = (0..6)
        .map(|pod| fixture.folder(&format!("at-once-{pod}"), &volume))
        .collect();
    let driver = fixture.driver();
    let json = volume.json("rw");
    fixture.all_succeed_at_once(
        folders
            .iter()
            .map(|folder| format!("{driver} mount {folder} {json:?}")),
    );
    fixture.shell(&format!("echo shared >{}/file", folders[0]));
    for folder in &folders {
        assert_eq!(fixture.mounts(folder), 1);
        fixture.shell(&format!("grep -q shared {folder}/file"));
    }
    fixture.all_succeed_at_once(
        folders
            .iter()
            .map(|folder| format!("{driver} unmount {folder}")),
    );
    assert!(folders.iter().all(|folder| fixture.mounts(folder) == 0));
}

pub(crate) fn repeated_mount_stacks_nothing(fixture: &Fixture) {
    let volume = fixture.unformatted_volume("ext4", 64);
    let other = fixture.unformatted_volume("ext4", 64);
    let folder = fixture.mount("repeated", &volume);
    fixture.mount("repeated", &volume);
    assert_eq!(fixture.mounts(&folder), 1);
    fixture.fails(
        &["mount", &folder, &other.json("rw")],
        &["something else is mounted"],
    );
    // A call that was interrupted after the mount, before it became read-only.
    fixture.succeeds(&["mount", &folder, &volume.json("ro")]);
    assert!(
        fixture
            .shell(&format!("findmnt -no VFS-OPTIONS {folder}"))
            .starts_with("ro")
    );
    fixture.fails(&["mount", &folder, &volume.json("rw")], &["read-only"]);
    assert_eq!(fixture.mounts(&folder), 1);
    fixture.succeeds(&["unmount", &folder]);
    fixture.shell(&format!("mount -t tmpfs none {folder}"));
    fixture.fails(
        &["mount", &folder, &volume.json("rw")],
        &["something else is mounted", "tmpfs"],
    );
    fixture.shell(&format!("umount {folder}"));
}

pub(crate) fn unmount_accepts_any_state_of_folder(fixture: &Fixture) {
    let volume = fixture.unformatted_volume("ext4", 64);
    let folder = fixture.folder("unmount", &volume);
    // Never mounted; twice; without a folder.
    fixture.succeeds(&["unmount", &folder]);
    fixture.succeeds(&["unmount", &folder]);
    fixture.succeeds(&["unmount", &format!("{folder}-none")]);
    fixture.mount("unmount", &volume);
    // Stacked mounts, next to a foreign mount with a similar path.
    fixture.shell(&format!(
        "mkdir -p {folder}-beside && mount -t tmpfs none {folder}-beside"
    ));
    fixture.shell(&format!(
        "mount --bind /etc {folder} && mount -t tmpfs none {folder}"
    ));
    assert_eq!(fixture.mounts(&folder), 3);
    fixture.succeeds(&["unmount", &folder]);
    assert_eq!(
        (
            fixture.mounts(&folder),
            fixture.mounts(&format!("{folder}-beside"))
        ),
        (0, 1)
    );
    fixture.shell(&format!("umount {folder}-beside"));
    // In use, by a process or by a mount below.
    fixture.mount("unmount", &volume);
    fixture.shell(&format!(
        "cd {folder}; sleep 1000 >/dev/null 2>&1 & echo $! >/run/user.pid"
    ));
    fixture.fails(&["unmount", &folder], &["in use"]);
    assert_eq!(fixture.mounts(&folder), 1);
    fixture.shell("kill $(cat /run/user.pid); while kill -0 $(cat /run/user.pid) 2>/dev/null; do sleep 0.1; done");
    fixture.shell(&format!(
        "mkdir {folder}/sub; mount -t tmpfs none {folder}/sub"
    ));
    fixture.fails(&["unmount", &folder], &["in use", "/sub"]);
    fixture.shell(&format!("umount {folder}/sub"));
    fixture.succeeds(&["unmount", &folder]);
}
