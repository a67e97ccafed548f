//! Grows file systems while they are mounted.

use std::path::Path;
use std::time::Duration;

use super::{Filesystem, size};
use crate::block::lv_device::Device;
use crate::error::{Error, Kind};
use crate::process::{Cmd, Exec};
use crate::units::Bytes;

/// A file system may leave so much of its device unused, and can't grow by less: the format marker's
/// place, and what is too little for another of ext4's block groups.
const LEFT_OVER: Bytes = Bytes(32 << 20);

/// Whether a file system of this size is about as large as one can be on a device of that size.
#[must_use]
pub fn fills(used: Bytes, device: Bytes) -> bool {
    device.0.saturating_sub(used.0) < LEFT_OVER.0
}

/// Grows the mounted file system to the size of its device. Nothing happens when it is as large
/// already; it never shrinks. What the program says is not enough: Kubernetes shows to everybody
/// how large the volume is.
///
/// # Errors
/// When the program fails or is not done in time, or the file system is not larger afterwards; it
/// is as sound as before.
pub fn resize(
    exec: &dyn Exec,
    fs: Filesystem,
    device: &Device,
    point: &Path,
    time: Duration,
) -> Result<(), Error> {
    let shown = point.display().to_string();
    let cmd = match fs {
        Filesystem::Ext4 => Cmd::new("resize2fs").arg(device.path().display().to_string()),
        Filesystem::Xfs => Cmd::new("xfs_growfs").arg("-d").arg(shown),
        Filesystem::Btrfs => Cmd::new("btrfs")
            .args(["filesystem", "resize", "max"])
            .arg(shown),
    };
    let cmd = cmd.timeout(time);
    let output = exec.exec(&cmd)?;
    if !output.success() {
        return Err(output.failed(&cmd, Kind::Failed));
    }
    let (used, there) = (size(device, point)?, device.size()?);
    if fills(used, there) {
        return Ok(());
    }
    let detail = format!(
        "success, and the {fs} on {} has {used} of {there}",
        device.mapper_path().display()
    );
    Err(Error::Answer {
        program: cmd.program().to_owned(),
        detail,
    })
}
