//! Checks whether a device can be part of a volume group: only if it is proven to be unused. Pure.

use crds::devices::reason;
use crds::quantity;
use host::{Bytes, DevicePath, LvUuid, VgName};

use super::{DevNum, DeviceState, GroupDevice, GroupPlanInputs, ObservedDevice, ObservedPath};
use crate::agent::condition::ReportedError;
use crate::agent::volume_groups::wanted::WantedGroup;

/// Minimum size of a device.
const SMALLEST: Bytes = Bytes(64 << 20);

/// LVM's name for the group of a physical volume that is marked as part of a group without metadata
/// that names it.
///
/// LVM sets the mark before it writes the metadata, and adds no such physical volume to another
/// group unless it is forced to.
const UNKNOWN_GROUP: &str = "[unknown]";

/// Returns the block device at a path.
pub(super) fn device<'a>(
    inputs: GroupPlanInputs<'a>,
    path: &DevicePath,
) -> Result<&'a ObservedDevice, ReportedError> {
    Err(match inputs.found.get(path) {
        Some(ObservedPath::Device(seen)) => return Ok(seen),
        Some(ObservedPath::Member(_)) => ReportedError::new(
            reason::CONFLICT,
            "it is part of another volume group for which StorageBackends list it",
        ),
        Some(ObservedPath::Nothing) => {
            ReportedError::new(reason::NOT_FOUND, "this node has no such device")
        }
        Some(ObservedPath::NotABlockDevice) => {
            ReportedError::new(reason::NOT_A_BLOCK_DEVICE, "it is not a block device")
        }
        Some(ObservedPath::Unreadable(why)) => unreadable(why),
        None => unreadable("not examined yet"),
    })
}

fn unreadable(why: &str) -> ReportedError {
    ReportedError::new(reason::UNREADABLE, format!("it can't be examined: {why}"))
}

/// Checks a device by itself; returns the uuid that an agent has already given it, if any.
pub(super) fn usable(
    inputs: GroupPlanInputs<'_>,
    wanted: &WantedGroup,
    path: &DevicePath,
    seen: &ObservedDevice,
) -> Result<Option<LvUuid>, ReportedError> {
    if let Some(other) = rival(inputs, wanted, seen.number) {
        let message = format!(
            "StorageBackends list it for volume groups {} and {other}; remove it from one of them",
            wanted.group
        );
        return Err(ReportedError::new(reason::CONFLICT, message));
    }
    let uuid = free(inputs, wanted, path, &seen.state)?;
    if seen.size < SMALLEST {
        let size = quantity::human(seen.size.0);
        let least = quantity::human(SMALLEST.0);
        let message = format!("it has {size}; the minimum is {least}");
        return Err(ReportedError::new(reason::TOO_SMALL, message));
    }
    Ok(uuid)
}

/// Checks that a device is unused and blank, or was prepared by an agent.
fn free(
    inputs: GroupPlanInputs<'_>,
    wanted: &WantedGroup,
    path: &DevicePath,
    state: &DeviceState,
) -> Result<Option<LvUuid>, ReportedError> {
    // Clears everything that this function rejects.
    let clear = format!(
        "to erase it, if nothing on it is needed: `wipefs --all {path} && dd if=/dev/zero of={path} bs=1M count=5`"
    );
    Err(match state {
        DeviceState::Blank => return Ok(None),
        DeviceState::PhysicalVolume(uuid, None) if has_begun(inputs, wanted, uuid) => {
            return Ok(Some(uuid.clone()));
        }
        DeviceState::PhysicalVolume(uuid, group) => {
            let is_begun = has_begun(inputs, wanted, uuid);
            let message = physical_volume(&wanted.group, path, group.as_deref(), is_begun);
            ReportedError::new(reason::PHYSICAL_VOLUME, message)
        }
        DeviceState::ReadOnly => ReportedError::new(reason::READ_ONLY, "it is read-only"),
        DeviceState::Partitioned(partitions) => {
            let partitions = partitions.join(", ");
            let message = format!(
                "it has partitions ({partitions}); list an unused partition instead, or {clear}"
            );
            ReportedError::new(reason::PARTITIONED, message)
        }
        DeviceState::InUse(by) => ReportedError::new(reason::IN_USE, by),
        DeviceState::Known(what) => {
            ReportedError::new(reason::NOT_BLANK, format!("it contains {what}; {clear}"))
        }
        DeviceState::Unknown(at) => {
            let message = format!(
                "it is not blank: byte {at} is not zero, although it has no known signature; {clear}"
            );
            ReportedError::new(reason::NOT_BLANK, message)
        }
        DeviceState::Unreadable(why) => unreadable(why),
    })
}

