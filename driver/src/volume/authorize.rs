//! Identifies the volume of the options, and checks that they authorize its use.
//!
//! A pod's inline volume can name any logical volume, and LVM's UUID of it is readable in every
//! container; only the claim's PersistentVolume and its LogicalVolume hold the key.

use flexvolume::options::Options;
use host::lvm::Lvm;
use host::{KeyDigest, KnownKeys};

use crate::error::Error;
use crate::volume::context::Node;
use crate::volume::identity::{Volume, VolumeIdentity};
use crate::volume::{diagnose, static_volume};

/// Returns the volume of these options. A claim's volume has its UUID in the options; for any
/// other, LVM reports the tags.
///
/// # Errors
/// When the volume may not be used, or LVM's report fails.
pub(crate) fn find_volume(node: &Node<'_>, options: &Options) -> Result<Volume, Error> {
    let Options { group, volume, .. } = options;
    let Some(proof) = &options.proof else {
        return static_volume::find(node, group, volume);
    };
    let identity = VolumeIdentity {
        group: group.clone(),
        name: volume.clone(),
        uuid: proof.uuid.clone(),
    };
    Ok(Volume {
        identity,
        size: proof.size,
        to_format: false,
    })
}

/// Checks the key in the options. Options without a UUID have been authorized by the volume's tags.
///
/// Runs LVM once after each start of the node, and again when the key differs.
///
/// # Errors
/// When the key is not the volume's, or LVM's report fails.
pub(crate) fn authorize(
    node: &Node<'_>,
    volume: &VolumeIdentity,
    options: &Options,
) -> Result<(), Error> {
    let Some(proof) = &options.proof else {
        return Ok(());
    };
    let given = proof.key.digest();
    let known = KnownKeys::in_folder(&node.locks);
    if known.recall(&volume.uuid).as_ref() == Some(&given) {
        return Ok(());
    }
    match look_up(node, volume)? {
        Some(digest) if digest == given => {
            // A failure only means that the next call runs LVM again.
            let _ = known.remember(&volume.uuid, &digest);
            Ok(())
        }
        Some(_) => Err(Error::Failed(format!(
            "the option \"key\" is not the key of logical volume {volume}: only the claim's own PersistentVolume can \
             mount it"
        ))),
        None => Err(Error::Failed(format!(
            "logical volume {volume} has no tag with the digest of its key, so the driver can't check the option \"key\"; \
             its LogicalVolume object holds the key"
        ))),
    }
}

fn look_up(node: &Node<'_>, volume: &VolumeIdentity) -> Result<Option<KeyDigest>, Error> {
    let VolumeIdentity { group, name, uuid } = volume;
    let found = Lvm(node)
        .volume(group, name)
        .map_err(|error| diagnose::explain(node, group, name, Some(uuid), error))?;
    if found.uuid != *uuid {
        let message =
            format!("the name {volume} now belongs to another logical volume; Kubernetes retries");
        return Err(Error::Failed(message));
    }
    Ok(KeyDigest::from_tags(&found.tags))
}
