//! Makes a volume group. LVM's lock has to be held, on a thread that may block.
//!
//! Each step finds what the one before left, whoever made it: the intent is on the disk before any
//! device is touched, each physical volume gets the uuid that stands in it, and `vgcreate` makes
//! the group in one step, as far as anybody sees. Where somebody else comes between our look and
//! LVM's, LVM has the last word: it claims the device, and wipes nothing without being told to.

use host::lvm::{Lvm, PvOwner, backup, tags};
use host::{DevicePath, Error, Kind, LvTag, LvUuid};

use super::intent::{self, Intent, IntentDevice};
use super::observe::{self, ClaimedDisk, NodePaths};
use super::plan::{CreateGroup, DeviceState, GroupDevice, ObservedPath};

/// Makes the group, unless it is there.
///
/// # Errors
/// When a device is not any more what it was, or LVM refuses. What was done so far is found again.
pub fn create(place: &NodePaths, create: &CreateGroup) -> Result<(), Error> {
    let (lvm, group) = (Lvm(&*place.exec), &create.group);
    let _lock = intent::lock(&place.state)?;
    let is_it = |name: &str| name == group.as_str();
    if lvm.report()?.iter().any(|vg| is_it(&vg.name)) {
        return Ok(());
    }
    if let Some(backup) = backup::path_of(&place.lvm, group.as_str()) {
        let message = format!(
            "{} tells of a volume group {group} that was there meanwhile",
            backup.display()
        );
        return Err(Error::refused(Kind::Exists, message));
    }
    let owners = lvm.disks()?;
    let held = create
        .parts
        .iter()
        .map(|part| hold_again(place, part, &owners))
        .collect::<Result<Vec<_>, _>>()?;
    let uuids = write_down(place, create)?;
    let mut disks = Vec::new();
    // Held open to the end, so that no name becomes another device's; claimed until LVM itself
    // does.
    let mut open = Vec::new();
    for ((part, uuid), ClaimedDisk { disk, claim }) in create.parts.iter().zip(&uuids).zip(held) {
        drop(claim);
        if part.uuid.is_none() {
            lvm.create_disk(disk.path(), uuid)?;
        }
        disks.push(disk.path().clone());
        open.push(disk);
    }
    lvm.create_group(group, &tags_of(create)?, &disks)?;
    intent::forget(&place.state, group)
}

/// Opens and claims a device again, if it still is what the plan is about.
fn hold_again(
    place: &NodePaths,
    part: &GroupDevice,
    owners: &[PvOwner],
) -> Result<ClaimedDisk, Error> {
    let (mut found, held) = observe::observe_and_claim(place, &part.path);
    observe::name_owner(&place.roots, &mut found, owners);
    let is_as_planned = matches!(&found, ObservedPath::Device(seen) if seen.number == part.number && match &seen.state {
        DeviceState::Blank => part.uuid.is_none(),
        DeviceState::PhysicalVolume(uuid, None) => part.uuid.as_ref() == Some(uuid),
        _ => false,
    });
    let changed = || {
        Error::refused(
            Kind::Busy,
            format!("{} changed while it was looked at", part.path),
        )
    };
    held.filter(|held| is_as_planned && held.claim.is_some())
        .ok_or_else(changed)
}

/// Writes down what is to be made, with the uuid of each physical volume. What was written down
/// before stays: of that, too, there may be traces.
fn write_down(place: &NodePaths, create: &CreateGroup) -> Result<Vec<LvUuid>, Error> {
    let mut intent: Intent = intent::read(&place.state, &create.group)?;
    let mut uuids = Vec::new();
    for part in &create.parts {
        let uuid = match &part.uuid {
            Some(uuid) => uuid.clone(),
            None => LvUuid::random().map_err(Error::io("choose a uuid for", part.path.as_str()))?,
        };
        if !intent.has(&uuid) {
            intent.devices.push(IntentDevice {
                path: part.path.to_string(),
                uuid: uuid.to_string(),
            });
        }
        uuids.push(uuid);
    }
    intent::write(&place.state, &create.group, &intent)?;
    Ok(uuids)
}

/// Says on the group itself whose wish it was.
fn tags_of(create: &CreateGroup) -> Result<Vec<LvTag>, Error> {
    let tag = |name: &String| LvTag::new(format!("{}{name}", tags::BACKEND));
    let tags = create.backends.iter().map(tag).collect::<Result<_, _>>();
    tags.map_err(|error| Error::refused(Kind::Invalid, error.to_string()))
}

/// The paths of a group's devices, for a log.
#[must_use]
pub fn paths(create: &CreateGroup) -> Vec<&str> {
    create
        .parts
        .iter()
        .map(|part| DevicePath::as_str(&part.path))
        .collect()
}