/// Returns the message about a physical volume that belongs to `group`, as LVM reports it.
///
/// `is_begun` if an agent created it for `wanted`.
fn physical_volume(
    wanted: &VgName,
    path: &DevicePath,
    group: Option<&str>,
    is_begun: bool,
) -> String {
    let clear =
        format!("`pvremove --force --force {path} && dd if=/dev/zero of={path} bs=1M count=5`");
    match group {
        None => format!(
            "it is an LVM physical volume without a volume group; to erase it, if nothing on it is needed: `pvremove {path}`"
        ),
        Some(UNKNOWN_GROUP) if is_begun => format!(
            "LVM was interrupted while it created volume group {wanted} on it: it is marked as part of a group, but is in none; {clear} \
             clears it, and then the agent creates the group"
        ),
        Some(UNKNOWN_GROUP) => format!(
            "it is marked as part of a volume group that does not exist: LVM was interrupted while it created one, or lost its \
             metadata; to erase it, if nothing on it is needed: {clear}"
        ),
        Some(group) => format!("it is part of volume group {group}"),
    }
}

/// Returns whether LVM was interrupted while it created the group on this device: until an admin
/// clears it, LVM adds it to no group, nor the other devices together with it.
pub(super) fn is_marked(
    inputs: GroupPlanInputs<'_>,
    wanted: &WantedGroup,
    path: &DevicePath,
) -> bool {
    device(inputs, path).is_ok_and(|seen| match &seen.state {
        DeviceState::PhysicalVolume(uuid, Some(group)) => {
            group == UNKNOWN_GROUP && has_begun(inputs, wanted, uuid)
        }
        _ => false,
    })
}

/// Returns whether an agent created this physical volume for the group and was interrupted before
/// the group existed.
fn has_begun(inputs: GroupPlanInputs<'_>, wanted: &WantedGroup, uuid: &LvUuid) -> bool {
    inputs
        .intents
        .get(&wanted.group)
        .is_some_and(|intent| intent.has(uuid))
}

/// Returns another group for which the device is listed.
fn rival<'a>(
    inputs: GroupPlanInputs<'a>,
    wanted: &WantedGroup,
    number: DevNum,
) -> Option<&'a VgName> {
    let mut others = inputs
        .wanted
        .iter()
        .filter(|other| other.group != wanted.group);
    others
        .find(|other| {
            other
                .devices
                .iter()
                .any(|path| inputs.found.get(path).and_then(ObservedPath::number) == Some(number))
        })
        .map(|other| &other.group)
}

/// Checks that a device can be in one group with those chosen before.
pub(super) fn compatible(
    parts: &[(GroupDevice, &ObservedDevice)],
    seen: &ObservedDevice,
) -> Result<(), ReportedError> {
    let same_device = parts.iter().find(|(_, other)| {
        other.number == seen.number || (seen.identity.is_some() && other.identity == seen.identity)
    });
    if let Some((same, _)) = same_device {
        let message = format!("it is the same disk as {}, under another path", same.path);
        return Err(ReportedError::new(reason::DUPLICATE_DEVICE, message));
    }
    if let Some((first, other)) = parts
        .first()
        .filter(|(_, other)| other.sector != seen.sector)
    {
        let message = format!(
            "its sectors have {} bytes, those of {} have {}; LVM does not allow both in one volume group",
            seen.sector, first.path, other.sector
        );
        return Err(ReportedError::new(reason::SECTOR_SIZE, message));
    }
    Ok(())
}
