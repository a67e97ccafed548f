//! `expandvolume <options> <folder> <new size> <old size>`: checks that the logical volume has the
//! requested size. The agent extends it, not the driver.

use flexvolume::options::{self, Options};
use host::Bytes;

use crate::error::Error;
use crate::volume::authorize::authorized_volume;
use crate::volume::context::Node;
use crate::volume::identity::Volume;

/// Succeeds when the logical volume is large enough.
///
/// # Errors
/// When it is too small, or isn't active here.
pub(crate) fn expandvolume(node: &Node<'_>, options: &str, size: Bytes) -> Result<(), Error> {
    let options = options::parse(options)?;
    let volume = authorized_volume(node, &options)?;
    let device = node.device(&volume.identity)?.ok_or_else(|| {
        Error::Failed(format!(
            "logical volume {volume} is not active on this node"
        ))
    })?;
    check_size(&options, &volume, device.size()?, size)
}

/// Checks that the logical volume has at least the requested size.
///
/// # Errors
/// If not; the message names who has to extend it.
pub(crate) fn check_size(
    options: &Options,
    volume: &Volume,
    actual: Bytes,
    requested: Bytes,
) -> Result<(), Error> {
    if actual >= requested {
        return Ok(());
    }
    let action = if options.proof.is_some() {
        "FlexLVM's agent on this node has not extended it yet; its LogicalVolume object shows why"
            .to_owned()
    } else {
        format!(
            "an admin created it and has to extend it on its node: lvextend --size {}b {volume}",
            requested.0
        )
    };
    Err(Error::Failed(format!(
        "logical volume {volume} has {actual}, but {requested} were requested: {action}"
    )))
}
