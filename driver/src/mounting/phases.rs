//! The steps of a mount, for a pod's folder or the one shared by all pods. The common case runs no
//! program.

use std::ffi::OsStr;

use flexvolume::option_lists;
use flexvolume::options::Options;
use host::block::sysfs;
use host::mount::{MountRequest, MountTarget};
use host::{Device, FormatMarkerBlock};

use crate::error::Error;
use crate::mounting::duplicates::{mount_despite_duplicate, refuse_loop};
use crate::mounting::existing_mount::{accept_existing, mounted_device, verify};
use crate::mounting::grow::grow_if_larger;
use crate::mounting::prepare::{Preparation, prepare};
use crate::mounting::target_dir::{FolderScope, TargetDir, TargetHandle};
use crate::note::Note;
use crate::volume::authorize::authorized_volume;
use crate::volume::context::Node;
use crate::volume::identity::Volume;
use crate::volume::static_volume;

/// Mounts the volume of these options on the folder. Returns a note for the log about a deviation
/// that is not a failure.
///
/// # Errors
/// When the volume is not mounted; then a failed attempt leaves nothing.
pub(crate) fn mount_on(
    node: &Node<'_>,
    folder: &OsStr,
    scope: FolderScope,
    device_path: &OsStr,
    options: &Options,
) -> Result<Option<Note>, Error> {
    let mount_options = option_lists::mount::parse(options.filesystem, &options.mount)?;
    let mkfs_options = option_lists::mkfs::parse(options.filesystem, &options.mkfs)?;
    let folder = TargetDir::existing(node, folder, scope)?;
    let target = folder.target()?;
    if let Some(proof) = &options.proof {
        FormatMarkerBlock::new(&proof.uuid, proof.size)?;
    }
    let volume = authorized_volume(node, options)?;
    let marker = FormatMarkerBlock::new(&volume.identity.uuid, volume.size)?;
    let _lock = node.lock(&volume.identity.uuid)?;
    node.check_device_path(device_path, &volume.identity)?;
    let existing = folder.mounted(node)?;
    let device = match &existing {
        Some(mount) => mounted_device(node, &volume, &folder, mount)?,
        None => node.active_device(&volume.identity)?,
    };
    let read_only = mount_options.read_only || is_read_only(node, scope, &device, options)?;
    let request = MountRequest {
        source: &device.mapper_path(),
        fs: options.filesystem,
        flags: mount_options.flags,
        data: &mount_options.data,
        read_only,
    };
    if let Some(mount) = &existing {
        accept_existing(&folder, mount, &request)?;
    } else {
        let task = Preparation {
            volume: &volume.to_string(),
            device: &device,
            marker: &marker,
            fs: options.filesystem,
            mkfs_options: &mkfs_options,
            fsck: options.fsck,
            read_only,
            may_format: !read_only && !options.read_only,
        };
        mount_new(node, &volume, &folder, &target, request, &task)?;
    }
    if read_only {
        return Ok(None);
    }
    // For an existing mount, too: the previous call may have been interrupted before this step.
    Ok(grow_if_larger(
        node,
        options.filesystem,
        &device,
        folder.path(),
    ))
}

/// Returns whether the mount must be read-only. In the mount for all pods, a read-only pod must not
/// prevent others from writing.
fn is_read_only(
    node: &Node<'_>,
    scope: FolderScope,
    device: &Device,
    options: &Options,
) -> Result<bool, Error> {
    match scope {
        FolderScope::AllPods => Ok(sysfs::is_read_only(&node.roots.sys, device.number())?),
        FolderScope::OnePod | FolderScope::Any => Ok(options.read_only),
    }
}

/// Mounts a volume that is not mounted on the folder yet.
fn mount_new(
    node: &Node<'_>,
    volume: &Volume,
    folder: &TargetDir,
    target: &TargetHandle,
    request: MountRequest<'_>,
    task: &Preparation<'_>,
) -> Result<(), Error> {
    refuse_loop(node, volume, task.device)?;
    static_volume::initialize_static(node, volume, task.device, task.marker, task.may_format)?;
    let request = MountRequest {
        flags: request.flags | prepare(node, task)?,
        ..request
    };
    let place = MountTarget {
        folder: &target.path(),
        top: &folder.top(),
    };
    mount_despite_duplicate(node, task.device, &request, place)?;
    verify(node, folder, task.device, request.read_only)
}
