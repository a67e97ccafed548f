//! The check of a file system before it is mounted.

use std::time::Duration;

use host::{Device, Error, Kind, fs};

use crate::volume::context::Node;

/// How long a check may take. The kubelet's patience for a pod's volumes is two minutes.
const TIME: Duration = Duration::from_secs(90);

/// Whether the device is mounted, or a program works on it.
///
/// # Errors
/// When nobody can tell.
pub(crate) fn is_claimed(device: &Device) -> Result<bool, Error> {
    match device.claim() {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == Kind::Busy => Ok(true),
        Err(error) => Err(error),
    }
}

/// Checks the ext4 on this device, unless it is mounted already: then what could be checked is
/// gone, and another mount of it changes nothing.
///
/// # Errors
/// When it is not sound afterwards: what to do is said.
pub(crate) fn check(node: &Node<'_>, device: &Device) -> Result<(), Error> {
    // e2fsck claims it for itself.
    if is_claimed(device)? {
        return Ok(());
    }
    fs::fsck(node, &device.path(), &device.mapper_path(), TIME)?;
    if device
        .superblock()?
        .is_none_or(|superblock| superblock.unchecked)
    {
        let detail = format!(
            "success, and {} still asks for a check",
            device.mapper_path().display()
        );
        return Err(Error::Answer {
            program: "e2fsck".to_owned(),
            detail,
        });
    }
    Ok(())
}
