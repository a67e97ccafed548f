//! Growth: of a mounted file system, and at the next mount.

use crate::FILESYSTEMS;
use crate::stage::Stage;

pub(crate) fn expandfs_grows_when_the_volume_has_grown(stage: &Stage) {
    const MIB: u64 = 1 << 20;
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("grow", &volume);
        let (json, wanted, old) = (
            volume.json("rw"),
            (768 * MIB).to_string(),
            (512 * MIB).to_string(),
        );
        let grow = ["expandfs", &json, "", &folder, &wanted, &old];
        stage.fails(
            &grow,
            &[
                "has 536870912 bytes, but 805306368 bytes were requested",
                "not extended it yet",
            ],
        );
        stage.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        stage.shell(&format!("echo hello >{folder}/file"));
        for _ in 0..2 {
            stage.succeeds(&grow);
            let size: u64 = stage
                .shell(&format!("df --output=size -m {folder} | tail -1"))
                .trim()
                .parse()
                .unwrap();
            assert!(size > 650, "{fs}: {size}");
        }
        // Never smaller.
        stage.succeeds(&["expandfs", &json, "", &folder, &old, &old]);
        stage.shell(&format!(
            "test $(df --output=size -m {folder} | tail -1) -gt 650; grep -q hello {folder}/file"
        ));
        let other = stage.fresh_volume(fs, 512);
        stage.fails(
            &["expandfs", &other.json("rw"), "", &folder, &old, &old],
            &["is not mounted on"],
        );
        stage.succeeds(&["unmount", &folder]);
        stage.fails(&grow, &["is not mounted on"]);
    }
}

pub(crate) fn a_mount_grows_what_has_grown_meanwhile(stage: &Stage) {
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("meanwhile", &volume);
        stage.succeeds(&["unmount", &folder]);
        stage.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        let mounted_size = || {
            stage.mount("meanwhile", &volume);
            stage
                .shell(&format!("df --output=size -m {folder} | tail -1"))
                .trim()
                .parse::<u64>()
                .unwrap()
        };
        let size = mounted_size();
        assert!(size > 650, "{fs}: {size}");
        // As if the call had been cut short after the mount, and were repeated.
        stage.shell(&format!("lvextend -qq -L 1024M {}", volume.path()));
        let size = mounted_size();
        assert!(size > 900, "{fs}: {size}");
        stage.succeeds(&["unmount", &folder]);
    }
}
