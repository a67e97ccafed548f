//! `unmount <folder>` and `unmountdevice <folder>`: the folder is free again. The kubelet gives
//! nothing but the path: the PersistentVolume and all its options may be gone, so everything is
//! decided by the table of mounts. Unmounting runs no program.

use std::ffi::OsStr;
use std::path::Path;

use flexvolume::kubelet_path::VolumeFolder;
use flexvolume::settings::DriverSettings;
use host::block::sysfs;
use host::mount::lookup::device_of;
use host::mount::mountinfo::{self, Mount};
use host::{Error as HostError, Kind};

use crate::callouts::detach::deactivate_attached;
use crate::error::Error;
use crate::mounting::target_dir::{FolderScope, TargetDir};
use crate::volume::attachments::AttachedName;
use crate::volume::context::Node;

/// Takes down whatever is mounted on the folder, however often; nothing is mounted there when it
/// returns. The folder stays, for the kubelet to remove.
///
/// # Errors
/// `Busy` when something is still in use.
pub(crate) fn unmount(node: &Node<'_>, folder: &OsStr, scope: FolderScope) -> Result<(), Error> {
    let Some(folder) = TargetDir::open(folder, &node.driver, scope)? else {
        return Ok(());
    };
    let mounts = mountinfo::read(&node.mounts)?;
    let there = mountinfo::at(&mounts, folder.path());
    // Not in the table, and no entry to be overlooked: the common repetition.
    if there.is_empty() && folder.is_missing() {
        return Ok(());
    }
    // Only a logical volume has a lock. Whatever else got there, or is corrupt, is taken down all
    // the same.
    let device_of = |mount: &&Mount| device_of(&node.roots, mount);
    let uuid = there
        .last()
        .and_then(device_of)
        .and_then(|top| sysfs::identify(&node.roots.sys, top).ok());
    let _lock = uuid.map(|(uuid, _)| node.lock(&uuid)).transpose()?;
    for device in there.iter().filter_map(device_of) {
        node.not_suspended(device)?;
    }
    host::mount::unmount_all(&folder.top(), folder.path()).map_err(|error| {
        let below = mounts.iter().find(|mount| {
            mount.point.starts_with(folder.path())
                && mount.point.as_os_str() != folder.path().as_os_str()
        });
        match below {
            Some(mount) if error.kind() == Kind::Busy => {
                HostError::refused(Kind::Busy, format!("{error} ({})", mount.point.display()))
            }
            _ => error,
        }
    })?;
    if folder.mounted(node)?.is_some() {
        let message = format!("{} is still mounted", folder.path().display());
        return Err(HostError::refused(Kind::Failed, message).into());
    }
    Ok(())
}

/// `unmountdevice <folder>`: no pod of this node needs the volume any more, so where Kubernetes
/// attaches it is deactivated, too. `detach` may be for somebody elsewhere, who can't.
/// `waitforattach` and `mountdevice` bring it back. That it stays active is no failure: returned is
/// a word for the log.
///
/// # Errors
/// As [`unmount`].
pub(crate) fn unmount_device(
    node: &Node<'_>,
    settings: &DriverSettings,
    folder: &OsStr,
) -> Result<Option<String>, Error> {
    unmount(node, folder, FolderScope::AllPods)?;
    let Some(place) = VolumeFolder::from_path(Path::new(folder)).filter(|_| settings.attach) else {
        return Ok(None);
    };
    let attempt = AttachedName::new(&place.name)
        .map_err(Error::from)
        .and_then(|name| deactivate_attached(node, &name));
    Ok(attempt.unwrap_or_else(|error| {
        Some(format!(
            "it was not deactivated: {}",
            host::error::chain(&error)
        ))
    }))
}
