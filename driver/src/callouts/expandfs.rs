//! `expandfs <options> <device> <folder> <new size> <old size>`: resizes the file system to the
//! size of its logical volume.
//!
//! The agent has extended the logical volume before. The kubelet calls this for each pod, or once
//! for all, until it succeeds.

use std::ffi::OsStr;

use flexvolume::options;
use host::format_marker::filesystem_size;
use host::stack::lookup::shows_all_of;
use host::{Bytes, Filesystem};

use crate::callouts::expandvolume::check_size;
use crate::error::Error;
use crate::mounting::grow::grow;
use crate::mounting::target_dir::{FolderScope, TargetDir};
use crate::volume::authorize::authorized_volume;
use crate::volume::context::Node;
use crate::volume::identity::Volume;

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
    let target = TargetDir::open(folder, &node.driver, FolderScope::Any)?;
    let volume = authorized_volume(node, &options)?;
    let Some(target) = target else {
        return Err(not_mounted(&volume, folder));
    };
    let _lock = node.lock(&volume.identity.uuid)?;
    let Some(device) = node.device(&volume.identity)? else {
        return Err(not_mounted(&volume, folder));
    };
    let mount = target
        .mounted(node)?
        .filter(|mount| shows_all_of(&node.roots, mount, device.number()))
        .ok_or_else(|| not_mounted(&volume, folder))?;
    let actual = device.size()?;
    check_size(&options, &volume, actual, size)?;
    // The file system type is that of the mount, not of the options: a wrong option of a
    // PersistentVolume can't be corrected.
    let fs = Filesystem::from_name(&mount.fs).ok_or_else(|| not_mounted(&volume, folder))?;
    if device
        .superblock()?
        .is_some_and(|superblock| superblock.size >= filesystem_size(actual))
    {
        return Ok(());
    }
    grow(node, fs, &device, target.path())
}

fn not_mounted(volume: &Volume, folder: &OsStr) -> Error {
    Error::Failed(format!(
        "logical volume {volume} is not mounted on {}",
        folder.display()
    ))
}
