//! Grows file systems while they are mounted.

use std::path::Path;
use std::time::Duration;

use super::{Filesystem, size};
use crate::block::lv_device::Device;
use crate::error::{Error, Kind};
use crate::process::{Cmd, Exec};
use crate::units::Bytes;

/// Space that a file system may leave unused at the end of its device, in bytes.
///
/// Covers the format marker, and a remainder that is too small for another ext4 block group.
const MAX_UNUSED: Bytes = Bytes(32 << 20);

/// Returns whether a file system of `used` bytes can't grow further on a device of `device` bytes.
#[must_use]
pub fn fills(used: Bytes, device: Bytes) -> bool {
    device.0.saturating_sub(used.0) < MAX_UNUSED.0
}

/// Grows a mounted file system to the size of its device.
///
/// Does nothing if it has that size already; never shrinks. Verifies the new size itself, since
/// Kubernetes publishes it as the size of the volume.
///
/// # Errors
/// When the program fails or times out, or the file system is not larger afterwards; it is
/// undamaged.
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
    let used = size(device, point)?;
    let device_size = device.size()?;
    if fills(used, device_size) {
        return Ok(());
    }
    let detail = format!(
        "success, but the {fs} on {} has {used} of {device_size}",
        device.mapper_path().display()
    );
    Err(Error::Answer {
        program: cmd.program().to_owned(),
        detail,
    })
}
