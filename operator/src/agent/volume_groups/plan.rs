//! Plans the wanted volume groups: which to create on which devices, and the state to report of
//! each device.
//!
//! This decides about losing data: a device is used only if it is proven to be unused. Pure.

mod device;

use host::DevNum;
use std::collections::{BTreeMap, BTreeSet};

use crds::devices::{NodeDevice, reason};
use host::{Bytes, DevicePath, LvUuid, VgName};

use super::intent::Intent;
use super::wanted::WantedGroup;
use crate::agent::condition::ReportedError;
use device::{compatible, device, is_marked, usable};

/// Observed state of a wanted volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedGroup {
    /// The group exists on the node, on the devices with these numbers.
    Present(BTreeSet<DevNum>),
    /// The group does not exist, but did before.
    Vanished(GroupTrace),
    /// The group does not exist, and never did.
    Missing,
}

/// Trace of a volume group that no longer exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTrace {
    /// What shows that the group existed; for the message.
    pub evidence: String,
    /// What removes the trace if the group is lost for good; for the message.
    pub remedy: String,
}

/// Observed object at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedPath {
    /// The path does not exist.
    Nothing,
    /// The path is not a block device.
    NotABlockDevice,
    /// The path can't be examined, for this reason.
    Unreadable(String),
    /// A block device that is part of a wanted group.
    Member(DevNum),
    /// Another block device.
    Device(ObservedDevice),
}

impl ObservedPath {
    /// Returns the number of the block device.
    fn number(&self) -> Option<DevNum> {
        match self {
            Self::Member(number) => Some(*number),
            Self::Device(seen) => Some(seen.number),
            _ => None,
        }
    }
}

/// An observed block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedDevice {
    /// Device number (major, minor).
    pub number: DevNum,
    /// Path by the kernel's name.
    pub path: DevicePath,
    /// Size in bytes.
    pub size: Bytes,
    /// Logical sector size in bytes.
    pub sector: u64,
    /// Identity of the disk (WWID or device-mapper uuid, with the partition), if it has one.
    pub identity: Option<String>,
    /// What the device is used for.
    pub state: DeviceState,
}

/// What a block device is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Unused and blank: no known signature, and zeros in its first 4 MiB.
    Blank,
    /// Read-only.
    ReadOnly,
    /// Has these partitions.
    Partitioned(Vec<String>),
    /// In use; the text names the user.
    InUse(String),
    /// Has a known signature; the text names it.
    Known(String),
    /// Has unknown content, at this byte offset.
    Unknown(u64),
    /// An LVM physical volume, of this group if of any.
    PhysicalVolume(LvUuid, Option<String>),
    /// Its state could not be determined, for this reason.
    Unreadable(String),
}

/// A volume group to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateGroup {
    /// Name of the group.
    pub group: VgName,
    /// Backends that list devices for the group.
    pub backends: Vec<String>,
    /// Devices of the group.
    pub parts: Vec<GroupDevice>,
}

/// A device of a group to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDevice {
    /// Path from the StorageBackend.
    pub path: DevicePath,
    /// Device number when it was observed.
    pub number: DevNum,
    /// LVM uuid if an agent has already made it a physical volume.
    pub uuid: Option<LvUuid>,
}

/// Inputs of [`plan`].
#[derive(Clone, Copy, Debug)]
pub struct GroupPlanInputs<'a> {
    /// The wanted groups.
    pub wanted: &'a [WantedGroup],
    /// The observed state of each wanted group.
    pub observed_groups: &'a BTreeMap<VgName, ObservedGroup>,
    /// The observed object at each path.
    pub found: &'a BTreeMap<DevicePath, ObservedPath>,
    /// The recorded intents.
    pub intents: &'a BTreeMap<VgName, Intent>,
}

/// Result of [`plan`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeGroupPlan {
    /// Groups to create.
    pub create: Vec<CreateGroup>,
    /// State to report of each device.
    pub devices: Vec<NodeDevice>,
}

