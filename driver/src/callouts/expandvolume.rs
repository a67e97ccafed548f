//! `expandvolume <options> <folder> <new size> <old size>`: whether the logical volume is as large
//! as it is to be. The agent extends it, not the driver.

use flexvolume::options::{self, Options};
use host::{Bytes, Error as HostError, Kind};

use crate::error::Error;
use crate::volume::authorize::find_volume;
use crate::volume::context::Node;
use crate::volume::identity::Volume;

/// Succeeds when the logical volume is large enough.
///
/// # Errors
/// When it isn't, or isn't active here.
pub(crate) fn expandvolume(node: &Node<'_>, options: &str, size: Bytes) -> Result<(), Error> {
    let options = options::parse(options)?;
    let volume = find_volume(node, &options)?;
    let device = node.device(&volume.identity)?.ok_or_else(|| {
        HostError::refused(
            Kind::NotFound,
            format!("logical volume {volume} is not active on this node"),
        )
    })?;
    Ok(check_size(&options, &volume, device.size()?, size)?)
}

/// Refuses as long as the logical volume is too small.
///
/// # Errors
/// `NoSpace` then, with who is to extend it.
pub(crate) fn check_size(
    options: &Options,
    volume: &Volume,
    there: Bytes,
    wanted: Bytes,
) -> Result<(), HostError> {
    if there >= wanted {
        return Ok(());
    }
    let who = if options.proof.is_some() {
        "FlexLVM's agent on this node has not extended it yet; why not, its LogicalVolume object says".to_owned()
    } else {
        format!(
            "whoever made it by hand extends it on its node: lvextend --size {}b {volume}",
            wanted.0
        )
    };
    Err(HostError::refused(
        Kind::NoSpace,
        format!("logical volume {volume} has {there}, and {wanted} are wanted: {who}"),
    ))
}
