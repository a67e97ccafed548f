//! Whether a device can be part of a volume group: only if it is positively nobody's. Pure.

use crds::devices::reason;
use crds::quantity;
use host::{Bytes, DevicePath, LvUuid, VgName};

use super::{
    DevNum, DeviceRejection, DeviceState, GroupDevice, GroupFacts, ObservedDevice, ObservedPath,
};
use crate::agent::volume_groups::wanted::WantedGroup;

/// A smaller device is none for volumes.
const SMALLEST: Bytes = Bytes(64 << 20);

/// What LVM calls the group of a physical volume that says it is part of one, while no metadata
/// tell of which. It marks them so before it writes the metadata, and gives none of them to another
/// group unless it is forced to.
const UNKNOWN_GROUP: &str = "[unknown]";

/// The block device at a path.
pub(super) fn device<'a>(
    facts: GroupFacts<'a>,
    path: &DevicePath,
) -> Result<&'a ObservedDevice, DeviceRejection> {
    match facts.found.get(path) {
        Some(ObservedPath::Device(seen)) => Ok(seen),
        Some(ObservedPath::Member(_)) => Err((
            reason::CONFLICT,
            "it is part of another volume group that StorageBackends name it for".to_owned(),
        )),
        Some(ObservedPath::Nothing) => Err((
            reason::NOT_FOUND,
            "there is no such device on this node".to_owned(),
        )),
        Some(ObservedPath::NotABlockDevice) => Err((
            reason::NOT_A_BLOCK_DEVICE,
            "it is not a block device".to_owned(),
        )),
        Some(ObservedPath::Unreadable(why)) => Err(unreadable(why)),
        None => Err(unreadable("nobody has yet")),
    }
}

fn unreadable(why: &str) -> DeviceRejection {
    (reason::UNREADABLE, format!("it can't be looked at: {why}"))
}

/// Whether a device can be part of a group, as far as it alone goes; with the uuid that an agent
/// gave it already.
pub(super) fn usable(
    facts: GroupFacts<'_>,
    wanted: &WantedGroup,
    path: &DevicePath,
    seen: &ObservedDevice,
) -> Result<Option<LvUuid>, DeviceRejection> {
    if let Some(other) = rival(facts, wanted, seen.number) {
        let words = format!(
            "StorageBackends name it for volume group {} and for volume group {other}, and it can be part of one",
            wanted.group
        );
        return Err((reason::CONFLICT, words));
    }
    let uuid = free(facts, wanted, path, &seen.state)?;
    if seen.size < SMALLEST {
        let (has, least) = (quantity::human(seen.size.0), quantity::human(SMALLEST.0));
        return Err((
            reason::TOO_SMALL,
            format!("it has {has}, and {least} are the least"),
        ));
    }
    Ok(uuid)
}

/// Whether nobody has a device, and nothing is on it.
fn free(
    facts: GroupFacts<'_>,
    wanted: &WantedGroup,
    path: &DevicePath,
    state: &DeviceState,
) -> Result<Option<LvUuid>, DeviceRejection> {
    // Clears all that refuses it here.
    let clear = format!(
        "if nothing on it is needed: `wipefs --all {path} && dd if=/dev/zero of={path} bs=1M count=5`"
    );
    Err(match state {
        DeviceState::Blank => return Ok(None),
        DeviceState::PhysicalVolume(uuid, None) if has_begun(facts, wanted, uuid) => {
            return Ok(Some(uuid.clone()));
        }
        DeviceState::PhysicalVolume(_, None) => {
            let words = format!(
                "it is a physical volume of LVM that no volume group has; if nothing on it is needed: `pvremove {path}`"
            );
            (reason::PHYSICAL_VOLUME, words)
        }
        DeviceState::PhysicalVolume(uuid, Some(group)) if group == UNKNOWN_GROUP => {
            let clear = format!(
                "`pvremove --force --force {path} && dd if=/dev/zero of={path} bs=1M count=5`"
            );
            let words = if has_begun(facts, wanted, uuid) {
                format!(
                    "LVM was ended while it made volume group {} of it: it is marked as part of a group, and in none; {clear} \
                     clears it, and then the group is made",
                    wanted.group
                )
            } else {
                format!(
                    "it is marked as part of a volume group that is not there: LVM was ended while it made one, or lost its \
                     metadata; if nothing on it is needed: {clear}"
                )
            };
            (reason::PHYSICAL_VOLUME, words)
        }
        DeviceState::PhysicalVolume(_, Some(group)) => (
            reason::PHYSICAL_VOLUME,
            format!("it is part of volume group {group}"),
        ),
        DeviceState::ReadOnly => (reason::READ_ONLY, "it is read-only".to_owned()),
        DeviceState::Partitioned(partitions) => (
            reason::PARTITIONED,
            format!(
                "it has partitions ({}); name a free one, or, {clear}",
                partitions.join(", ")
            ),
        ),
        DeviceState::InUse(by) => (reason::IN_USE, by.clone()),
        DeviceState::Known(what) => (reason::NOT_BLANK, format!("there is {what} on it; {clear}")),
        DeviceState::Unknown(at) => {
            let words = format!(
                "it is not blank: byte {at} is not zero, though nothing known is on it; {clear}"
            );
            (reason::NOT_BLANK, words)
        }
        DeviceState::Unreadable(why) => unreadable(why),
    })
}

/// Whether LVM was ended while it made the group of this device: then it gives the device to no
/// group, nor the others together with it, before a person clears it.
pub(super) fn is_marked(facts: GroupFacts<'_>, wanted: &WantedGroup, path: &DevicePath) -> bool {
    device(facts, path).is_ok_and(|seen| match &seen.state {
        DeviceState::PhysicalVolume(uuid, Some(group)) => {
            group == UNKNOWN_GROUP && has_begun(facts, wanted, uuid)
        }
        _ => false,
    })
}

/// Whether an agent has made this physical volume for the group, and was ended before the group was
/// there.
fn has_begun(facts: GroupFacts<'_>, wanted: &WantedGroup, uuid: &LvUuid) -> bool {
    facts
        .intents
        .get(&wanted.group)
        .is_some_and(|intent| intent.has(uuid))
}

/// Another group that the device is named for.
fn rival<'a>(facts: GroupFacts<'a>, wanted: &WantedGroup, number: DevNum) -> Option<&'a VgName> {
    let names_it =
        |path: &DevicePath| facts.found.get(path).and_then(ObservedPath::number) == Some(number);
    let mut others = facts
        .wanted
        .iter()
        .filter(|other| other.group != wanted.group);
    others
        .find(|other| other.devices.iter().any(names_it))
        .map(|other| &other.group)
}

/// Whether a device can be in one group with those that were chosen before.
pub(super) fn beside(
    parts: &[(GroupDevice, &ObservedDevice)],
    seen: &ObservedDevice,
) -> Result<(), DeviceRejection> {
    let is_same = |other: &ObservedDevice| {
        other.number == seen.number || (seen.identity.is_some() && other.identity == seen.identity)
    };
    if let Some((same, _)) = parts.iter().find(|(_, other)| is_same(other)) {
        return Err((
            reason::DUPLICATE_DEVICE,
            format!("it is the same disk as {}, by another path", same.path),
        ));
    }
    if let Some((first, other)) = parts
        .first()
        .filter(|(_, other)| other.sector != seen.sector)
    {
        let words = format!(
            "its sectors have {} bytes, those of {} have {}, and LVM has no volume group of both",
            seen.sector, first.path, other.sector
        );
        return Err((reason::SECTOR_SIZE, words));
    }
    Ok(())
}
