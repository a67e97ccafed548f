//! Growth that a program only claims.

use crate::FILESYSTEMS;
use crate::stage::Stage;

pub(crate) fn a_program_that_only_claims_growth_is_a_failure(stage: &Stage) {
    for (fs, program) in FILESYSTEMS
        .into_iter()
        .zip(["resize2fs", "xfs_growfs", "btrfs"])
    {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("claims", &volume);
        stage.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        let (json, wanted) = (volume.json("rw"), (768_u64 << 20).to_string());
        let grow = ["expandfs", &*json, "", &*folder, &*wanted, "536870912"];
        stage.replace(program, "exit 0");
        stage.fails(&grow, &[program, "success, and the", "of 805306368 bytes"]);
        stage.undo(program);
        // Twice in a row, for two pods: what XFS has not yet written down counts, too.
        for _ in 0..2 {
            stage.succeeds(&grow);
        }
        stage.succeeds(&["unmount", &folder]);
    }
}
