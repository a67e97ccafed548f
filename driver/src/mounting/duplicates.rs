//! mount(2) of a device whose file system may be mounted already from another device: a snapshot or
//! a copy next to its origin, in any order; or the device itself, through a loop device.

use host::mount::{MountRequest, MountTarget, mountinfo};
use host::stack::DeviceStack;
use host::stack::duplicate_fs::mounted_duplicate;
use host::{Device, Filesystem};

use crate::error::Error;
use crate::volume::context::Node;
use crate::volume::identity::Volume;

/// Rejects a volume that is mounted through a loop device, before anything is written to it: the
/// kernel does not reject the second mount.
///
/// # Errors
/// When it is mounted through a loop device.
pub(crate) fn refuse_loop(node: &Node<'_>, volume: &Volume, device: &Device) -> Result<(), Error> {
    let mounts = mountinfo::read(&node.mounts)?;
    let stack = DeviceStack::above(&node.roots.sys, device.number())?;
    let Some(mount) = stack.mount_through_loop(&node.roots, &mounts) else {
        return Ok(());
    };
    let message = format!(
        "logical volume {volume} is mounted on {} already, through a loop device: unmount that first",
        mount.point.display()
    );
    Err(Error::Failed(message))
}

/// Mounts the device. An XFS whose UUID another mounted device has, too, is mounted with `nouuid`.
///
/// # Errors
/// The kernel's reason; nothing is mounted then.
pub(crate) fn mount_despite_duplicate(
    node: &Node<'_>,
    device: &Device,
    request: &MountRequest<'_>,
    place: MountTarget<'_>,
) -> Result<(), Error> {
    let Err(error) = host::mount::mount(request, place) else {
        return Ok(());
    };
    let mounts = mountinfo::read(&node.mounts)?;
    let Some(duplicate) = mounted_duplicate(&node.roots, &mounts, device)? else {
        return Err(error.into());
    };
    match request.fs {
        Filesystem::Xfs => {
            let data = if request.data.is_empty() {
                "nouuid".to_owned()
            } else {
                format!("{},nouuid", request.data)
            };
            let request = MountRequest {
                data: &data,
                ..*request
            };
            Ok(host::mount::mount(&request, place)?)
        }
        // The kernel can't distinguish them, and registers only one of them.
        Filesystem::Btrfs => {
            let message = format!(
                "{error}: a copy of the same btrfs is mounted on {}, and only one of them can be mounted on a node at a \
                 time",
                duplicate.display()
            );
            Err(Error::Failed(message))
        }
        Filesystem::Ext4 => Err(error.into()),
    }
}
