//! Grows file systems while they are mounted.

use std::path::Path;
use std::time::Duration;

use super::Filesystem;
use crate::error::{Error, Kind};
use crate::exec::{Cmd, Exec};

/// Grows the mounted file system to the size of its device. Nothing happens when it is as large already; it never
/// shrinks.
///
/// # Errors
/// When the program fails or is not done in time; the file system is as sound as before.
pub fn grow(exec: &dyn Exec, fs: Filesystem, path: &Path, point: &Path, time: Duration) -> Result<(), Error> {
    let point = point.display().to_string();
    let cmd = match fs {
        Filesystem::Ext4 => Cmd::new("resize2fs").arg(path.display().to_string()),
        Filesystem::Xfs => Cmd::new("xfs_growfs").arg("-d").arg(point),
        Filesystem::Btrfs => Cmd::new("btrfs").args(["filesystem", "resize", "max"]).arg(point),
    };
    let cmd = cmd.timeout(time);
    let output = exec.exec(&cmd)?;
    if output.success() { Ok(()) } else { Err(output.failed(&cmd, Kind::Failed)) }
}
