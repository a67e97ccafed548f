//! The device stack: what lies on a volume's device, where it is mounted, and who holds it.
//!
//! A file system may lie on the logical volume itself, or on a device that is built on it: a crypt
//! device, a partition, a RAID, a volume of another group. [`DeviceStack`] has all these levels.
//!
//! [`lookup`] maps a mount to its device; [`duplicate_fs`] finds a second device with the same file
//! system; [`processes`] finds what processes of other mount namespaces hold; [`swap`] reads what
//! the kernel swaps to.

pub mod duplicate_fs;
pub mod lookup;
pub mod processes;
pub mod swap;

use std::path::Path;

use crate::block::dev_num::DevNum;
use crate::block::lv_device::Roots;
use crate::block::sysfs;
use crate::error::Error;
use crate::mount::mountinfo::Mount;

/// Linux's major number of loop devices.
const LOOP: u32 = 7;

/// A block device, and all devices that are built on it.
///
/// Loop devices are not levels, since they claim nothing; [`mounts`](Self::mounts) has their mounts
/// all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStack {
    /// The device itself first, each other one after a device that it is built on.
    levels: Vec<DevNum>,
}

impl DeviceStack {
    /// Observes what is built on the block device with this number.
    ///
    /// # Errors
    /// When sysfs can't be read: then the stack is unknown.
    pub fn above(sys: &Path, number: DevNum) -> Result<Self, Error> {
        let mut levels = vec![number];
        let mut examined = 0;
        while let Some(below) = levels.get(examined).copied() {
            for level in sysfs::built_on(sys, below)? {
                if !levels.contains(&level) {
                    levels.push(level);
                }
            }
            examined += 1;
        }
        Ok(Self { levels })
    }

    /// Returns the numbers of the device itself and of all devices on it.
    #[must_use]
    pub fn levels(&self) -> &[DevNum] {
        &self.levels
    }

    /// Returns the mounts of all levels, and those through loop devices that are backed by a level.
    pub fn mounts<'a>(
        &self,
        roots: &Roots,
        mounts: &'a [Mount],
    ) -> impl Iterator<Item = &'a Mount> {
        mounts.iter().filter(move |mount| {
            let number = lookup::device_of(roots, mount);
            number.is_some_and(|it| self.levels.contains(&it) || self.backs(roots, it))
        })
    }

    /// Returns a mount through a loop device that is backed by a level.
    ///
    /// The kernel allows both mounts at a time, as two independent file systems that destroy each
    /// other's data.
    #[must_use]
    pub fn mount_through_loop<'a>(&self, roots: &Roots, mounts: &'a [Mount]) -> Option<&'a Mount> {
        mounts.iter().find(|mount| {
            lookup::device_of(roots, mount).is_some_and(|number| self.backs(roots, number))
        })
    }

    /// Returns whether the device with this number is a loop device that is backed by a level.
    fn backs(&self, roots: &Roots, number: DevNum) -> bool {
        number.major == LOOP
            && backing_device(roots, number).is_some_and(|it| self.levels.contains(&it))
    }
}

/// Returns the block device behind a loop device; `None` if it is a file or can't be determined.
fn backing_device(roots: &Roots, number: DevNum) -> Option<DevNum> {
    let path = sysfs::folder(&roots.sys, number).join("loop/backing_file");
    let text = std::fs::read_to_string(path).ok()?;
    lookup::number_at(roots, Path::new(text.trim_end()))
}

/// Returns the device with this number and those below it, as long as each is a crypt device: the
/// last is the one that belongs to a volume.
///
/// The result ends early where sysfs can't be read.
#[must_use]
pub fn down_to_volume(sys: &Path, number: DevNum) -> Vec<DevNum> {
    let mut levels = vec![number];
    let mut top = number;
    while sysfs::is_crypt(sys, top)
        && let Ok([below]) = sysfs::built_from(sys, top).as_deref()
        && !levels.contains(below)
    {
        levels.push(*below);
        top = *below;
    }
    levels
}

#[cfg(test)]
mod tests;
