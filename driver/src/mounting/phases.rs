//! The steps of a mount, for a pod's folder or the one for all pods. The common case runs no
//! program.

use std::ffi::OsStr;

use flexvolume::option_lists;
use flexvolume::options::Options;
use host::block::sysfs;
use host::mount::{MountRequest, MountTarget};
use host::{Device, FormatMarkerBlock};

use crate::error::Error;
use crate::mounting::duplicates::{mount_beside_duplicate, refuse_loop};
use crate::mounting::existing_mount::{accept_existing, mounted_device, verify};
use crate::mounting::grow::grow_if_larger;
use crate::mounting::prepare::{Preparation, prepare};
use crate::mounting::target_dir::{FolderScope, TargetDir, TargetHandle};
use crate::volume::authorize::{authorize, find_volume};
use crate::volume::context::Node;
use crate::volume::identity::Volume;
use crate::volume::static_volume;

/// Mounts the volume that the options name on the folder. What is worth a word in the log, though
/// all went well, is returned.
///
/// # Errors
/// When the volume is not mounted; then nothing of the attempt is left.
pub(crate) fn mount_on(
    node: &Node<'_>,
    folder: &OsStr,
    scope: FolderScope,
    device_path: &OsStr,
    options: &Options,
) -> Result<Option<String>, Error> {
    let mount_options = option_lists::mount::parse(options.filesystem, &options.mount)?;
    let mkfs_options = option_lists::mkfs::parse(options.filesystem, &options.mkfs)?;
    let folder = TargetDir::existing(node, folder, scope)?;
    let target = folder.target()?;
    let volume = find_volume(node, options)?;
    let mark = FormatMarkerBlock::new(&volume.identity.uuid, volume.size)?;
    let _lock = node.lock(&volume.identity.uuid)?;
    node.check_device_path(device_path, &volume.identity)?;
    let there = folder.mounted(node)?;
    let device = match &there {
        Some(there) => mounted_device(node, &volume, &folder, there)?,
        None => node.active_device(&volume.identity)?,
    };
    authorize(node, &volume.identity, options)?;
    let read_only = mount_options.read_only || is_read_only(node, scope, &device, options)?;
    let request = MountRequest {
        source: &device.mapper_path(),
        fs: options.filesystem,
        flags: mount_options.flags,
        data: &mount_options.data,
        read_only,
    };
    if let Some(there) = &there {
        accept_existing(&folder, there, &request)?;
    } else {
        let task = Preparation {
            volume: &volume.to_string(),
            device: &device,
            mark: &mark,
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
    // Of one that was mounted already, too: the call before may have been cut short before this.
    Ok(grow_if_larger(
        node,
        options.filesystem,
        &device,
        folder.path(),
    ))
}

/// Whether nothing on the device may change. For all pods, a pod that only reads must not keep the
/// next from writing.
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
    static_volume::initialize_static(node, volume, task.device, task.mark, task.may_format)?;
    let request = MountRequest {
        flags: request.flags | prepare(node, task)?,
        ..request
    };
    let place = MountTarget {
        folder: &target.path(),
        top: &folder.top(),
    };
    mount_beside_duplicate(node, task.device, &request, place)?;
    Ok(verify(node, folder, task.device, request.read_only)?)
}
