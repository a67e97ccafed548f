//! Grows file systems while they are mounted.

use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use rustix::fs::statfs;

use super::{Filesystem, size};
use crate::block::lv_device::Device;
use crate::error::{Error, Kind};
use crate::format_marker::filesystem_size;
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

/// Grows a mounted file system to the end of its device, but for the space at the end that mkfs
/// leaves unused, too.
///
/// Does nothing if it has that size or a larger one: it never shrinks. Verifies the new size itself,
/// since Kubernetes publishes it as the size of the volume.
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
    let device_size = device.size()?;
    let target = filesystem_size(device_size);
    // To a smaller size, xfs_growfs and btrfs would shrink it.
    if size(device, point)? >= target {
        return Ok(());
    }
    let cmd = command(fs, &device.path(), point, target, block_size(point)?).timeout(time);
    let output = exec.exec(&cmd)?;
    if !output.success() {
        return Err(output.failed(&cmd, Kind::Failed));
    }
    let used = size(device, point)?;
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

/// Returns the command that resizes the mounted file system to `target`; `block` is the size of its
/// blocks in bytes.
fn command(fs: Filesystem, device: &Path, point: &Path, target: Bytes, block: NonZeroU64) -> Cmd {
    let shown = point.display().to_string();
    match fs {
        Filesystem::Ext4 => Cmd::new("resize2fs")
            .arg(device.display().to_string())
            .arg(format!("{}K", target.0 >> 10)),
        Filesystem::Xfs => Cmd::new("xfs_growfs")
            .args(["-D".to_owned(), (target.0 / block).to_string()])
            .arg(shown),
        Filesystem::Btrfs => Cmd::new("btrfs")
            .args(["filesystem", "resize"])
            .arg(target.0.to_string())
            .arg(shown),
    }
}

/// Returns the size in bytes of the blocks of the file system that is mounted on `point`.
fn block_size(point: &Path) -> Result<NonZeroU64, Error> {
    let shown = statfs(point).map_err(|errno| Error::io("measure", point)(errno.into()))?;
    let size = u64::try_from(shown.f_bsize).ok().and_then(NonZeroU64::new);
    size.ok_or_else(|| Error::Answer {
        program: point.display().to_string(),
        detail: format!("f_bsize={}", shown.f_bsize),
    })
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Filesystem, NonZeroU64, Path, command, fills};
    use crate::format_marker::filesystem_size;

    #[test]
    fn resize_leaves_the_same_space_at_the_end_as_mkfs() {
        let device = Bytes(768 << 20);
        let target = filesystem_size(device);
        assert_eq!(target, Bytes(767 << 20));
        assert!(fills(target, device));
        let line = |fs, block| {
            let block = NonZeroU64::new(block).unwrap();
            command(fs, Path::new("/dev/dm-3"), Path::new("/mnt"), target, block).line()
        };
        assert_eq!(line(Filesystem::Ext4, 4096), "resize2fs /dev/dm-3 785408K");
        assert_eq!(line(Filesystem::Xfs, 4096), "xfs_growfs -D 196352 /mnt");
        assert_eq!(line(Filesystem::Xfs, 512), "xfs_growfs -D 1570816 /mnt");
        assert_eq!(
            line(Filesystem::Btrfs, 4096),
            "btrfs filesystem resize 804257792 /mnt"
        );
    }
}
