//! Why a block device can't be opened: what callers distinguish.

use device_path::DevicePathError;

use crate::block::dev_num::DevNum;
use crate::error::{Error, IoError};
use crate::lvm::names::{LvName, LvUuid, VgName};

/// Why a block device can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is positively nothing at the path. A logical volume is inactive or absent then.
    #[error(transparent)]
    Absent(IoError),
    /// There is something else than a block device at the path.
    #[error("{path} is not a block device")]
    NotABlockDevice {
        /// The path.
        path: String,
    },
    /// Another logical volume has the name.
    #[error(
        "logical volume {group}/{name} is another one than the volume's: its LVM uuid is {found}, expected {expected}"
    )]
    AnotherVolume {
        /// Name of the volume group.
        group: VgName,
        /// Name of both logical volumes.
        name: LvName,
        /// LVM's uuid of the logical volume that has the name.
        found: LvUuid,
        /// LVM's uuid of the expected one.
        expected: LvUuid,
    },
    /// The device is not a logical volume, or a hidden layer of one.
    #[error("the device {number} is not a logical volume")]
    NotALogicalVolume {
        /// Number of the device.
        number: DevNum,
    },
    /// The device is suspended: a read of it would block until it is resumed.
    #[error(
        "the device {number} is suspended: an LVM command is changing it, or was killed meanwhile; if it stays suspended, \
         `dmsetup info` shows it and `lvchange --refresh` of the logical volume resumes it"
    )]
    Suspended {
        /// Number of the device.
        number: DevNum,
    },
    /// The link in sysfs does not lead to a device.
    #[error("{link} has no target")]
    NoTarget {
        /// Path of the link.
        link: String,
    },
    /// The path by the kernel's own name can't be used.
    #[error("{path} {why}")]
    Name {
        /// The path.
        path: String,
        /// Why.
        why: DevicePathError,
    },
    /// The device can't be examined: whether it is there is unknown.
    #[error(transparent)]
    Unknown(#[from] IoError),
}

impl DeviceError {
    /// Checks that the logical volume of this name is the expected one.
    ///
    /// # Errors
    /// `AnotherVolume` when it is not.
    pub(super) fn check_uuid(
        group: &VgName,
        name: &LvName,
        found: &LvUuid,
        expected: &LvUuid,
    ) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::AnotherVolume {
            group: group.clone(),
            name: name.clone(),
            found: found.clone(),
            expected: expected.clone(),
        })
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Absent(error) | DeviceError::Unknown(error) => Self::Io(error),
            DeviceError::Suspended { .. } => Self::Busy(error.to_string()),
            DeviceError::NotABlockDevice { .. }
            | DeviceError::AnotherVolume { .. }
            | DeviceError::NotALogicalVolume { .. }
            | DeviceError::NoTarget { .. }
            | DeviceError::Name { .. } => Self::Failed(error.to_string()),
        }
    }
}
