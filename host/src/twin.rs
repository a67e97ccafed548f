//! Devices with the same file system: a snapshot or a copy beside its origin. XFS and btrfs know a file system by its
//! uuid, and refuse the second one. Called by the driver when a mount was refused.

use std::fs::File;
use std::path::Path;

use crate::device::{self, Device, Roots};
use crate::error::Error;
use crate::mounted;
use crate::mountinfo::Mount;
use crate::superblock::{self, Superblock};

/// Another device that is mounted, with the same file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twin<'a> {
    /// Where it is mounted.
    pub point: &'a Path,
    /// Whether it is a loop device that shows the device itself, and no copy.
    pub is_same: bool,
}

/// A mounted device that carries the same file system as this one; of several, one that is the same. What can't be looked
/// at is none.
///
/// # Errors
/// When this device can't be read.
pub fn mounted_twin<'a>(roots: &Roots, mounts: &'a [Mount], device: &Device) -> Result<Option<Twin<'a>>, Error> {
    let Some(own) = device.superblock()? else { return Ok(None) };
    let twin = |mount: &'a Mount| {
        let number = mounted::device_of(roots, mount).filter(|number| *number != device.number())?;
        let other = Some(mount).filter(|mount| mount.fs == own.fs.name()).and_then(|_| look(roots, number))?;
        let is_twin = (other.fs, other.uuid) == (own.fs, own.uuid);
        is_twin.then(|| Twin { point: &mount.point, is_same: is_loop_over(roots, number, device) })
    };
    Ok(mounts.iter().filter_map(twin).max_by_key(|twin| twin.is_same))
}

/// Whether the block device with this number is a loop device that shows `device`.
fn is_loop_over(roots: &Roots, number: (u32, u32), device: &Device) -> bool {
    let path = device::folder(&roots.sys, number).join("loop/backing_file");
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    let backing = Path::new(text.trim_end()).strip_prefix("/dev").map(|below| roots.dev.join(below));
    backing.is_ok_and(|path| device.is_at(&path).unwrap_or(false))
}

fn look(roots: &Roots, number: (u32, u32)) -> Option<Superblock> {
    // Reading a suspended device would be waiting for ever.
    device::refuse_suspended(&roots.sys, number).ok()?;
    let name = device::kernel_name(&roots.sys, number).ok()?;
    superblock::read(&File::open(roots.dev.join(name)).ok()?).ok()?
}
