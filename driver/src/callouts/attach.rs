//! `attach <options> <node>` and `waitforattach <device> <options>`: activate a volume's device and
//! check that it is the volume's.
//!
//! A logical volume never leaves its node, so attaching means activating. The caller is the kubelet
//! on the node, or the controller manager, which may run elsewhere.

use std::ffi::OsStr;

use flexvolume::options::{self, Options};
use flexvolume::settings::DriverSettings;
use host::block::lv_device;
use host::lvm::Lvm;
use host::mount::mountinfo;
use host::stack::DeviceStack;

use crate::error::Error;
use crate::volume::attachments::{self, AttachedName};
use crate::volume::authorize::authorized_volume;
use crate::volume::context::Node;
use crate::volume::identity::VolumeIdentity;

/// Activates the volume if this is its node. Returns the path of its device.
///
/// # Errors
/// When this is its node, and the device is missing or belongs to another volume.
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
    // `waitforattach` on the node itself activates it.
    Ok(lv_device::mapper_path(&options.group, &options.volume)
        .display()
        .to_string())
}

/// Ensures that the volume is active on this node. Returns the path of its device.
///
/// # Errors
/// When it can't be activated, or when `device` leads to another volume.
pub(crate) fn wait_for_attach(
    node: &Node<'_>,
    device: &OsStr,
    options: &str,
) -> Result<String, Error> {
    activate(node, &options::parse(options)?, device)
}

fn activate(node: &Node<'_>, options: &Options, device_path: &OsStr) -> Result<String, Error> {
    let name = AttachedName::new(&options.name)?;
    let volume = authorized_volume(node, options)?.identity;
    let _lock = node.lock(&volume.uuid)?;
    node.check_device_path(device_path, &volume)?;
    reject_name_conflict(node, &name, &volume)?;
    let was_active = node.device(&volume)?.is_some();
    let path = node
        .active_device(&volume)?
        .mapper_path()
        .display()
        .to_string();
    attachments::record(node, &name, &volume).inspect_err(|_| {
        // Restores the previous state; an error of that is less important than the first one.
        if !was_active {
            let _ = Lvm(node).deactivate(&volume.group, &volume.name, &volume.uuid);
        }
    })?;
    Ok(path)
}

/// Rejects a volume if another one of the same name is attached and mounted.
///
/// Inline volumes of two pods can have the same name, and Kubernetes then takes them for one.
fn reject_name_conflict(
    node: &Node<'_>,
    name: &AttachedName<'_>,
    volume: &VolumeIdentity,
) -> Result<(), Error> {
    let Some(other) = attachments::lookup(node, name)?.filter(|other| other.uuid != volume.uuid)
    else {
        return Ok(());
    };
    let Some(device) = node.device_if_its_own(&other)? else {
        return Ok(());
    };
    let stack = DeviceStack::above(&node.roots.sys, device.number())?;
    let mounts = mountinfo::read(&node.mounts)?;
    let Some(mount) = stack.mounts(&node.roots, &mounts).next() else {
        return Ok(());
    };
    let message = format!(
        "logical volume {volume} can't be attached: under its name, {other} is attached and mounted on {}; in attach \
         mode two volumes on a node can't have the same name, so rename the pod's volume",
        mount.point.display()
    );
    Err(Error::Failed(message))
}
