//! The steps of a mount, for a pod's folder or the one shared by all pods. The common case runs no
//! program.

use std::ffi::OsStr;

use flexvolume::option_lists;
use flexvolume::options::Options;
use host::FormatMarkerBlock;
use host::block::sysfs;
use host::mount::{MountRequest, MountTarget};

use crate::error::Error;
use crate::mounting::duplicates::{mount_despite_duplicate, refuse_loop};
use crate::mounting::existing_mount::{accept_existing, mounted_device, verify};
use crate::mounting::grow::grow_if_larger;
use crate::mounting::prepare::{Preparation, prepare};
use crate::mounting::target_dir::{FolderScope, TargetDir};
use crate::volume::authorize::{authorize, find_volume};
use crate::volume::context::Node;
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
) -> Result<Option<String>, Error> {
    let mount_options = option_lists::mount::parse(options.filesystem, &options.mount)?;
    let mkfs_options = option_lists::mkfs::parse(options.filesystem, &options.mkfs)?;
    let folder = TargetDir::existing(node, folder, scope)?;
    let target = folder.target()?;
    let volume = find_volume(node, options)?;
    let marker = FormatMarkerBlock::new(&volume.identity.uuid, volume.size)?;
    let _lock = node.lock(&volume.identity.uuid)?;
    node.check_device_path(device_path, &volume.identity)?;
    let existing = folder.mounted(node)?;
    let device = match &existing {
        Some(mount) => mounted_device(node, &volume, &folder, mount)?,
        None => node.active_device(&volume.identity)?,
    };
    authorize(node, &volume.identity, options)?;
    // In the mount for all pods, a read-only pod must not prevent others from writing.
    let read_only = mount_options.read_only
        || match scope {
            FolderScope::AllPods => sysfs::is_read_only(&node.roots.sys, device.number())?,
            FolderScope::OnePod | FolderScope::Any => options.read_only,
        };
    let source = device.mapper_path();
    let path = target.path();
    let top = folder.top();
    let request = MountRequest {
        source: &source,
        fs: options.filesystem,
        flags: mount_options.flags,
        data: &mount_options.data,
        read_only,
    };
    let grow = || {
        if read_only {
            None
        } else {
            grow_if_larger(node, options.filesystem, &device, folder.path())
        }
    };
    if let Some(mount) = &existing {
        accept_existing(&folder, mount, &request)?;
        // The previous call may have been interrupted before this step.
        return Ok(grow());
    }
    refuse_loop(node, &volume, &device)?;
    let may_format = !read_only && !options.read_only;
    static_volume::initialize_static(node, &volume, &device, &marker, may_format)?;
    let task = Preparation {
        volume: &volume.to_string(),
        device: &device,
        marker: &marker,
        fs: options.filesystem,
        mkfs_options: &mkfs_options,
        fsck: options.fsck,
        read_only,
        may_format,
    };
    let request = MountRequest {
        flags: mount_options.flags | prepare(node, &task)?,
        ..request
    };
    mount_despite_duplicate(
        node,
        &device,
        &request,
        MountTarget {
            folder: &path,
            top: &top,
        },
    )?;
    verify(node, &folder, &device, read_only)?;
    Ok(grow())
}
