//! Reads the current size of a mounted file system, without relying on a program's exit status.

use std::path::Path;

use rustix::fs::{Advice, fadvise, statfs};

use crate::block::lv_device::Device;
use crate::error::Error;
use crate::units::Bytes;

/// Returns the size in bytes of the file system on `device` that is mounted on `point`.
///
/// ext4's superblock on the device is always as recent as the kernel's state. XFS writes its
/// superblock only some time after growth, and statfs(2) may report a quota's limit instead of the
/// size: neither is ever too large, so the larger one is correct.
///
/// # Errors
/// When one of them can't be read.
pub fn size(device: &Device, point: &Path) -> Result<Bytes, Error> {
    // XFS bypasses the device's page cache, so drop what is cached. Where that fails, the file
    // system itself holds the pages.
    let _ = fadvise(device.file(), 0, None, Advice::DontNeed);
    let superblock = device.superblock()?.ok_or_else(|| {
        let message = format!(
            "no file system found any more on {}",
            device.mapper_path().display()
        );
        Error::failed(message)
    })?;
    let shown = statfs(point).map_err(|errno| Error::io("measure", point)(errno.into()))?;
    let blocks = u64::try_from(shown.f_bsize)
        .ok()
        .and_then(|size| shown.f_blocks.checked_mul(size))
        .unwrap_or(0);
    Ok(superblock
        .size
        .max(Bytes(blocks.saturating_add(superblock.excluded.0))))
}
