//! Pods that come and go: mounts and unmounts, repeated, at once, and of one volume by several.

use crate::stage::Stage;
use crate::{FILESYSTEMS, smallest};

pub(crate) fn common_mount_and_unmount_run_no_program(stage: &Stage) {
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, smallest(fs));
        let folder = stage.mount("common", &volume);
        stage.succeeds(&["unmount", &folder]);
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
            stage.replace(program, "echo $0 >>/run/were-run; exit 1");
        }
        stage.succeeds(&["mount", &folder, &volume.json("rw")]);
        assert_eq!(stage.mounts(&folder), 1);
        stage.succeeds(&["unmount", &folder]);
        for program in programs {
            stage.undo(program);
        }
        assert_eq!(stage.shell("cat /run/were-run 2>/dev/null || true"), "");
        assert_eq!(stage.mounts(&folder), 0);
    }
}

pub(crate) fn two_pods_share_a_volume_one_of_them_read_only(stage: &Stage) {
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, smallest(fs));
        let folder = stage.mount("maker", &volume);
        stage.succeeds(&["unmount", &folder]);
        for order in [["rw", "ro"], ["ro", "rw"]] {
            for readwrite in order {
                let folder = stage.folder(readwrite, &volume);
                stage.succeeds(&["mount", &folder, &volume.json(readwrite)]);
            }
            let (writer, reader) = (stage.folder("rw", &volume), stage.folder("ro", &volume));
            stage.shell(&format!(
                "echo hello >{writer}/file && grep -q hello {reader}/file"
            ));
            stage.shell(&format!("! touch {reader}/file 2>/dev/null"));
            // One leaves, the other stays.
            stage.succeeds(&["unmount", &writer]);
            stage.shell(&format!("grep -q hello {reader}/file"));
            stage.succeeds(&["mount", &writer, &volume.json("rw")]);
            stage.succeeds(&["unmount", &reader]);
            stage.shell(&format!("echo again >{writer}/file"));
            stage.succeeds(&["unmount", &writer]);
        }
    }
}

pub(crate) fn calls_at_once_make_one_file_system(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    let folders: Vec<String> = (0..6)
        .map(|pod| stage.folder(&format!("at-once-{pod}"), &volume))
        .collect();
    let all = |calls: Vec<String>| {
        let script = calls.join(" & ");
        let replies = stage.shell(&format!("({script} & wait)"));
        assert_eq!(
            replies.matches(r#"{"status":"Success"}"#).count(),
            folders.len(),
            "{replies}"
        );
    };
    let (driver, json) = (stage.driver(), volume.json("rw"));
    all(folders
        .iter()
        .map(|folder| format!("{driver} mount {folder} {json:?}"))
        .collect());
    stage.shell(&format!("echo shared >{}/file", folders[0]));
    for folder in &folders {
        assert_eq!(stage.mounts(folder), 1);
        stage.shell(&format!("grep -q shared {folder}/file"));
    }
    all(folders
        .iter()
        .map(|folder| format!("{driver} unmount {folder}"))
        .collect());
    assert!(folders.iter().all(|folder| stage.mounts(folder) == 0));
}

pub(crate) fn a_repeated_mount_stacks_nothing(stage: &Stage) {
    let (volume, other) = (
        stage.fresh_volume("ext4", 64),
        stage.fresh_volume("ext4", 64),
    );
    let folder = stage.mount("repeated", &volume);
    stage.mount("repeated", &volume);
    assert_eq!(stage.mounts(&folder), 1);
    stage.fails(
        &["mount", &folder, &other.json("rw")],
        &["something else is mounted"],
    );
    // A call that was cut short after the mount, and before it was made read-only.
    stage.succeeds(&["mount", &folder, &volume.json("ro")]);
    assert!(
        stage
            .shell(&format!("findmnt -no VFS-OPTIONS {folder}"))
            .starts_with("ro")
    );
    stage.fails(&["mount", &folder, &volume.json("rw")], &["read-only"]);
    assert_eq!(stage.mounts(&folder), 1);
    stage.succeeds(&["unmount", &folder]);
    stage.shell(&format!("mount -t tmpfs none {folder}"));
    stage.fails(
        &["mount", &folder, &volume.json("rw")],
        &["something else is mounted", "tmpfs"],
    );
    stage.shell(&format!("umount {folder}"));
}

pub(crate) fn unmount_takes_what_it_finds(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    let folder = stage.folder("unmount", &volume);
    // Never mounted; twice; not there at all.
    stage.succeeds(&["unmount", &folder]);
    stage.succeeds(&["unmount", &folder]);
    stage.succeeds(&["unmount", &format!("{folder}-none")]);
    stage.mount("unmount", &volume);
    // Stacked, and with something of somebody else beside it.
    stage.shell(&format!(
        "mkdir -p {folder}-beside && mount -t tmpfs none {folder}-beside"
    ));
    stage.shell(&format!(
        "mount --bind /etc {folder} && mount -t tmpfs none {folder}"
    ));
    assert_eq!(stage.mounts(&folder), 3);
    stage.succeeds(&["unmount", &folder]);
    assert_eq!(
        (
            stage.mounts(&folder),
            stage.mounts(&format!("{folder}-beside"))
        ),
        (0, 1)
    );
    stage.shell(&format!("umount {folder}-beside"));
    // In use, by a process or by a mount below.
    stage.mount("unmount", &volume);
    stage.shell(&format!(
        "cd {folder}; sleep 1000 >/dev/null 2>&1 & echo $! >/run/user.pid"
    ));
    stage.fails(&["unmount", &folder], &["in use"]);
    assert_eq!(stage.mounts(&folder), 1);
    stage.shell("kill $(cat /run/user.pid); while kill -0 $(cat /run/user.pid) 2>/dev/null; do sleep 0.1; done");
    stage.shell(&format!(
        "mkdir {folder}/sub; mount -t tmpfs none {folder}/sub"
    ));
    stage.fails(&["unmount", &folder], &["in use", "/sub"]);
    stage.shell(&format!("umount {folder}/sub"));
    stage.succeeds(&["unmount", &folder]);
}
