//! Read-only mounts are read-only from the start: the driver is killed where mounts used to be
//! writable.

use crate::FILESYSTEMS;
use crate::fixture::{Fixture, Volume};

/// Kills the driver before its second mount(2), which remounts read-only on kernels without the new
/// mount API.
const KILL: &str = "-e inject=mount:signal=KILL:when=2";

/// Simulates kernels before 5.2, which lack the new mount API.
const OLD_KERNEL: &str = "-e inject=fsopen:error=ENOSYS";

/// Calls the driver under strace with fault injection, and returns whether the mount is `ro` or
/// `rw`.
fn mount_with(fixture: &Fixture, changes: &str, folder: &str, json: &str) -> String {
    let driver = fixture.driver();
    fixture.shell(&format!(
        "strace -f -o /dev/null {changes} {driver} mount {folder} '{json}' >/run/reply 2>&1 || true"
    ));
    fixture.shell(&format!("findmnt -no VFS-OPTIONS {folder} | cut -c -2"))
}

fn is_never_writable(fixture: &Fixture, volume: &Volume, folder: &str) {
    let json = volume.json("ro");
    assert_eq!(
        mount_with(fixture, KILL, folder, &json),
        "ro",
        "{}",
        fixture.shell("cat /run/reply")
    );
    fixture.succeeds(&["unmount", folder]);
    // A repeated call finds the mount of the killed one, and makes it read-only.
    let both = format!("{OLD_KERNEL} {KILL}");
    assert_eq!(mount_with(fixture, &both, folder, &json), "rw");
    fixture.succeeds(&["mount", folder, &json]);
    assert_eq!(
        fixture.shell(&format!("findmnt -no VFS-OPTIONS {folder} | cut -c -2")),
        "ro"
    );
    fixture.succeeds(&["unmount", folder]);
    assert_eq!(mount_with(fixture, OLD_KERNEL, folder, &json), "ro");
    fixture.succeeds(&["unmount", folder]);
}

pub(crate) fn read_only_mount_is_never_writable(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let mut volume = fixture.unformatted_volume(fs, crate::smallest(fs));
        let maker = fixture.mount("maker", &volume);
        let reader = fixture.folder("reader", &volume);
        fixture.succeeds(&["unmount", &maker]);
        is_never_writable(fixture, &volume, &reader);
        // Read-only mounts keep all other options of the mount, next to a writable one.
        volume.options.mount = "nosuid,nodev,noexec,noatime,nodiratime,sync,lazytime"
            .split(',')
            .map(str::to_owned)
            .collect();
        fixture.succeeds(&["mount", &reader, &volume.json("ro")]);
        fixture.succeeds(&["mount", &maker, &volume.json("rw")]);
        let options = fixture.mount_options(&reader);
        assert_eq!(
            options.replacen("ro", "rw", 1),
            fixture.mount_options(&maker)
        );
        fixture.shell(&format!(
            "echo hello >{maker}/file; grep -q hello {reader}/file; ! touch {reader}/file 2>&1"
        ));
        assert!(
            fixture
                .shell(&format!("findmnt -no FS-OPTIONS {reader}"))
                .contains("sync")
        );
        for folder in [&maker, &reader] {
            fixture.succeeds(&["unmount", folder]);
        }
        volume.options.mount.clear();
        let _attaching = fixture.attaching();
        let all = fixture.folder_for_all(&volume);
        fixture.succeeds(&["mountdevice", &all, "", &volume.json("rw")]);
        is_never_writable(fixture, &volume, &reader);
        fixture.succeeds(&["unmountdevice", &all]);
    }
}
