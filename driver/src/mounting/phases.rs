//! The steps of a mount, for a pod's folder or the one for all pods. The common case runs no
//! program.

use std::ffi::OsStr;

use flexvolume::option_lists;
use flexvolume::options::Options;
use host::FormatMarkerBlock;
use host::block::sysfs;
use host::mount::{MountRequest, MountTarget};

use crate::error::Error;
use crate::mounting::duplicates::{mount_beside_duplicate, refuse_loop};
use crate::mounting::existing_mount::{accept_existing, mounted_device, verify};
use crate::mounting::grow::grow_if_larger;
use crate::mounting::prepare::{Preparation, prepare};
use crate::mounting::target_dir::{FolderScope, TargetDir};
use crate::volume::authorize::{authorize, find_volume};
use crate::volume::context::Node;
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
    // For all pods, a pod that only reads must not keep the next from writing.
    let read_only = mount_options.read_only
        || match scope {
            FolderScope::AllPods => sysfs::is_read_only(&node.roots.sys, device.number())?,
            FolderScope::OnePod | FolderScope::Any => options.read_only,
        };
    let (source, path, top) = (device.mapper_path(), target.path(), folder.top());
    let (flags, data) = (mount_options.flags, mount_options.data.as_str());
    let request = MountRequest {
        source: &source,
        fs: options.filesystem,
        flags,
        data,
        read_only,
    };
    let grow = || {
        if read_only {
            None
        } else {
            grow_if_larger(node, options.filesystem, &device, folder.path())
        }
    };
    if let Some(there) = &there {
        accept_existing(&folder, there, &request)?;
        // The call before may have been cut short before this.
        return Ok(grow());
    }
    refuse_loop(node, &volume, &device)?;
    let may_format = !read_only && !options.read_only;
    static_volume::initialize_static(node, &volume, &device, &mark, may_format)?;
    let task = Preparation {
        volume: &volume.to_string(),
        device: &device,
        mark: &mark,
        fs: options.filesystem,
        mkfs_options: &mkfs_options,
        fsck: options.fsck,
        read_only,
        may_format,
    };
    let request = MountRequest {
        flags: flags | prepare(node, &task)?,
        ..request
    };
    mount_beside_duplicate(
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
