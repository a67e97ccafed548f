//! Growth of a mounted file system, and at the next mount.

use crate::FILESYSTEMS;
use crate::fixture::Fixture;

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
