//! `detach <volume> <node>`: deactivates a volume's device unless it is in use.
//!
//! The caller is the kubelet on the node, or the controller manager, which may run elsewhere.
//! `unmountdevice` runs this as well, since only the node itself can deactivate its devices.

use std::ffi::OsStr;
use std::path::PathBuf;

use flexvolume::settings::DriverSettings;
use host::lvm::Lvm;
use host::mount::mountinfo;
use host::stack::DeviceStack;

use crate::error::Error;
use crate::note::Note;
use crate::volume::attachments::{self, AttachedName};
use crate::volume::context::Node;
use crate::volume::identity::VolumeIdentity;

/// Deactivates the volume that is attached under this name.
///
/// A volume that stays active because it is in use is not a failure: returns a note for the log.
///
/// # Errors
/// When the volume is not in use and can't be deactivated.
pub(crate) fn detach(
    node: &Node<'_>,
    settings: &DriverSettings,
    volume: &OsStr,
    name: &str,
) -> Result<Option<Note>, Error> {
    let volume = volume.to_string_lossy();
    let volume = AttachedName::new(&volume)?;
    if node.is(settings, name) {
        deactivate_attached(node, &volume)
    } else {
        Ok(None)
    }
}

/// Does the same for this node.
///
/// # Errors
/// As [`detach`].
pub(crate) fn deactivate_attached(
    node: &Node<'_>,
    volume: &AttachedName<'_>,
) -> Result<Option<Note>, Error> {
    let Some(identity) = attachments::lookup(node, volume)? else {
        return Ok(None);
    };
    let _lock = node.lock(&identity.uuid)?;
    if attachments::lookup(node, volume)?.as_ref() != Some(&identity) {
        let message = format!(
            "logical volume {identity} was attached or detached meanwhile; Kubernetes retries"
        );
        return Err(Error::Failed(message));
    }
    if attachments::has_another_name(node, volume, &identity)? {
        attachments::remove(node, volume)?;
        return Ok(Some(Note::new(format!(
            "logical volume {identity} stays active: it is attached under another name, too"
        ))));
    }
    if let Some(user) = deactivate(node, &identity)? {
        return Ok(Some(Note::new(format!(
            "logical volume {identity} stays active: {user}"
        ))));
    }
    attachments::remove(node, volume)?;
    Ok(None)
}

/// What uses a volume, which therefore stays active.
#[derive(Debug, thiserror::Error)]
enum User {
    #[error("it is mounted on {}", point.display())]
    Mount { point: PathBuf },
    #[error("LVM reports it as open")]
    Open,
}

/// Deactivates the volume unless it is in use; returns its user then.
fn deactivate(node: &Node<'_>, volume: &VolumeIdentity) -> Result<Option<User>, Error> {
    // If another volume has its name by now, this volume has no device of its own name.
    let Some(device) = node.device_if_its_own(volume)? else {
        return Ok(None);
    };
    let stack = DeviceStack::above(&node.roots.sys, device.number())?;
    let mounts = mountinfo::read(&node.mounts)?;
    if let Some(mount) = stack.mounts(&node.roots, &mounts).next() {
        let point = mount.point.clone();
        return Ok(Some(User::Mount { point }));
    }
    // An open file descriptor would keep the device active.
    drop(device);
    let VolumeIdentity { group, name, uuid } = volume;
    let attempt = Lvm(node).deactivate(group, name, uuid);
    if node.device(volume)?.is_none() {
        return Ok(None);
    }
    // Only LVM's report shows whether the device is open, or the deactivation failed.
    let now = Lvm(node).volume(group, name)?;
    match attempt {
        _ if now.uuid == *uuid && now.open => Ok(Some(User::Open)),
        Err(error) => Err(error.into()),
        Ok(()) => {
            let message =
                format!("LVM reported success, but logical volume {volume} is still active");
            Err(Error::Failed(message))
        }
    }
}
