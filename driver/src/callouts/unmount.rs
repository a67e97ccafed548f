//! `unmount <folder>` and `unmountdevice <folder>`: removes all mounts from the folder.
//!
//! The kubelet passes only the path: the PersistentVolume and all its options may be gone, so the
//! table of mounts decides. Unmounting runs no program.

use std::ffi::OsStr;
use std::path::Path;

use flexvolume::kubelet_path::VolumeFolder;
use flexvolume::settings::DriverSettings;
use host::Error as HostError;
use host::block::sysfs;
use host::mount::mountinfo::{self, Mount};
use host::stack::{down_to_volume, lookup};

use crate::callouts::detach::deactivate_attached;
use crate::error::Error;
use crate::mounting::target_dir::{FolderScope, TargetDir};
use crate::note::Note;
use crate::volume::attachments::AttachedName;
use crate::volume::context::Node;

/// Unmounts everything that is mounted on the folder, including stacked mounts.
///
/// The folder itself stays, for the kubelet to remove.
///
/// # Errors
/// When a mount is still in use.
pub(crate) fn unmount(node: &Node<'_>, folder: &OsStr, scope: FolderScope) -> Result<(), Error> {
    let Some(folder) = TargetDir::open(folder, &node.driver, scope)? else {
        return Ok(());
    };
    let mounts = mountinfo::read(&node.mounts)?;
    let stacked = mountinfo::at(&mounts, folder.path());
    // Neither a mount nor a folder: the common case of a repeated call.
    if stacked.is_empty() && folder.is_missing() {
        return Ok(());
    }
    // Only a logical volume has a lock. Anything else, including a corrupt mount, is unmounted as
    // well.
    let sys = &node.roots.sys;
    let mut devices = Vec::new();
    for mount in stacked {
        let number = lookup::device_of(&node.roots, mount);
        devices.push(number.map_or_else(Vec::new, |number| down_to_volume(sys, number)));
    }
    let volume = devices.last().and_then(|topmost| topmost.last());
    let uuid = volume.and_then(|volume| sysfs::identify(sys, *volume).ok());
    let _lock = uuid.map(|(uuid, _)| node.lock(&uuid)).transpose()?;
    for device in devices.concat() {
        node.not_suspended(device)?;
    }
    host::mount::unmount_all(&folder.top(), folder.path())
        .map_err(|error| add_mount_below(error, &mounts, folder.path()))?;
    if folder.mounted(node)?.is_some() {
        let message = format!("{} is still mounted", folder.path().display());
        return Err(Error::Failed(message));
    }
    Ok(())
}

/// Adds the mount below the folder that keeps it in use, if there is one.
fn add_mount_below(error: HostError, mounts: &[Mount], folder: &Path) -> Error {
    let below = mounts.iter().find(|mount| {
        mount.point.starts_with(folder) && mount.point.as_os_str() != folder.as_os_str()
    });
    match (error, below) {
        (HostError::Busy(sentence), Some(mount)) => {
            Error::Failed(format!("{sentence} ({})", mount.point.display()))
        }
        (error, _) => error.into(),
    }
}

/// `unmountdevice <folder>`: unmounts, and in attach mode deactivates the volume, too, because no
/// pod of this node uses it any more.
///
/// `detach` may run elsewhere, where it can't deactivate this node's devices; `waitforattach` and
/// `mountdevice` activate the volume again. A volume that stays active is not a failure: returns a
/// note for the log.
///
/// # Errors
/// As [`unmount`].
pub(crate) fn unmount_device(
    node: &Node<'_>,
    settings: &DriverSettings,
    folder: &OsStr,
) -> Result<Option<Note>, Error> {
    unmount(node, folder, FolderScope::AllPods)?;
    let Some(place) = VolumeFolder::from_path(Path::new(folder)).filter(|_| settings.attach) else {
        return Ok(None);
    };
    let attempt = AttachedName::new(&place.name).and_then(|name| deactivate_attached(node, &name));
    Ok(attempt.unwrap_or_else(|error| {
        Some(Note::new(format!(
            "it was not deactivated: {}",
            host::error::chain(&error)
        )))
    }))
}
