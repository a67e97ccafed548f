//! `mount <folder> <options>` where volumes are attached: the volume is mounted for all pods
//! already, and appears in one pod's folder as a bind mount of that. Runs no program.

use std::ffi::OsStr;

use flexvolume::{option_lists, options};
use host::mount::lookup::shows_all_of;
use host::mount::mountinfo::Mount;
use host::mount::{Flags, MountRequest, MountTarget};
use host::{Error as HostError, Kind};

use crate::error::Error;
use crate::mounting::existing_mount::{accept_existing, mounted_device, verify};
use crate::mounting::target_dir::{FolderScope, TargetDir};
use crate::volume::authorize::{authorize, find_volume};
use crate::volume::context::Node;
use crate::volume::identity::Volume;

/// Makes the bind mount, once it is certain that the folder for all pods shows this very volume:
/// volumes of pods that have the same name have the same folder.
///
/// # Errors
/// When the volume is not mounted on the pod's folder; then nothing of the attempt is left.
pub(crate) fn bind(node: &Node<'_>, folder: &OsStr, options: &str) -> Result<(), Error> {
    let options = options::parse(options)?;
    let mount_options = option_lists::mount::parse(options.filesystem, &options.mount)?;
    let folder = TargetDir::existing(node, folder, FolderScope::OnePod)?;
    let target = folder.target()?;
    let volume = find_volume(node, &options)?;
    let _lock = node.lock(&volume.identity.uuid)?;
    authorize(node, &volume.identity, &options)?;
    let read_only = options.read_only || mount_options.read_only;
    let not_for_all = || {
        let message = format!(
            "logical volume {volume} is not mounted for all pods of this node; it is tried again"
        );
        HostError::refused(Kind::NotFound, message)
    };
    let all = folder.for_all_pods()?.ok_or_else(not_for_all)?;
    let whole = all.mounted(node)?.ok_or_else(not_for_all)?;
    let device = node
        .device(&volume.identity)?
        .filter(|device| shows_all_of(&node.roots, &whole, device));
    let device = device.ok_or_else(|| another(&volume, &all, &whole))?;
    if !read_only && (whole.read_only || whole.fs_read_only) {
        let message = format!(
            "logical volume {volume} is mounted read-only for all pods of this node ({}), and a pod wants to write: its \
             mount options, the logical volume itself, or the kernel after an error made it so; see the kernel's log",
            all.path().display()
        );
        return Err(HostError::refused(Kind::Failed, message).into());
    }
    let source = device.mapper_path();
    let as_whole = if whole.fs_read_only {
        Flags::RDONLY
    } else {
        Flags::empty()
    };
    let (flags, data) = (mount_options.flags | as_whole, mount_options.data.as_str());
    let request = MountRequest {
        source: &source,
        fs: options.filesystem,
        flags,
        data,
        read_only,
    };
    if let Some(there) = folder.mounted(node)? {
        mounted_device(node, &volume, &folder, &there)?;
        return accept_existing(&folder, &there, &request);
    }
    let (path, top) = (target.path(), folder.top());
    host::mount::bind(
        &request,
        &all.top(),
        MountTarget {
            folder: &path,
            top: &top,
        },
    )?;
    Ok(verify(node, &folder, &device, read_only)?)
}

fn another(volume: &Volume, all: &TargetDir, whole: &Mount) -> HostError {
    let message = format!(
        "logical volume {volume} is wanted, and {} has {} mounted: two volumes of one name can't be on one node while \
         the driver attaches; give the pod's volume another name",
        all.path().display(),
        whole.source.display()
    );
    HostError::refused(Kind::Exists, message)
}
