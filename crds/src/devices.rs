//! The devices that a StorageBackend names for its volume group, and what a node says of each of
//! them. Pure.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// No path of a device is longer.
const LONGEST: usize = 255;

/// What became of a device that StorageBackends name for a volume group of this node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeDevice {
    /// The volume group that it is for.
    pub volume_group: String,
    /// The device, as the StorageBackend names it.
    pub path: String,
    /// Whether it is part of the volume group.
    pub in_volume_group: bool,
    /// Why it is not, in one word: `NotFound`, `NotBlank`, `InUse` and so on. Left out when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it is not, and what can be done about it. Left out when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The reasons of [`NodeDevice`].
pub mod reason {
    /// There is no such device on this node.
    pub const NOT_FOUND: &str = "NotFound";
    /// There is something else than a block device.
    pub const NOT_A_BLOCK_DEVICE: &str = "NotABlockDevice";
    /// It can't be looked at.
    pub const UNREADABLE: &str = "Unreadable";
    /// Nothing can be written to it.
    pub const READ_ONLY: &str = "ReadOnly";
    /// It is mounted, swapped to, or part of another device.
    pub const IN_USE: &str = "InUse";
    /// It has partitions.
    pub const PARTITIONED: &str = "Partitioned";
    /// There is something on it.
    pub const NOT_BLANK: &str = "NotBlank";
    /// It is a physical volume of LVM already.
    pub const PHYSICAL_VOLUME: &str = "PhysicalVolume";
    /// It is too small.
    pub const TOO_SMALL: &str = "TooSmall";
    /// It is the same disk as another one of the list.
    pub const DUPLICATE_DEVICE: &str = "DuplicateDevice";
    /// Its sectors have another size than those of the others.
    pub const SECTOR_SIZE: &str = "SectorSize";
    /// It is named for two volume groups.
    pub const CONFLICT: &str = "Conflict";
    /// It could be part of the volume group, which was there before.
    pub const VOLUME_GROUP_EXISTS: &str = "VolumeGroupExists";
    /// The volume group was on this node, and is not any more.
    pub const VOLUME_GROUP_VANISHED: &str = "VolumeGroupVanished";
    /// The volume group is about to be made.
    pub const CREATING: &str = "Creating";
    /// The volume group could not be made.
    pub const CREATE_FAILED: &str = "CreateFailed";
}

/// What is wrong with a backend's list of devices, in one sentence; `None` when nothing is. The
/// schema says most of it.
#[must_use]
pub fn fault(devices: &[String]) -> Option<String> {
    let mut seen = BTreeSet::new();
    devices.iter().find_map(|device| {
        let shown: String = device.chars().take(LONGEST).collect();
        if let Err(why) = check(device) {
            return Some(format!("devices: {shown:?} {why}"));
        }
        (!seen.insert(device)).then(|| format!("devices: {shown} is named twice"))
    })
}

fn check(device: &str) -> Result<(), &'static str> {
    let Some(below) = device.strip_prefix("/dev/") else {
        return Err("does not begin with /dev/");
    };
    if device.len() > LONGEST {
        return Err("is too long");
    }
    if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("is no plain path below /dev");
    }
    if !below.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has characters that no device's path has");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn only_plain_paths_below_dev_are_devices_and_each_once() {
        let fault = |devices: &[&str]| {
            fault(
                &devices
                    .iter()
                    .map(|device| (*device).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
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
            "/dev/a b",
            "/dev/ä",
        ] {
            assert!(fault(&[bad]).unwrap().starts_with("devices: "), "{bad:?}");
        }
        assert_eq!(
            fault(&["/dev/a", "/dev/b", "/dev/a"]).unwrap(),
            "devices: /dev/a is named twice"
        );
        assert!(
            fault(&[&format!("/dev/{}", "x".repeat(255))])
                .unwrap()
                .contains("too long")
        );
    }
}
