//! Checks a file system before it is mounted.

use std::time::Duration;

use host::{Device, Error, fs};

use crate::volume::context::Node;

/// Maximum duration of a check. The kubelet waits two minutes for a pod's volumes.
const TIME: Duration = Duration::from_secs(90);

/// Returns true when the device is mounted, or another program has it open exclusively.
///
/// # Errors
/// When that can't be determined.
pub(crate) fn is_claimed(device: &Device) -> Result<bool, Error> {
    match device.claim() {
        Ok(_) => Ok(false),
        Err(Error::Busy(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Checks the ext4 on this device unless it is mounted already: then it is too late for a check,
/// and another mount of it changes nothing.
///
/// # Errors
/// When the file system is still damaged; the message has the remedy.
pub(crate) fn check(node: &Node<'_>, device: &Device) -> Result<(), Error> {
    // e2fsck needs the exclusive claim for itself.
    if is_claimed(device)? {
        return Ok(());
    }
    fs::fsck(node, &device.path(), &device.mapper_path(), TIME)?;
    if device
        .superblock()?
        .is_none_or(|superblock| superblock.unchecked)
    {
        let detail = format!(
            "success, but {} still requests a check",
            device.mapper_path().display()
        );
        return Err(Error::Answer {
            program: "e2fsck".to_owned(),
            detail,
        });
    }
    Ok(())
}