/// Plans the groups to create and the state of each device.
#[must_use]
pub fn plan(inputs: GroupPlanInputs<'_>) -> VolumeGroupPlan {
    let mut plan = VolumeGroupPlan::default();
    for wanted in inputs.wanted {
        let parts = match inputs.observed_groups.get(&wanted.group) {
            Some(ObservedGroup::Present(members)) => {
                plan.devices.extend(wanted.devices.iter().map(|path| {
                    report_device(wanted, path, in_group(inputs, wanted, members, path))
                }));
                continue;
            }
            Some(ObservedGroup::Vanished(trace)) => {
                let rejection = vanished(&wanted.group, trace);
                plan.devices.extend(
                    wanted
                        .devices
                        .iter()
                        .map(|path| report_device(wanted, path, Err(rejection.clone()))),
                );
                continue;
            }
            Some(ObservedGroup::Missing) => choose(inputs, wanted, &mut plan.devices),
            None => continue,
        };
        if !parts.is_empty() {
            plan.create.push(CreateGroup {
                group: wanted.group.clone(),
                backends: wanted.backends.clone(),
                parts,
            });
        }
    }
    plan
}

/// Returns the state to report of a device of a group.
fn report_device(
    wanted: &WantedGroup,
    path: &DevicePath,
    outcome: Result<(), ReportedError>,
) -> NodeDevice {
    let rejection = outcome.err();
    NodeDevice {
        volume_group: wanted.group.to_string(),
        path: path.to_string(),
        in_volume_group: rejection.is_none(),
        reason: rejection.as_ref().map(|error| error.reason.to_owned()),
        message: rejection.map(|error| error.message),
    }
}

/// Checks a device that is listed for an existing group.
fn in_group(
    inputs: GroupPlanInputs<'_>,
    wanted: &WantedGroup,
    members: &BTreeSet<DevNum>,
    path: &DevicePath,
) -> Result<(), ReportedError> {
    if inputs
        .found
        .get(path)
        .and_then(ObservedPath::number)
        .is_some_and(|number| members.contains(&number))
    {
        return Ok(());
    }
    let seen = device(inputs, path)?;
    usable(inputs, wanted, path, seen)?;
    let group = &wanted.group;
    let message = format!(
        "volume group {group} already exists, and FlexLVM does not change existing groups; to add the device: `vgextend {group} {path}`"
    );
    Err(ReportedError::new(reason::VOLUME_GROUP_EXISTS, message))
}

/// Rejects every device of a group that existed before.
fn vanished(group: &VgName, GroupTrace { evidence, remedy }: &GroupTrace) -> ReportedError {
    let message = format!(
        "volume group {group} existed on this node and is missing now: {evidence}. It is not recreated, since its disks may come \
             back; reconnect them, or find out why `vgs` and `pvs` do not show it. If it is lost for good: {remedy}"
    );
    ReportedError::new(reason::VOLUME_GROUP_VANISHED, message)
}

/// Selects the devices to create a group on, and adds the state of all devices listed for it.
fn choose(
    inputs: GroupPlanInputs<'_>,
    wanted: &WantedGroup,
    device_outcomes: &mut Vec<NodeDevice>,
) -> Vec<GroupDevice> {
    let mut parts = Vec::<(GroupDevice, &ObservedDevice)>::new();
    let marked = wanted
        .devices
        .iter()
        .find(|path| is_marked(inputs, wanted, path));
    for path in &wanted.devices {
        let outcome = device(inputs, path).and_then(|seen| {
            let uuid = usable(inputs, wanted, path, seen)?;
            compatible(&parts, seen)?;
            if let Some(marked) = marked {
                let message = format!(
                    "volume group {} is created once {marked}, which belongs to it, is cleared",
                    wanted.group
                );
                return Err(ReportedError::new(reason::CREATE_FAILED, message));
            }
            parts.push((
                GroupDevice {
                    path: path.clone(),
                    number: seen.number,
                    uuid,
                },
                seen,
            ));
            let message = format!("volume group {} is about to be created on it", wanted.group);
            Err(ReportedError::new(reason::CREATING, message))
        });
        device_outcomes.push(report_device(wanted, path, outcome));
    }
    parts.into_iter().map(|(part, _)| part).collect()
}

#[cfg(test)]
mod tests;
