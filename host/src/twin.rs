//! Devices with the same file system: a snapshot or a copy beside its origin. XFS and btrfs know a file system by its
//! uuid, and refuse the second one. Called by the driver when a mount was refused.

use std::fs::File;
use std::path::Path;

use crate::device::{self, Device, Roots};
use crate::error::Error;
use crate::mounted;
use crate::mountinfo::Mount;
use crate::superblock::{self, Superblock};

/// Where another device is mounted that carries the same file system as this one. What can't be looked at is none.
///
/// # Errors
/// When this device can't be read.
pub fn mounted_twin<'a>(roots: &Roots, mounts: &'a [Mount], device: &Device) -> Result<Option<&'a Path>, Error> {
    let Some(own) = device.superblock()? else { return Ok(None) };
    let is_twin = |mount: &&Mount| {
        mount.fs == own.fs.name()
            && mounted::device_of(roots, mount)
                .filter(|number| *number != device.number())
                .and_then(|number| look(roots, number))
                .is_some_and(|other| (other.fs, other.uuid) == (own.fs, own.uuid))
    };
    Ok(mounts.iter().find(is_twin).map(|mount| mount.point.as_path()))
}

fn look(roots: &Roots, number: (u32, u32)) -> Option<Superblock> {
    // Reading a suspended device would be waiting for ever.
    device::refuse_suspended(&roots.sys, number).ok()?;
    let name = device::kernel_name(&roots.sys, number).ok()?;
    superblock::read(&File::open(roots.dev.join(name)).ok()?).ok()?
}
