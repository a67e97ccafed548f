//! `detach <volume> <node>`: a volume's device goes, unless somebody uses it. Called by the kubelet
//! on the node, or by the controller manager, wherever that runs; and by `unmountdevice`, since
//! only the node itself can take its devices away.

use std::ffi::OsStr;

use flexvolume::settings::DriverSettings;
use host::lvm::Lvm;
use host::mount::lookup::is_of;
use host::mount::mountinfo;
use host::{Error as HostError, Kind};

use crate::error::Error;
use crate::volume::attachments::{self, AttachedName};
use crate::volume::context::Node;
use crate::volume::identity::VolumeIdentity;

/// Deactivates what was attached under this name. That it stays because somebody uses it is no
/// failure: returned is a word for the log.
///
/// # Errors
/// When nobody uses it and it can't be deactivated.
pub(crate) fn detach(
    node: &Node<'_>,
    settings: &DriverSettings,
    volume: &OsStr,
    name: &str,
) -> Result<Option<String>, Error> {
    let volume = volume.to_string_lossy();
    let volume = AttachedName::new(&volume)?;
    if node.is(settings, name) {
        deactivate_attached(node, &volume)
    } else {
        Ok(None)
    }
}

/// The same, on this node.
///
/// # Errors
/// As [`detach`].
pub(crate) fn deactivate_attached(
    node: &Node<'_>,
    volume: &AttachedName<'_>,
) -> Result<Option<String>, Error> {
    let Some(identity) = attachments::recall(node, volume)? else {
        return Ok(None);
    };
    let _lock = node.lock(&identity.uuid)?;
    if attachments::recall(node, volume)?.as_ref() != Some(&identity) {
        let message = format!(
            "logical volume {identity} was attached or detached meanwhile; it is tried again"
        );
        return Err(HostError::refused(Kind::Busy, message).into());
    }
    if attachments::has_another_name(node, volume, &identity)? {
        attachments::forget(node, volume)?;
        return Ok(Some(format!(
            "logical volume {identity} stays active: it is attached under another name, too"
        )));
    }
    if let Some(user) = deactivate(node, &identity)? {
        return Ok(Some(format!(
            "logical volume {identity} stays active: {user}"
        )));
    }
    attachments::forget(node, volume)?;
    Ok(None)
}

/// Takes the device away; returns who uses it when somebody does.
fn deactivate(node: &Node<'_>, volume: &VolumeIdentity) -> Result<Option<String>, HostError> {
    // Where another has its name by now, there is nothing that could be found by it.
    let Some(device) = node.device_if_its_own(volume)? else {
        return Ok(None);
    };
    if let Some(mount) = mountinfo::read(&node.mounts)?
        .iter()
        .find(|mount| is_of(&node.roots, mount, &device))
    {
        return Ok(Some(format!("it is mounted on {}", mount.point.display())));
    }
    // Held open by us, it could not go.
    drop(device);
    let VolumeIdentity { group, name, uuid } = volume;
    let attempt = Lvm(node).deactivate(group, name, uuid);
    if node.device(volume)?.is_none() {
        return Ok(None);
    }
    // Only now is LVM's word needed: whether somebody has it open, or it just didn't work.
    let now = Lvm(node).volume(group, name)?;
    match attempt {
        _ if now.uuid == *uuid && now.open => Ok(Some("something has it open".to_owned())),
        Err(error) => Err(error),
        Ok(()) => {
            let message =
                format!("LVM did not deactivate logical volume {volume}, though it says so");
            Err(HostError::refused(Kind::Failed, message))
        }
    }
}
