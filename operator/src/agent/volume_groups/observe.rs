//! Looks at devices, and writes to none. It is done once more before a group is made. May block for
//! as long as a disk does not answer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use host::block::disk::{self, Disk, ObservedDisk};
use host::error::chain;
use host::fs::Content;
use host::lvm::PvOwner;
use host::mount::{lookup, mountinfo};
use host::{DevicePath, Error, Exec, Kind, Roots};

use super::plan::{DevNum, DeviceState, ObservedDevice, ObservedPath};

/// What blkid calls a physical volume.
const PHYSICAL_VOLUME: &str = "LVM2_member";

/// So long somebody may have a device who only looks at it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where things are on the node.
#[derive(Clone)]
pub struct NodePaths {
    /// Runs its programs.
    pub exec: Arc<dyn Exec>,
    /// Its devices.
    pub roots: Roots,
    /// Its `/proc`.
    pub proc: PathBuf,
    /// Its folder of FlexLVM.
    pub state: PathBuf,
    /// Its folder `/etc/lvm`.
    pub lvm: PathBuf,
}

/// A device that is open; claimed, if nobody else has it.
pub(super) struct ClaimedDisk {
    pub(super) disk: Disk,
    pub(super) claim: Option<File>,
}

/// What is at a path.
#[must_use]
pub fn observe(place: &NodePaths, path: &DevicePath) -> ObservedPath {
    observe_and_claim(place, path).0
}

/// What is at a path; and the device, as it was when it was looked at for as long as it is held.
pub(super) fn observe_and_claim(
    place: &NodePaths,
    path: &DevicePath,
) -> (ObservedPath, Option<ClaimedDisk>) {
    let disk = match Disk::open(&place.roots, path) {
        Ok(disk) => disk,
        Err(error) => {
            let found = match error.kind() {
                Kind::NotFound => ObservedPath::Nothing,
                Kind::Invalid => ObservedPath::NotABlockDevice,
                _ => ObservedPath::Unreadable(chain(&error)),
            };
            return (found, None);
        }
    };
    let facts = match disk.observe() {
        Ok(facts) => facts,
        Err(error) => return (ObservedPath::Unreadable(chain(&error)), None),
    };
    let (state, claim) = match state(place, &disk, &facts) {
        Ok(known) => known,
        Err(error) => (DeviceState::Unreadable(chain(&error)), None),
    };
    let ObservedDisk {
        size,
        sector,
        identity,
        ..
    } = facts;
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

/// What the device is used for, the surest and the cheapest to find out first.
fn state(
    place: &NodePaths,
    disk: &Disk,
    facts: &ObservedDisk,
) -> Result<(DeviceState, Option<File>), Error> {
    let used = |by: String| Ok((DeviceState::InUse(by), None));
    if facts.logical_volume {
        return used("it is a logical volume itself".to_owned());
    }
    if !facts.holders.is_empty() {
        return used(format!("{} is made of it", facts.holders.join(", ")));
    }
    if let Some(point) = mount_point(place, disk.number())? {
        return used(format!("it is mounted at {}", point.display()));
    }
    if is_swap(place, disk.number()) {
        return used("it is used as swap".to_owned());
    }
    if !facts.partitions.is_empty() {
        return Ok((DeviceState::Partitioned(facts.partitions.clone()), None));
    }
    if facts.read_only {
        return Ok((DeviceState::ReadOnly, None));
    }
    let claim = match claim(disk) {
        Err(error) if error.kind() == Kind::Busy => {
            return used("another program has claimed it".to_owned());
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

/// Claims a device; waits a while for whoever has it only to look, as another agent of this node
/// does. What nobody has for long must not be left out of a group.
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
    let is_of = |mount: &&mountinfo::Mount| lookup::device_of(&place.roots, mount) == Some(number);
    Ok(mounts.iter().find(is_of).map(|mount| mount.point.clone()))
}

/// For a better message: the kernel has claimed what it swaps to.
fn is_swap(place: &NodePaths, number: DevNum) -> bool {
    let swaps = fs::read_to_string(place.proc.join("swaps")).unwrap_or_default();
    let mut paths = swaps
        .lines()
        .skip(1)
        .filter_map(|line| DevicePath::new(line.split_whitespace().next()?).ok());
    paths.any(|path| disk::number_at(&place.roots, &path) == Some(number))
}

/// Whether LVM has to be asked whose these devices are.
#[must_use]
pub fn needs_owners(found: &BTreeMap<DevicePath, ObservedPath>) -> bool {
    let may_have_one = |found: &ObservedPath| {
        matches!(found, ObservedPath::Device(seen) if match &seen.state {
            DeviceState::Known(what) => what == PHYSICAL_VOLUME,
            DeviceState::InUse(_) => true,
            _ => false,
        })
    };
    found.values().any(may_have_one)
}

/// Says of a device whose physical volume it is, if LVM knows it as one.
pub fn name_owner(roots: &Roots, found: &mut ObservedPath, owners: &[PvOwner]) {
    let ObservedPath::Device(seen) = found else {
        return;
    };
    if seen.state == DeviceState::Blank {
        return;
    }
    let is_it = |owner: &&PvOwner| number_of(roots, &owner.name) == Some(seen.number);
    if let Some(owner) = owners.iter().find(is_it) {
        seen.state = DeviceState::PhysicalVolume(owner.uuid.clone(), owner.group.clone());
    }
}

/// The number of the device that LVM calls so.
#[must_use]
pub fn number_of(roots: &Roots, name: &str) -> Option<DevNum> {
    disk::number_at(roots, &DevicePath::new(name).ok()?)
}

/// LVM's own word, in its backups, that a volume group was here.
#[must_use]
pub fn backup(lvm: &Path, group: &str) -> Option<PathBuf> {
    let path = lvm.join("backup").join(group);
    // Whatever can't be looked at may be one.
    let is_none = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    fs::symlink_metadata(&path)
        .map_or_else(|error| !is_none(error), |_| true)
        .then_some(path)
}
