//! What is to be done about the volume groups that are wanted: nothing, or make one of these
//! devices; and what is said of each device. Losing data is decided here: a device is taken only if
//! it is positively nobody's. Pure.

mod device;

use std::collections::{BTreeMap, BTreeSet};

use crds::devices::{NodeDevice, reason};
use host::{Bytes, DevicePath, LvUuid, VgName};

use super::intent::Intent;
use super::wanted::WantedGroup;
use device::{beside, device, is_marked, usable};

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

#[cfg(test)]
mod tests;
