//! Size and state of an active logical volume's device, as the kernel reports them in sysfs.
//!
//! The device is not opened, and no program runs. LVM's metadata may differ: an LVM command that was
//! killed, or failed half-way, leaves a device with its former size, or suspended.

use super::DeviceError;
use super::lv_device::{Roots, locate};
use super::sysfs;
use crate::lvm::names::{LvName, LvUuid, VgName};
use crate::units::Bytes;

/// What the kernel reports of a logical volume's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// Its size in bytes.
    pub size: Bytes,
    /// Whether it is suspended: reads and writes wait until it is resumed.
    pub is_suspended: bool,
}

impl DeviceState {
    /// Reads the state of the active logical volume `group`/`name` if its LVM uuid is `uuid`.
    ///
    /// # Errors
    /// `Absent` when the volume is inactive, `AnotherVolume` when another volume has the name; else
    /// when the device can't be examined.
    pub fn read(
        roots: &Roots,
        group: &VgName,
        name: &LvName,
        uuid: &LvUuid,
    ) -> Result<Self, DeviceError> {
        let (_handle, number) = locate(roots, group, name)?;
        let (found, _kernel_name) = sysfs::identify(&roots.sys, number)?;
        DeviceError::check_uuid(group, name, &found, uuid)?;
        Ok(Self {
            size: sysfs::size(&roots.sys, number)?,
            is_suspended: sysfs::is_suspended(&roots.sys, number),
        })
    }
}
