//! A volume that LVM extends: until its new end is zeroed, no other program uses it.
//!
//! The free extents that LVM adds may contain signatures of a former volume, such as the superblock
//! of an md array. The end behind the former size belongs to no file system while the agent has the
//! volume's lock, under which alone the driver grows file systems. If the agent stops before the
//! zeros, the driver writes them before it grows the file system.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use host::fs::NewBlocks;
use host::{Bytes, Device, Error, Lock, LvUuid, fs};

/// Maximum time to wait for the driver, which may mount the volume.
const WAIT: Duration = Duration::from_secs(5);

/// An active volume, held since before its extension.
#[derive(Debug)]
pub struct GrowingVolume {
    device: Device,
    /// The device, open for writing, and claimed unless it is mounted: no other program can then
    /// assemble an array from it. `None` where the kernel refuses writes.
    writable: Option<File>,
    /// Size before the extension.
    former_size: Bytes,
    _lock: Lock,
}

impl GrowingVolume {
    /// Holds the volume of this device; `locks` is the folder of the driver's locks.
    ///
    /// # Errors
    /// `Busy` if the driver works on the volume; else if the device can't be opened.
    pub(super) fn hold(device: Device, uuid: &LvUuid, locks: &Path) -> Result<Self, Error> {
        let lock = Lock::acquire_alone(locks, uuid, WAIT)?;
        let writable = match device.claim() {
            Ok(claimed) => Some(claimed),
            Err(_) => open_unclaimed(&device)?,
        };
        Ok(Self {
            former_size: device.size()?,
            device,
            writable,
            _lock: lock,
        })
    }

    /// Zeroes the end of the extended volume behind its former size, and releases the volume. `blocks`
    /// is what the new end contains.
    ///
    /// # Errors
    /// If the device can't be read or written.
    pub(super) fn zero_new_end(self, blocks: NewBlocks) -> Result<(), Error> {
        let path = self.device.mapper_path();
        match &self.writable {
            Some(file) => fs::zero_new_end(file, &path, self.former_size, blocks),
            None => Ok(()),
        }
    }
}

/// Opens a device that is mounted, or read-only.
fn open_unclaimed(device: &Device) -> Result<Option<File>, Error> {
    match device.open_for_writing() {
        Ok(file) => Ok(Some(file)),
        Err(error) if fs::is_write_refused(&error) => Ok(None),
        Err(error) => Err(Error::io("open for writing", device.mapper_path())(error)),
    }
}
