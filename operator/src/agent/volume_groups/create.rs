//! Creates a volume group. Requires LVM's lock, on a thread that may block.
//!
//! Each step continues from the state that an earlier attempt left, by this or another agent: the
//! intent is on disk before any device is touched, each physical volume gets the uuid recorded in
//! it, and `vgcreate` creates the group atomically. If another program uses a device between the
//! agent's check and LVM's, LVM's check decides: it claims the device, and wipes nothing without a
//! flag.

use host::lvm::{Lvm, PvOwner, backup, tags};
use host::{DevicePath, Error, LvTag, LvUuid};

use super::intent::{self, Intent, IntentDevice};
use super::observe::{self, ClaimedDisk, NodePaths};
use super::plan::{CreateGroup, DeviceState, GroupDevice, ObservedPath};

/// Creates the group unless it exists.
///
/// # Errors
/// If a device changed since the plan, or LVM refuses. The next attempt continues from what was
/// done.
pub fn create(place: &NodePaths, create: &CreateGroup) -> Result<(), Error> {
    let lvm = Lvm(&*place.exec);
    let group = &create.group;
    let _lock = intent::lock(&place.state)?;
    if lvm
        .report()?
        .groups
        .iter()
        .any(|vg| vg.name == group.as_str())
    {
        return Ok(());
    }
    if let Some(backup) = backup::path_of(&place.lvm, group.as_str()) {
        let message = format!(
            "{} shows that volume group {group} existed meanwhile",
            backup.display()
        );
        return Err(Error::failed(message));
    }
    let owners = lvm.disks()?;
    let held = create
        .parts
        .iter()
        .map(|part| claim_again(place, part, &owners))
        .collect::<Result<Vec<_>, _>>()?;
    let uuids = record_intent(place, create)?;
    let mut disks = Vec::new();
    // The descriptors stay open to the end, so that no device number is reused; the claims are held
    // until LVM takes its own.
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
    intent::remove(&place.state, group)
}

/// Opens and claims a device again, if it still is as planned.
fn claim_again(
    place: &NodePaths,
    part: &GroupDevice,
    owners: &[PvOwner],
) -> Result<ClaimedDisk, Error> {
    let (mut found, held) = observe::observe_and_claim(place, &part.path);
    observe::name_owner(&place.roots, &mut found, owners);
    let is_as_planned = match &found {
        ObservedPath::Device(seen) if seen.number == part.number => match &seen.state {
            DeviceState::Blank => part.uuid.is_none(),
            DeviceState::PhysicalVolume(uuid, None) => part.uuid.as_ref() == Some(uuid),
            _ => false,
        },
        _ => false,
    };
    let unchanged = held.filter(|held| is_as_planned && held.claim.is_some());
    unchanged.ok_or_else(|| Error::busy(format!("{} changed during the check", part.path)))
}

/// Records the planned devices, with the uuid of each physical volume.
///
/// Earlier entries stay: an earlier attempt may have left physical volumes with their uuids.
fn record_intent(place: &NodePaths, create: &CreateGroup) -> Result<Vec<LvUuid>, Error> {
    let mut intent: Intent = intent::read(&place.state, &create.group)?;
    let mut uuids = Vec::new();
    for part in &create.parts {
        let uuid = match &part.uuid {
            Some(uuid) => uuid.clone(),
            None => host::random::lv_uuid()
                .map_err(Error::io("choose a uuid for", part.path.as_str()))?,
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

/// Returns a tag for each backend that lists devices for the group.
fn tags_of(create: &CreateGroup) -> Result<Vec<LvTag>, Error> {
    let tags = create
        .backends
        .iter()
        .map(|name| LvTag::new(format!("{}{name}", tags::BACKEND)))
        .collect::<Result<_, _>>();
    tags.map_err(|error| Error::failed(error.to_string()))
}

/// Returns the paths of a group's devices, for a log line.
#[must_use]
pub fn paths(create: &CreateGroup) -> Vec<&str> {
    create
        .parts
        .iter()
        .map(|part| DevicePath::as_str(&part.path))
        .collect()
}
