//! `attach <options> <node>` and `waitforattach <device> <options>`: a volume's device is there,
//! and is the volume's. A logical volume never leaves its node, so attaching is activating. Called
//! by the kubelet on the node, or by the controller manager, wherever that runs.

use std::ffi::OsStr;

use flexvolume::options::{self, Options};
use flexvolume::settings::DriverSettings;
use host::block::lv_device;
use host::lvm::Lvm;
use host::mount::lookup::is_of;
use host::mount::mountinfo;
use host::{Error as HostError, Kind};

use crate::error::Error;
use crate::volume::attachments::{self, AttachedName};
use crate::volume::authorize::find_volume;
use crate::volume::context::Node;
use crate::volume::identity::VolumeIdentity;

/// Activates the volume if this is its node. Returns the path of its device.
///
/// # Errors
/// When this is its node, and the device isn't there or is another's.
pub(crate) fn attach(
    node: &Node<'_>,
    settings: &DriverSettings,
    options: &str,
    name: &str,
) -> Result<String, Error> {
    let options = options::parse(options)?;
    if node.is(settings, name) {
        return activate(node, &options, OsStr::new(""));
    }
    // The node's own `waitforattach` does it.
    Ok(lv_device::mapper_path(&options.group, &options.volume)
        .display()
        .to_string())
}

/// Sees to it that the volume is active on this node. Returns the path of its device.
///
/// # Errors
/// When it isn't, or when `device` leads to another.
pub(crate) fn wait_for_attach(
    node: &Node<'_>,
    device: &OsStr,
    options: &str,
) -> Result<String, Error> {
    activate(node, &options::parse(options)?, device)
}

fn activate(node: &Node<'_>, options: &Options, device_path: &OsStr) -> Result<String, Error> {
    let name = AttachedName::new(&options.name)?;
    let volume = find_volume(node, options)?.identity;
    let _lock = node.lock(&volume.uuid)?;
    node.check_device_path(device_path, &volume)?;
    refuse_namesake(node, &name, &volume)?;
    let was_active = node.device(&volume)?.is_some();
    let path = node
        .active_device(&volume)?
        .mapper_path()
        .display()
        .to_string();
    attachments::remember(node, &name, &volume).inspect_err(|_| {
        // As it was before; whether that succeeds, nobody is left to tell.
        if !was_active {
            let _ = Lvm(node).deactivate(&volume.group, &volume.name, &volume.uuid);
        }
    })?;
    Ok(path)
}

/// Two volumes of pods may have one name, and Kubernetes takes them for one.
fn refuse_namesake(
    node: &Node<'_>,
    name: &AttachedName<'_>,
    volume: &VolumeIdentity,
) -> Result<(), Error> {
    let Some(other) = attachments::recall(node, name)?.filter(|other| other.uuid != volume.uuid)
    else {
        return Ok(());
    };
    let Some(device) = node.device_if_its_own(&other)? else {
        return Ok(());
    };
    let mounts = mountinfo::read(&node.mounts)?;
    let Some(mount) = mounts
        .iter()
        .find(|mount| is_of(&node.roots, mount, &device))
    else {
        return Ok(());
    };
    let message = format!(
        "logical volume {volume} is wanted, and under its name {other} is attached and mounted on {}: two volumes of \
         one name can't be on one node while the driver attaches; give the pod's volume another name",
        mount.point.display()
    );
    Err(HostError::refused(Kind::Exists, message).into())
}
