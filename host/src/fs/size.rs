//! How large a mounted file system is by now. The driver doesn't take a program's word for it.

use std::path::Path;

use rustix::fs::{Advice, fadvise, statfs};

use crate::block::lv_device::Device;
use crate::error::{Error, Kind};
use crate::units::Bytes;

/// The size of the file system on `device` that is mounted on `point`, from the device's begin to
/// its end.
///
/// ext4's superblock on the device is always as new as the kernel's. XFS writes its own only some
/// time after it has grown, and what the kernel says instead may be a quota's limit: neither is
/// ever too large, so the larger one is true.
///
/// # Errors
/// When one of them can't be read.
pub fn size(device: &Device, point: &Path) -> Result<Bytes, Error> {
    // XFS goes past what is cached of the device. Where that can't be dropped, it is the file
    // system's own.
    let _ = fadvise(device.file(), 0, None, Advice::DontNeed);
    let look = device.superblock()?.ok_or_else(|| {
        let message = format!(
            "there is no file system any more on {}",
            device.mapper_path().display()
        );
        Error::refused(Kind::Failed, message)
    })?;
    let shown = statfs(point).map_err(|errno| Error::io("measure", point)(errno.into()))?;
    let blocks = u64::try_from(shown.f_bsize)
        .ok()
        .and_then(|size| shown.f_blocks.checked_mul(size))
        .unwrap_or(0);
    Ok(look.size.max(Bytes(blocks.saturating_add(look.left_out.0))))
}
