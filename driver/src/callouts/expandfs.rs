//! `expandfs <options> <device> <folder> <new size> <old size>`: the file system grows to the size
//! of its logical volume, which the agent has extended before. Called by the kubelet, for each pod
//! or once for all, until it succeeds.

use std::ffi::OsStr;

use flexvolume::options;
use host::mount::lookup::shows_all_of;
use host::mount::mountinfo::Mount;
use host::{Bytes, Error as HostError, Filesystem, Kind};

use crate::callouts::expandvolume::check_size;
use crate::error::Error;
use crate::mounting::grow::grow;
use crate::mounting::target_dir::{FolderScope, TargetDir};
use crate::volume::authorize::find_volume;
use crate::volume::context::Node;

/// Grows the file system. The kubelet's device is ignored: it is empty, or as old as the last
/// reboot.
///
/// # Errors
/// When the volume isn't mounted there, or its logical volume is not yet large enough.
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
        HostError::refused(Kind::Invalid, message)
    };
    let folder = folder_or_none.ok_or_else(not_mounted)?;
    let _lock = node.lock(&volume.identity.uuid)?;
    let device = node.device(&volume.identity)?.ok_or_else(not_mounted)?;
    let is_it = |mount: &Mount| shows_all_of(&node.roots, mount, &device);
    let mount = folder
        .mounted(node)?
        .filter(is_it)
        .ok_or_else(not_mounted)?;
    let there = device.size()?;
    check_size(&options, &volume, there, size)?;
    // What is mounted decides, not what the options say: nobody can change those when they are
    // wrong.
    let fs = Filesystem::from_name(&mount.fs).ok_or_else(not_mounted)?;
    if device.superblock()?.is_some_and(|look| look.size == there) {
        return Ok(());
    }
    Ok(grow(node, fs, &device, folder.path())?)
}
