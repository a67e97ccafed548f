//! mount(2) of a device whose file system may be mounted already from another: a snapshot or a copy
//! beside its origin, in whatever order they come; or itself, through a loop device.

use host::block::duplicate_fs::{mounted_duplicate, mounted_through_loop};
use host::mount::{MountRequest, MountTarget, mountinfo};
use host::{Device, Error, Filesystem, Kind};

use crate::volume::context::Node;
use crate::volume::identity::Volume;

/// Refuses a volume that is mounted through a loop device: before anything is done to it, since
/// nothing else does.
///
/// # Errors
/// `Busy` when it is.
pub(crate) fn refuse_loop(node: &Node<'_>, volume: &Volume, device: &Device) -> Result<(), Error> {
    let mounts = mountinfo::read(&node.mounts)?;
    let Some(point) = mounted_through_loop(&node.roots, &mounts, device) else {
        return Ok(());
    };
    let message = format!(
        "logical volume {volume} is mounted on {} already, through a loop device: unmount that first",
        point.display()
    );
    Err(Error::refused(Kind::Busy, message))
}

/// Mounts. An XFS whose uuid another device's has, too, is mounted without regard to that.
///
/// # Errors
/// Why the kernel refuses; nothing is mounted then.
pub(crate) fn mount_beside_duplicate(
    node: &Node<'_>,
    device: &Device,
    request: &MountRequest<'_>,
    place: MountTarget<'_>,
) -> Result<(), Error> {
    let Err(error) = host::mount::mount(request, place) else {
        return Ok(());
    };
    let mounts = mountinfo::read(&node.mounts)?;
    let Some(twin) = mounted_duplicate(&node.roots, &mounts, device)? else {
        return Err(error);
    };
    match request.fs {
        Filesystem::Xfs => {
            let data = if request.data.is_empty() {
                "nouuid".to_owned()
            } else {
                format!("{},nouuid", request.data)
            };
            host::mount::mount(
                &MountRequest {
                    data: &data,
                    ..*request
                },
                place,
            )
        }
        // The kernel can't tell them apart, and only ever knows one of them.
        Filesystem::Btrfs => {
            let message = format!(
                "{error}: a copy of the same btrfs is mounted on {}, and only one of them can be mounted on a node at a \
                 time",
                twin.display()
            );
            Err(Error::refused(Kind::Busy, message))
        }
        Filesystem::Ext4 => Err(error),
    }
}
