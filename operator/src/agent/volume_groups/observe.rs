//! Observes devices, and writes to none.
//!
//! Repeated immediately before a group is created. Blocks for as long as a disk does not respond.

use host::DevNum;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use host::block::disk::{Disk, ObservedDisk};
use host::block::{DeviceError, resolve};
use host::error::chain;
use host::fs::Content;
use host::lvm::PvOwner;
use host::mount::mountinfo;
use host::stack::lookup::is_of;
use host::stack::swap::is_swap;
use host::{DevicePath, Error, Exec, Kind, Roots};

use super::plan::{DeviceState, ObservedDevice, ObservedPath};
use crate::agent::lvm::EvidencePaths;

/// The type that blkid reports for a physical volume.
const PHYSICAL_VOLUME: &str = "LVM2_member";

/// Time to wait for a device that another program holds only to inspect it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Paths and programs of the node.
#[derive(Clone)]
pub struct NodePaths {
    /// Runs the node's programs.
    pub exec: Arc<dyn Exec>,
    /// The node's `/dev` and `/sys`.
    pub roots: Roots,
    /// The node's `/proc`.
    pub proc: PathBuf,
    /// FlexLVM's folder on the node.
    pub state: PathBuf,
    /// The node's folder `/etc/lvm`.
    pub lvm: PathBuf,
}

impl NodePaths {
    /// Returns where the evidence is that the metadata of a volume group went back.
    #[must_use]
    pub fn evidence(&self) -> EvidencePaths {
        EvidencePaths {
            roots: self.roots.clone(),
            lvm: self.lvm.clone(),
            state: self.state.clone(),
        }
    }
}

/// An open device, with an exclusive claim unless another program holds one.
pub(super) struct ClaimedDisk {
    pub(super) disk: Disk,
    pub(super) claim: Option<File>,
}

/// Observes the device at a path.
#[must_use]
pub fn observe(place: &NodePaths, path: &DevicePath) -> ObservedPath {
    observe_and_claim(place, path).0
}

/// Observes the device at a path, and returns it open: as long as it is claimed, its state stays as
/// observed.
pub(super) fn observe_and_claim(
    place: &NodePaths,
    path: &DevicePath,
) -> (ObservedPath, Option<ClaimedDisk>) {
    let disk = match Disk::open(&place.roots, path) {
        Ok(disk) => disk,
        Err(error) => {
            let found = match error {
                DeviceError::Absent(_) => ObservedPath::Nothing,
                DeviceError::NotABlockDevice { .. } => ObservedPath::NotABlockDevice,
                error => ObservedPath::Unreadable(chain(&error)),
            };
            return (found, None);
        }
    };
    let disk_state = match disk.observe() {
        Ok(disk_state) => disk_state,
        Err(error) => return (ObservedPath::Unreadable(chain(&error)), None),
    };
    let (state, claim) = match state(place, &disk, &disk_state) {
        Ok(known) => known,
        Err(error) => (DeviceState::Unreadable(chain(&error)), None),
    };
    let ObservedDisk {
        size,
        sector,
        identity,
        ..
    } = disk_state;
    let seen = ObservedDevice {
        number: disk.number(),
        path: disk.path().clone(),
        size,
        sector,
        identity,
        state,
    };
    (
        ObservedPath::Device(seen),
        Some(ClaimedDisk { disk, claim }),
    )
}

/// Determines what the device is used for, the most reliable and cheapest checks first.
fn state(
    place: &NodePaths,
    disk: &Disk,
    disk_state: &ObservedDisk,
) -> Result<(DeviceState, Option<File>), Error> {
    if let Some(by) = user(place, disk, disk_state)? {
        return Ok((DeviceState::InUse(by), None));
    }
    if !disk_state.partitions.is_empty() {
        return Ok((
            DeviceState::Partitioned(disk_state.partitions.clone()),
            None,
        ));
    }
    if disk_state.read_only {
        return Ok((DeviceState::ReadOnly, None));
    }
    let claim = match claim(disk) {
        Err(error) if error.kind() == Kind::Busy => {
            let by = "another program has claimed it".to_owned();
            return Ok((DeviceState::InUse(by), None));
        }
        claim => claim?,
    };
    let state = match disk.content(&*place.exec, &claim)? {
        Content::Blank => DeviceState::Blank,
        Content::Known(what) => DeviceState::Known(what),
        Content::Unknown(at) => DeviceState::Unknown(at),
    };
    Ok((state, Some(claim)))
}

/// Returns the visible user of the device; another program may still have claimed it.
fn user(
    place: &NodePaths,
    disk: &Disk,
    disk_state: &ObservedDisk,
) -> Result<Option<String>, Error> {
    if disk_state.logical_volume {
        return Ok(Some("it is a logical volume itself".to_owned()));
    }
    if !disk_state.holders.is_empty() {
        let holders = disk_state.holders.join(", ");
        return Ok(Some(format!("{holders} is built on it")));
    }
    if let Some(point) = mount_point(place, disk.number())? {
        return Ok(Some(format!("it is mounted at {}", point.display())));
    }
    if is_swap(&place.proc, &place.roots, disk.number()) {
        return Ok(Some("it is used as swap".to_owned()));
    }
    Ok(None)
}

/// Claims a device; waits a while for another program that only inspects it, as another agent of
/// this node does.
///
/// A device that is free otherwise must not be missing in the group for that.
fn claim(disk: &Disk) -> Result<File, Error> {
    let begun = Instant::now();
    loop {
        match disk.claim() {
            Err(error) if error.kind() == Kind::Busy && begun.elapsed() < PATIENCE => {
                sleep(PATIENCE / 100);
            }
            claim => return claim,
        }
    }
}

fn mount_point(place: &NodePaths, number: DevNum) -> Result<Option<PathBuf>, Error> {
    let mounts = mountinfo::read(&place.proc.join("1/mountinfo"))?;
    let mount = mounts
        .iter()
        .find(|mount| is_of(&place.roots, mount, number));
    Ok(mount.map(|mount| mount.point.clone()))
}

/// Returns whether LVM's owners of the devices are needed.
#[must_use]
pub fn needs_owners(found: &BTreeMap<DevicePath, ObservedPath>) -> bool {
    found.values().any(|found| match found {
        ObservedPath::Device(seen) => match &seen.state {
            DeviceState::Known(what) => what == PHYSICAL_VOLUME,
            DeviceState::InUse(_) => true,
            _ => false,
        },
        _ => false,
    })
}

/// Sets a device's state to `PhysicalVolume` if LVM lists it as one.
pub fn name_owner(roots: &Roots, found: &mut ObservedPath, owners: &[PvOwner]) {
    let ObservedPath::Device(seen) = found else {
        return;
    };
    if seen.state == DeviceState::Blank {
        return;
    }
    let owner = owners
        .iter()
        .find(|owner| number_of(roots, &owner.name) == Some(seen.number));
    if let Some(owner) = owner {
        seen.state = DeviceState::PhysicalVolume(owner.uuid.clone(), owner.group.clone());
    }
}

/// Returns the number of the device with LVM's name for it.
#[must_use]
pub fn number_of(roots: &Roots, name: &str) -> Option<DevNum> {
    resolve::number_at(roots, &DevicePath::new(name).ok()?)
}
