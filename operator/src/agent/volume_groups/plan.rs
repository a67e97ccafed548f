//! What is to be done about the volume groups that are wanted: nothing, or make one of these
//! devices; and what is said of each device. Losing data is decided here: a device is taken only if
//! it is positively nobody's. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crds::devices::{NodeDevice, reason};
use crds::quantity;
use host::{Bytes, DevicePath, LvUuid, VgName};

use super::intent::Intent;
use super::wanted::WantedGroup;

/// A smaller device is none for volumes.
const SMALLEST: Bytes = Bytes(64 << 20);

/// What LVM calls the group of a physical volume that says it is part of one, while no metadata
/// tell of which. It marks them so before it writes the metadata, and gives none of them to another
/// group unless it is forced to.
const UNKNOWN_GROUP: &str = "[unknown]";

/// A block device's number.
pub type DevNum = (u32, u32);

/// How a volume group stands that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedGroup {
    /// It is on the node, of the devices with these numbers.
    Present(BTreeSet<DevNum>),
    /// It is not, and it was once.
    Vanished(GroupTrace),
    /// It is not, and never was.
    Missing,
}

/// By what a volume group is known that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTrace {
    /// In words.
    pub evidence: String,
    /// What takes it away, in words, if the group is lost for good.
    pub remedy: String,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedPath {
    /// Nothing.
    Nothing,
    /// Something else than a block device.
    NotABlockDevice,
    /// It can't be looked at, for this reason.
    Unreadable(String),
    /// A block device that is part of a wanted group.
    Member(DevNum),
    /// Another block device.
    Device(ObservedDevice),
}

impl ObservedPath {
    /// The number of the block device.
    fn number(&self) -> Option<DevNum> {
        match self {
            Self::Member(number) => Some(*number),
            Self::Device(seen) => Some(seen.number),
            _ => None,
        }
    }
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedDevice {
    /// Its number.
    pub number: DevNum,
    /// Its path by the kernel's own name.
    pub path: DevicePath,
    /// Its size.
    pub size: Bytes,
    /// The size of its sectors in bytes.
    pub sector: u64,
    /// What the hardware tells it from others by.
    pub identity: Option<String>,
    /// What it is used for.
    pub state: DeviceState,
}

/// What a block device is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Nothing.
    Blank,
    /// Nothing can be written to it.
    ReadOnly,
    /// It has these partitions.
    Partitioned(Vec<String>),
    /// Somebody has it; said in words.
    InUse(String),
    /// There is something on it that is known; said in words.
    Known(String),
    /// There is something on it that nobody knows, at this byte.
    Unknown(u64),
    /// It is a physical volume, of this group if of any.
    PhysicalVolume(LvUuid, Option<String>),
    /// It could not be looked at, for this reason.
    Unreadable(String),
}

/// A volume group that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateGroup {
    /// Its name.
    pub group: VgName,
    /// The backends that want it.
    pub backends: Vec<String>,
    /// Its devices.
    pub parts: Vec<GroupDevice>,
}

/// A device that is to be part of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDevice {
    /// Its path, as a backend names it.
    pub path: DevicePath,
    /// Its number when it was looked at.
    pub number: DevNum,
    /// The uuid of the physical volume that an agent has made of it already.
    pub uuid: Option<LvUuid>,
}

/// All that is known.
#[derive(Clone, Copy, Debug)]
pub struct GroupFacts<'a> {
    /// What is wanted.
    pub wanted: &'a [WantedGroup],
    /// How each wanted group stands.
    pub observed_groups: &'a BTreeMap<VgName, ObservedGroup>,
    /// What is at each path.
    pub found: &'a BTreeMap<DevicePath, ObservedPath>,
    /// What was begun.
    pub intents: &'a BTreeMap<VgName, Intent>,
}

/// What is to be done and said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeGroupPlan {
    /// The groups that are to be made.
    pub make: Vec<CreateGroup>,
    /// What is to be said of each device.
    pub devices: Vec<NodeDevice>,
}

