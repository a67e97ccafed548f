//! What is mounted on a folder: already, before a mount, and afterwards, when it has to be what was
//! meant.

use host::mount::MountRequest;
use host::mount::lookup::shows_all_of;
use host::mount::mountinfo::Mount;
use host::{Device, Error as HostError, Kind};

use crate::error::Error;
use crate::mounting::target_dir::TargetDir;
use crate::volume::context::Node;
use crate::volume::identity::Volume;

/// The device of what is mounted on the folder already, if that is this volume.
pub(crate) fn mounted_device(
    node: &Node<'_>,
    volume: &Volume,
    folder: &TargetDir,
    there: &Mount,
) -> Result<Device, HostError> {
    node.device(&volume.identity)?
        .filter(|device| shows_all_of(&node.roots, there, device))
        .ok_or_else(|| {
            let (path, source) = (folder.path().display(), there.source.display());
            let message = format!(
                "something else is mounted on {path} already: {source} ({})",
                there.fs
            );
            HostError::refused(Kind::Exists, message)
        })
}

/// The volume is mounted already: the call was repeated.
pub(crate) fn accept_existing(
    folder: &TargetDir,
    there: &Mount,
    request: &MountRequest<'_>,
) -> Result<(), Error> {
    match (request.read_only, there.read_only || there.fs_read_only) {
        (false, true) => {
            let message = format!(
                "the volume is mounted on {} already, read-only",
                folder.path().display()
            );
            Err(HostError::refused(Kind::Exists, message).into())
        }
        // The call before was cut short between the mount and this.
        (true, false) => Ok(host::mount::make_read_only(request, &folder.top())?),
        (false, false) | (true, true) => Ok(()),
    }
}

/// Takes the mount down again unless it is what was meant: names can change between a look and a
/// mount.
///
/// # Errors
/// When it isn't.
pub(crate) fn verify(
    node: &Node<'_>,
    folder: &TargetDir,
    device: &Device,
    read_only: bool,
) -> Result<(), HostError> {
    let error = match folder.mounted(node) {
        Ok(Some(there))
            if shows_all_of(&node.roots, &there, device)
                && (there.read_only || there.fs_read_only || !read_only) =>
        {
            return Ok(());
        }
        Ok(there) => {
            let source = device.mapper_path();
            let message = format!(
                "{} was mounted, and something else is seen: {there:?}",
                source.display()
            );
            HostError::refused(Kind::Failed, message)
        }
        Err(error) => error,
    };
    match host::mount::unmount_all(&folder.top(), folder.path()) {
        Ok(_) => Err(error),
        Err(left) => {
            let message = format!(
                "{}; and what was mounted is still there: {left}",
                host::error::chain(&error)
            );
            Err(HostError::refused(Kind::Failed, message))
        }
    }
}
