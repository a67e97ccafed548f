//! `isattached <options> <node>`: reports whether a volume's device is active on a node.
//!
//! The controller manager calls this periodically, and attaches again what is not attached. Runs no
//! program.

use flexvolume::options;
use flexvolume::settings::DriverSettings;

use crate::error::Error;
use crate::volume::context::Node;
use crate::volume::identity::VolumeIdentity;

/// Returns whether the volume is attached: always true elsewhere, since a logical volume never
/// leaves its node.
///
/// # Errors
/// When the state can't be determined: the device is suspended, or another volume has its name.
pub(crate) fn is_attached(
    node: &Node<'_>,
    settings: &DriverSettings,
    options: &str,
    name: &str,
) -> Result<bool, Error> {
    let options = options::parse(options)?;
    if !node.is(settings, name) {
        return Ok(true);
    }
    let device = match &options.proof {
        Some(proof) => node.device(&VolumeIdentity::proven(&options, proof))?,
        None => node.device_named(&options.group, &options.volume)?,
    };
    Ok(device.is_some())
}