/// Why a device is not taken: a reason, and a sentence.
type DeviceRejection = (&'static str, String);

/// Plans.
#[must_use]
pub fn plan(facts: GroupFacts<'_>) -> VolumeGroupPlan {
    let mut plan = VolumeGroupPlan::default();
    for wanted in facts.wanted {
        let parts = match facts.observed_groups.get(&wanted.group) {
            Some(ObservedGroup::Present(members)) => {
                let word = |path| (path, in_group(facts, wanted, members, path));
                plan.devices.extend(
                    wanted
                        .devices
                        .iter()
                        .map(word)
                        .map(|(path, word)| report_device(wanted, path, word)),
                );
                continue;
            }
            Some(ObservedGroup::Vanished(trace)) => {
                let word = vanished(&wanted.group, trace);
                plan.devices.extend(
                    wanted
                        .devices
                        .iter()
                        .map(|path| report_device(wanted, path, Err(word.clone()))),
                );
                continue;
            }
            Some(ObservedGroup::Missing) => choose(facts, wanted, &mut plan.devices),
            None => continue,
        };
        if !parts.is_empty() {
            plan.make.push(CreateGroup {
                group: wanted.group.clone(),
                backends: wanted.backends.clone(),
                parts,
            });
        }
    }
    plan
}

/// What is said of a device of a group.
fn report_device(
    wanted: &WantedGroup,
    path: &DevicePath,
    word: Result<(), DeviceRejection>,
) -> NodeDevice {
    let (reason, message) = word
        .err()
        .map(|(reason, message)| (reason.to_owned(), message))
        .unzip();
    let (volume_group, path) = (wanted.group.to_string(), path.to_string());
    NodeDevice {
        volume_group,
        path,
        in_volume_group: reason.is_none(),
        reason,
        message,
    }
}

/// Of a device of a group that is there.
fn in_group(
    facts: GroupFacts<'_>,
    wanted: &WantedGroup,
    members: &BTreeSet<DevNum>,
    path: &DevicePath,
) -> Result<(), DeviceRejection> {
    if facts
        .found
        .get(path)
        .and_then(ObservedPath::number)
        .is_some_and(|number| members.contains(&number))
    {
        return Ok(());
    }
    let seen = device(facts, path)?;
    usable(facts, wanted, path, seen)?;
    let group = &wanted.group;
    let words = format!(
        "volume group {group} was there before, and FlexLVM changes none that is; `vgextend {group} {path}` adds it"
    );
    Err((reason::VOLUME_GROUP_EXISTS, words))
}

/// Of every device of a group that was there once.
fn vanished(group: &VgName, GroupTrace { evidence, remedy }: &GroupTrace) -> DeviceRejection {
    let words = format!(
        "volume group {group} was on this node and is not any more: {evidence}. It is not made anew, since its disks may come \
         back; bring them back, or see why `vgs` and `pvs` do not show it. If it is lost for good: {remedy}"
    );
    (reason::VOLUME_GROUP_VANISHED, words)
}

/// The devices that a group can be made of, and what is said of all that are named for it.
fn choose(
    facts: GroupFacts<'_>,
    wanted: &WantedGroup,
    device_outcomes: &mut Vec<NodeDevice>,
) -> Vec<GroupDevice> {
    let mut parts = Vec::<(GroupDevice, &ObservedDevice)>::new();
    let marked = wanted
        .devices
        .iter()
        .find(|path| is_marked(facts, wanted, path));
    for path in &wanted.devices {
        let word = device(facts, path).and_then(|seen| {
            let uuid = usable(facts, wanted, path, seen)?;
            beside(&parts, seen)?;
            if let Some(marked) = marked {
                let words = format!(
                    "volume group {} is made once {marked}, which is to be part of it, is clear",
                    wanted.group
                );
                return Err((reason::CREATE_FAILED, words));
            }
            parts.push((
                GroupDevice {
                    path: path.clone(),
                    number: seen.number,
                    uuid,
                },
                seen,
            ));
            Err((
                reason::CREATING,
                format!("volume group {} is about to be made of it", wanted.group),
            ))
        });
        device_outcomes.push(report_device(wanted, path, word));
    }
    parts.into_iter().map(|(part, _)| part).collect()
}

/// The block device at a path.
fn device<'a>(
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
fn usable(
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
fn is_marked(facts: GroupFacts<'_>, wanted: &WantedGroup, path: &DevicePath) -> bool {
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
fn beside(
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

#[cfg(test)]
mod tests;
