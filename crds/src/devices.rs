//! The devices that a StorageBackend lists for its volume group, and what a node reports about
//! each of them. Pure.

use std::collections::BTreeSet;

use device_path::DevicePath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::validation::ValidationError;

/// State of a device that StorageBackends list for a volume group of this node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeDevice {
    /// Volume group that lists the device.
    pub volume_group: String,
    /// Path of the device, as the StorageBackend spells it.
    pub path: String,
    /// Whether the device is a physical volume of the volume group.
    pub in_volume_group: bool,
    /// Why it is not, as one identifier: `NotFound`, `NotBlank`, `InUse` and so on. Absent when
    /// `inVolumeGroup` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it is not, and what to do about it. Absent when `inVolumeGroup` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The values of [`NodeDevice::reason`].
pub mod reason {
    /// The device does not exist on this node.
    pub const NOT_FOUND: &str = "NotFound";
    /// The path leads to something other than a block device.
    pub const NOT_A_BLOCK_DEVICE: &str = "NotABlockDevice";
    /// The agent can't read the device.
    pub const UNREADABLE: &str = "Unreadable";
    /// The device is read-only.
    pub const READ_ONLY: &str = "ReadOnly";
    /// The device is mounted, used as swap, or part of another device.
    pub const IN_USE: &str = "InUse";
    /// The device has partitions.
    pub const PARTITIONED: &str = "Partitioned";
    /// The device carries data.
    pub const NOT_BLANK: &str = "NotBlank";
    /// The device is an LVM physical volume already.
    pub const PHYSICAL_VOLUME: &str = "PhysicalVolume";
    /// The device is too small.
    pub const TOO_SMALL: &str = "TooSmall";
    /// The device is the same disk as another one of the list.
    pub const DUPLICATE_DEVICE: &str = "DuplicateDevice";
    /// The device's sector size differs from that of the others.
    pub const SECTOR_SIZE: &str = "SectorSize";
    /// The device is listed for two volume groups.
    pub const CONFLICT: &str = "Conflict";
    /// The device is usable, but the volume group exists already and is not extended.
    pub const VOLUME_GROUP_EXISTS: &str = "VolumeGroupExists";
    /// The volume group was on this node and is no longer.
    pub const VOLUME_GROUP_VANISHED: &str = "VolumeGroupVanished";
    /// The agent is about to create the volume group.
    pub const CREATING: &str = "Creating";
    /// The agent could not create the volume group.
    pub const CREATE_FAILED: &str = "CreateFailed";
}

/// Validates a backend's list of devices.
///
/// The schema covers most of it, but not paths with `..` and repeated ones.
///
/// # Errors
/// The first invalid device.
pub fn validate(devices: &[String]) -> Result<(), ValidationError> {
    let mut listed = BTreeSet::new();
    for device in devices {
        validate_path("devices", device)?;
        if !listed.insert(device) {
            let problem = format!("{device} is listed twice");
            return Err(ValidationError::new("devices", problem));
        }
    }
    Ok(())
}

/// Validates a device's path in a field.
pub(crate) fn validate_path(field: &str, device: &str) -> Result<(), ValidationError> {
    if let Err(why) = DevicePath::new(device) {
        let shown: String = device.chars().take(DevicePath::LONGEST).collect();
        return Err(ValidationError::new(field, format!("{shown:?} {why}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::validate;

    fn fault(devices: &[&str]) -> Option<String> {
        let devices: Vec<String> = devices.iter().map(|path| (*path).to_owned()).collect();
        validate(&devices).err().map(|error| error.to_string())
    }

    #[test]
    fn devices_are_plain_paths_below_dev_without_repetition() {
        assert_eq!(fault(&[]), None);
        assert_eq!(
            fault(&[
                "/dev/disk/by-id/nvme-A_B:1.2",
                "/dev/disk/by-partlabel/a\\x20b",
                "/dev/sdb"
            ]),
            None
        );
        for bad in [
            "",
            "sdb",
            "/dev",
            "/dev/",
            "/etc/x",
            "/dev/../etc",
            "/dev/./sdb",
            "/dev//sdb",
            "/dev/sdb/",
            "/dev/a b",
            "/dev/ä",
        ] {
            assert!(fault(&[bad]).unwrap().starts_with("devices: "), "{bad:?}");
        }
        assert_eq!(
            fault(&["/dev/a", "/dev/b", "/dev/a"]).unwrap(),
            "devices: /dev/a is listed twice"
        );
        assert!(
            fault(&[&format!("/dev/{}", "x".repeat(255))])
                .unwrap()
                .contains("too long")
        );
    }
}
