//! Finds another device with the same file system: a snapshot or a copy next to its origin.
//!
//! XFS and btrfs identify a file system by its uuid, and refuse the second one.

use crate::block::dev_num::DevNum;
use std::fs::File;
use std::path::Path;

use crate::block::lv_device::{Device, Roots};
use crate::block::sysfs;
use crate::error::Error;
use crate::fs::superblock::{self, Superblock};
use crate::mount::mountinfo::Mount;
use crate::stack::lookup;

/// Returns where another device with the same file system is mounted.
///
/// A device that can't be read counts as different.
///
/// # Errors
/// When this device can't be read.
pub fn mounted_duplicate<'a>(
    roots: &Roots,
    mounts: &'a [Mount],
    device: &Device,
) -> Result<Option<&'a Path>, Error> {
    let Some(own) = device.superblock()? else {
        return Ok(None);
    };
    let duplicate = mounts.iter().find(|mount| {
        let number = lookup::device_of(roots, mount).filter(|number| *number != device.number());
        let number = number.filter(|_| mount.fs == own.fs.name());
        number
            .and_then(|number| read_superblock(roots, number))
            .is_some_and(|other| (other.fs, other.uuid) == (own.fs, own.uuid))
    });
    Ok(duplicate.map(|mount| mount.point.as_path()))
}

fn read_superblock(roots: &Roots, number: DevNum) -> Option<Superblock> {
    // A read of a suspended device would block until it is resumed.
    sysfs::refuse_suspended(&roots.sys, number).ok()?;
    let name = sysfs::kernel_name(&roots.sys, number).ok()?;
    superblock::read(&File::open(roots.dev.join(name)).ok()?).ok()?
}
