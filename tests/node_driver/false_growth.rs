//! Programs that falsely report growth.

use crate::FILESYSTEMS;
use crate::fixture::Fixture;

pub(crate) fn falsely_reported_growth_is_a_failure(fixture: &Fixture) {
    for (fs, program) in FILESYSTEMS
        .into_iter()
        .zip(["resize2fs", "xfs_growfs", "btrfs"])
    {
        let volume = fixture.unformatted_volume(fs, 512);
        let folder = fixture.mount("claims", &volume);
        fixture.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        let json = volume.json("rw");
        let wanted = (768_u64 << 20).to_string();
        let grow = ["expandfs", &*json, "", &*folder, &*wanted, "536870912"];
        fixture.replace(program, "exit 0");
        fixture.fails(&grow, &[program, "success, but the", "of 805306368 bytes"]);
        fixture.undo(program);
        // Twice in a row, for two pods: what XFS has not yet written to disk counts, too.
        for _ in 0..2 {
            fixture.succeeds(&grow);
        }
        fixture.succeeds(&["unmount", &folder]);
    }
}
