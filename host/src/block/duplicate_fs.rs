//! Devices with the same file system.
//!
//! Either a snapshot or a copy next to its origin (XFS and btrfs identify a file system by its uuid
//! and refuse the second one), or the very same blocks through a loop device.

use crate::block::dev_num::DevNum;
use std::fs::File;
use std::path::Path;

use crate::block::lv_device::{Device, Roots};
use crate::block::sysfs;
use crate::error::Error;
use crate::fs::superblock::{self, Superblock};
use crate::mount::lookup;
use crate::mount::mountinfo::Mount;

/// Linux's major number of loop devices.
const LOOP: u32 = 7;

/// Returns where a loop device backed by this device is mounted.
///
/// A loop device claims nothing: the kernel allows both mounts at a time, as two independent file
/// systems that destroy each other's data.
#[must_use]
pub fn mounted_through_loop<'a>(
    roots: &Roots,
    mounts: &'a [Mount],
    device: &Device,
) -> Option<&'a Path> {
    let duplicate = mounts.iter().find(|mount| {
        lookup::device_of(roots, mount)
            .is_some_and(|number| number.major == LOOP && is_loop_over(roots, number, device))
    });
    duplicate.map(|mount| mount.point.as_path())
}

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

/// Returns whether the block device with this number is a loop device backed by `device`.
fn is_loop_over(roots: &Roots, number: DevNum, device: &Device) -> bool {
    let path = sysfs::folder(&roots.sys, number).join("loop/backing_file");
    let Ok(text) = std::fs::read_to_string(path) else {
        return false;
    };
    let backing = Path::new(text.trim_end())
        .strip_prefix("/dev")
        .map(|below| roots.dev.join(below));
    backing.is_ok_and(|path| device.is_at(&path).unwrap_or(false))
}

fn read_superblock(roots: &Roots, number: DevNum) -> Option<Superblock> {
    // A read of a suspended device would block until it is resumed.
    sysfs::refuse_suspended(&roots.sys, number).ok()?;
    let name = sysfs::kernel_name(&roots.sys, number).ok()?;
    superblock::read(&File::open(roots.dev.join(name)).ok()?).ok()?
}
