//! Growth of a mounted file system, and at the next mount.

use harness::md;

use crate::FILESYSTEMS;
use crate::fixture::{Fixture, Volume};

pub(crate) fn expandfs_grows_to_size_of_volume(fixture: &Fixture) {
    const MIB: u64 = 1 << 20;
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, 512);
        let folder = fixture.mount("grow", &volume);
        let json = volume.json("rw");
        let wanted = (768 * MIB).to_string();
        let old = (512 * MIB).to_string();
        let grow = ["expandfs", &json, "", &folder, &wanted, &old];
        fixture.fails(
            &grow,
            &[
                "has 536870912 bytes, but 805306368 bytes were requested",
                "not extended it yet",
            ],
        );
        fixture.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        fixture.shell(&format!("echo hello >{folder}/file"));
        for _ in 0..2 {
            fixture.succeeds(&grow);
            let size: u64 = fixture
                .shell(&format!("df --output=size -m {folder} | tail -1"))
                .trim()
                .parse()
                .unwrap();
            assert!(size > 650, "{fs}: {size}");
        }
        // A file system never shrinks.
        fixture.succeeds(&["expandfs", &json, "", &folder, &old, &old]);
        fixture.shell(&format!(
            "test $(df --output=size -m {folder} | tail -1) -gt 650; grep -q hello {folder}/file"
        ));
        let other = fixture.unformatted_volume(fs, 512);
        fixture.fails(
            &["expandfs", &other.json("rw"), "", &folder, &old, &old],
            &["is not mounted on"],
        );
        fixture.succeeds(&["unmount", &folder]);
        fixture.fails(&grow, &["is not mounted on"]);
    }
}

pub(crate) fn mount_grows_to_size_of_volume(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, 512);
        let folder = fixture.mount("meanwhile", &volume);
        fixture.succeeds(&["unmount", &folder]);
        fixture.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        fixture.mount("meanwhile", &volume);
        let size = fixture.size_in_mib(&folder);
        assert!(size > 650, "{fs}: {size}");
        // A repeated call after one that was interrupted after the mount.
        fixture.shell(&format!("lvextend -qq -L 1024M {}", volume.path()));
        fixture.mount("meanwhile", &volume);
        let size = fixture.size_in_mib(&folder);
        assert!(size > 900, "{fs}: {size}");
        fixture.succeeds(&["unmount", &folder]);
    }
}

/// Returns what `wipefs` finds on a volume, without the file system itself.
fn other_signatures(fixture: &Fixture, volume: &Volume) -> String {
    fixture.shell(&format!(
        "wipefs --no-act --noheadings --output TYPE {} | grep -v {} || true",
        volume.device(),
        volume.fs
    ))
}

/// Extends a volume by hand, with the superblock of an array where it then ends.
fn extend_over_signature(fixture: &Fixture, volume: &Volume, size_mib: u64) {
    let size = size_mib << 20;
    let device = volume.device();
    fixture.shell(&format!("lvextend -qq -L {size_mib}M {}", volume.path()));
    fixture.shell(&md::write_script(&device, md::offset(size), size));
    assert_eq!(
        other_signatures(fixture, volume),
        "linux_raid_member",
        "{}",
        volume.fs
    );
}

/// The extents of the growth contain the superblock of an array. The driver zeroes it before the file
/// system grows, at a mount and by `expandfs`.
pub(crate) fn signature_at_grown_end_is_zeroed(fixture: &Fixture) {
    const MIB: u64 = 1 << 20;
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, 512);
        let folder = fixture.mount("end", &volume);
        fixture.shell(&format!(
            "head -c 32M /dev/urandom >{folder}/file; sync; sha256sum {folder}/file >/run/sums"
        ));
        extend_over_signature(fixture, &volume, 768);
        let json = volume.json("rw");
        let wanted = (768 * MIB).to_string();
        let old = (512 * MIB).to_string();
        fixture.succeeds(&["expandfs", &json, "", &folder, &wanted, &old]);
        assert_eq!(other_signatures(fixture, &volume), "", "{fs}");
        fixture.succeeds(&["unmount", &folder]);
        extend_over_signature(fixture, &volume, 1024);
        fixture.mount("end", &volume);
        assert_eq!(other_signatures(fixture, &volume), "", "{fs}");
        let size = fixture.size_in_mib(&folder);
        assert!(size > 900, "{fs}: {size}");
        fixture
            .shell("sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum --quiet --check /run/sums");
        fixture.succeeds(&["unmount", &folder]);
        fixture.shell(&format!(
            "tail -c 1048576 {} | cmp -n 1048576 - /dev/zero",
            volume.device()
        ));
    }
}
