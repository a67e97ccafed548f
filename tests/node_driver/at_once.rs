//! A read-only mount is read-only from its first moment: the driver is killed where it used to be
//! writable.

use crate::FILESYSTEMS;
use crate::stage::{Stage, Volume};

/// Before the second call of mount(2), which makes a mount read-only where the kernel can't do it
/// at once.
const KILL: &str = "-e inject=mount:signal=KILL:when=2";

/// As kernels before 5.2.
const OLD_KERNEL: &str = "-e inject=fsopen:error=ENOSYS";

/// The driver, called by strace with these changes of what the kernel does; then, how it is
/// mounted.
fn mount_with(stage: &Stage, changes: &str, folder: &str, json: &str) -> String {
    let driver = stage.driver();
    stage.shell(&format!(
        "strace -f -o /dev/null {changes} {driver} mount {folder} '{json}' >/run/said 2>&1 || true"
    ));
    stage.shell(&format!("findmnt -no VFS-OPTIONS {folder} | cut -c -2"))
}

fn is_never_writable(stage: &Stage, volume: &Volume, folder: &str) {
    let json = volume.json("ro");
    let unmount = || stage.succeeds(&["unmount", folder]);
    assert_eq!(
        mount_with(stage, KILL, folder, &json),
        "ro",
        "{}",
        stage.shell("cat /run/said")
    );
    unmount();
    // Elsewhere the call that is repeated finds it, and makes it so.
    let both = format!("{OLD_KERNEL} {KILL}");
    assert_eq!(mount_with(stage, &both, folder, &json), "rw");
    stage.succeeds(&["mount", folder, &json]);
    assert_eq!(
        stage.shell(&format!("findmnt -no VFS-OPTIONS {folder} | cut -c -2")),
        "ro"
    );
    unmount();
    assert_eq!(mount_with(stage, OLD_KERNEL, folder, &json), "ro");
    unmount();
}

pub(crate) fn a_reader_is_never_a_writer(stage: &Stage) {
    for fs in FILESYSTEMS {
        let mut volume = stage.fresh_volume(fs, crate::smallest(fs));
        let (maker, reader) = (
            stage.mount("maker", &volume),
            stage.folder("reader", &volume),
        );
        stage.succeeds(&["unmount", &maker]);
        is_never_writable(stage, &volume, &reader);
        // With all that there is to pass on, and beside one that writes.
        volume.options.mount = "nosuid,nodev,noexec,noatime,nodiratime,sync,lazytime"
            .split(',')
            .map(str::to_owned)
            .collect();
        stage.succeeds(&["mount", &reader, &volume.json("ro")]);
        stage.succeeds(&["mount", &maker, &volume.json("rw")]);
        let options = |folder: &str| stage.shell(&format!("findmnt -no VFS-OPTIONS {folder}"));
        assert_eq!(options(&reader).replacen("ro", "rw", 1), options(&maker));
        stage.shell(&format!(
            "echo hello >{maker}/file; grep -q hello {reader}/file; ! touch {reader}/file 2>&1"
        ));
        assert!(
            stage
                .shell(&format!("findmnt -no FS-OPTIONS {reader}"))
                .contains("sync")
        );
        for folder in [&maker, &reader] {
            stage.succeeds(&["unmount", folder]);
        }
        volume.options.mount.clear();
        let _attaching = stage.attaching();
        let all = stage.folder_for_all(&volume);
        stage.succeeds(&["mountdevice", &all, "", &volume.json("rw")]);
        is_never_writable(stage, &volume, &reader);
        stage.succeeds(&["unmountdevice", &all]);
    }
}
