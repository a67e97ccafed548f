//! `isattached <options> <node>`: whether a volume's device is on that node. Called by the
//! controller manager, again and again; whatever is not attached is attached anew. Runs no program.

use flexvolume::options;
use flexvolume::settings::DriverSettings;

use crate::error::Error;
use crate::volume::authorize::find_volume;
use crate::volume::context::Node;

/// Whether it is. A logical volume never leaves its node: elsewhere there is nothing to look at.
///
/// # Errors
/// When nobody can tell: the device is suspended, or another has its name.
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
    let device = if options.proof.is_some() {
        node.device(&find_volume(node, &options)?.identity)?
    } else {
        node.device_named(&options.group, &options.volume)?
    };
    Ok(device.is_some())
}
