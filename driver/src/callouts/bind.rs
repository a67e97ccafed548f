//! `mount <folder> <options>` in attach mode: the volume is mounted for all pods already, and a
//! pod's folder gets a bind mount of that. Runs no program.

use std::ffi::OsStr;

use flexvolume::{option_lists, options};
use host::mount::mountinfo::Mount;
use host::mount::{Flags, MountRequest, MountTarget};
use host::stack::lookup::shows_all_of;

use crate::error::Error;
use crate::mounting::existing_mount::{accept_existing, mounted_device, verify};
use crate::mounting::target_dir::{FolderScope, TargetDir};
use crate::volume::authorize::authorized_volume;
use crate::volume::context::Node;
use crate::volume::identity::Volume;

/// Creates the bind mount after checking that the folder shared by all pods shows this volume:
/// inline volumes of the same name share the same folder.
///
/// # Errors
/// When the volume is not mounted on the pod's folder; then a failed attempt leaves nothing.
pub(crate) fn bind(node: &Node<'_>, folder: &OsStr, options: &str) -> Result<(), Error> {
    let options = options::parse(options)?;
    let mount_options = option_lists::mount::parse(options.filesystem, &options.mount)?;
    let folder = TargetDir::existing(node, folder, FolderScope::OnePod)?;
    let target = folder.target()?;
    let volume = authorized_volume(node, &options)?;
    let _lock = node.lock(&volume.identity.uuid)?;
    let read_only = options.read_only || mount_options.read_only;
    let Some(all) = folder.for_all_pods()? else {
        return Err(not_mounted_for_all(&volume));
    };
    let Some(shared_mount) = all.mounted(node)? else {
        return Err(not_mounted_for_all(&volume));
    };
    let device = node
        .device(&volume.identity)?
        .filter(|device| shows_all_of(&node.roots, &shared_mount, device.number()));
    let device = device.ok_or_else(|| name_conflict(&volume, &all, &shared_mount))?;
    if !read_only && (shared_mount.read_only || shared_mount.fs_read_only) {
        let message = format!(
            "logical volume {volume} is mounted read-only for all pods of this node ({}), but a pod requests a writable \
             mount: the cause is its mount options, the logical volume itself, or the kernel after \
             an error; see the kernel's log",
            all.path().display()
        );
        return Err(Error::Failed(message));
    }
    let source = device.mapper_path();
    let shared_flags = if shared_mount.fs_read_only {
        Flags::RDONLY
    } else {
        Flags::empty()
    };
    let request = MountRequest {
        source: &source,
        fs: options.filesystem,
        flags: mount_options.flags | shared_flags,
        data: &mount_options.data,
        read_only,
    };
    if let Some(existing) = folder.mounted(node)? {
        mounted_device(node, &volume, &folder, &existing)?;
        return accept_existing(&folder, &existing, &request);
    }
    let path = target.path();
    let top = folder.top();
    host::mount::bind(
        &request,
        &all.top(),
        MountTarget {
            folder: &path,
            top: &top,
        },
    )?;
    verify(node, &folder, &device, read_only)
}

fn not_mounted_for_all(volume: &Volume) -> Error {
    Error::Failed(format!(
        "logical volume {volume} is not mounted for all pods of this node; Kubernetes retries"
    ))
}

fn name_conflict(volume: &Volume, all: &TargetDir, shared_mount: &Mount) -> Error {
    let message = format!(
        "logical volume {volume} can't be mounted: {} has {} mounted; in attach mode two volumes on a node can't have \
         the same name, so rename the pod's volume",
        all.path().display(),
        shared_mount.source.display()
    );
    Error::Failed(message)
}
