//! `expandfs <options> <device> <folder> <new size> <old size>`: resizes the file system to the
//! size of its logical volume.
//!
//! The agent has extended the logical volume before. The kubelet calls this for each pod, or once
//! for all, until it succeeds.

use std::ffi::OsStr;

use flexvolume::options;
use host::mount::lookup::shows_all_of;
use host::{Bytes, Error as HostError, Filesystem};

use crate::callouts::expandvolume::check_size;
use crate::error::Error;
use crate::mounting::grow::grow;
use crate::mounting::target_dir::{FolderScope, TargetDir};
use crate::volume::authorize::find_volume;
use crate::volume::context::Node;

/// Resizes the file system. The kubelet's device is ignored: it is empty, or may be as old as the
/// last reboot.
///
/// # Errors
/// When the volume isn't mounted there, or its logical volume is not large enough yet.
pub(crate) fn expandfs(
    node: &Node<'_>,
    options: &str,
    folder: &OsStr,
    size: Bytes,
) -> Result<(), Error> {
    let options = options::parse(options)?;
    let folder_or_none = TargetDir::open(folder, &node.driver, FolderScope::Any)?;
    let volume = find_volume(node, &options)?;
    let not_mounted = || {
        let message = format!(
            "logical volume {volume} is not mounted on {}",
            folder.display()
        );
        HostError::failed(message)
    };
    let folder = folder_or_none.ok_or_else(not_mounted)?;
    let _lock = node.lock(&volume.identity.uuid)?;
    let device = node.device(&volume.identity)?.ok_or_else(not_mounted)?;
    let mount = folder
        .mounted(node)?
        .filter(|mount| shows_all_of(&node.roots, mount, &device))
        .ok_or_else(not_mounted)?;
    let actual = device.size()?;
    check_size(&options, &volume, actual, size)?;
    // The file system type is that of the mount, not of the options: a wrong option of a
    // PersistentVolume can't be corrected.
    let fs = Filesystem::from_name(&mount.fs).ok_or_else(not_mounted)?;
    if device
        .superblock()?
        .is_some_and(|superblock| superblock.size == actual)
    {
        return Ok(());
    }
    Ok(grow(node, fs, &device, folder.path())?)
}
