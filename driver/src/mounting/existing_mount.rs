//! Checks of what is mounted on a folder: before a mount, for a repeated call, and after it, for
//! the expected result.

use host::Device;
use host::mount::MountRequest;
use host::mount::mountinfo::Mount;
use host::stack::lookup::shows_all_of;

use crate::error::Error;
use crate::mounting::target_dir::TargetDir;
use crate::volume::context::Node;
use crate::volume::identity::Volume;

/// Returns the device that is mounted on the folder, if it is this volume's.
pub(crate) fn mounted_device(
    node: &Node<'_>,
    volume: &Volume,
    folder: &TargetDir,
    existing: &Mount,
) -> Result<Device, Error> {
    if let Some(device) = node.device(&volume.identity)?
        && shows_all_of(&node.roots, existing, device.number())
    {
        return Ok(device);
    }
    Err(Error::Failed(format!(
        "something else is mounted on {} already: {} ({})",
        folder.path().display(),
        existing.source.display(),
        existing.fs
    )))
}

/// Accepts an existing mount of the volume: the kubelet has repeated the call.
pub(crate) fn accept_existing(
    folder: &TargetDir,
    existing: &Mount,
    request: &MountRequest<'_>,
) -> Result<(), Error> {
    match (
        request.read_only,
        existing.read_only || existing.fs_read_only,
    ) {
        (false, true) => {
            let message = format!(
                "the volume is mounted on {} already, read-only",
                folder.path().display()
            );
            Err(Error::Failed(message))
        }
        // The previous call was interrupted between the mount and this step.
        (true, false) => Ok(host::mount::make_read_only(request, &folder.top())?),
        (false, false) | (true, true) => Ok(()),
    }
}

/// Checks the new mount, and unmounts it again if it is not the expected one: names can change
/// between the checks and the mount.
///
/// # Errors
/// When the mount is not the expected one.
pub(crate) fn verify(
    node: &Node<'_>,
    folder: &TargetDir,
    device: &Device,
    read_only: bool,
) -> Result<(), Error> {
    let error = match folder.mounted(node) {
        Ok(Some(mount))
            if shows_all_of(&node.roots, &mount, device.number())
                && (mount.read_only || mount.fs_read_only || !read_only) =>
        {
            return Ok(());
        }
        Ok(mount) => {
            let message = format!(
                "{} was mounted, but the table of mounts has something else: {mount:?}",
                device.mapper_path().display()
            );
            Error::Failed(message)
        }
        Err(error) => error.into(),
    };
    match host::mount::unmount_all(&folder.top(), folder.path()) {
        Ok(_) => Err(error),
        Err(unmount_error) => {
            let message = format!(
                "{}; the mount could not be undone: {unmount_error}",
                host::error::chain(&error)
            );
            Err(Error::Failed(message))
        }
    }
}
