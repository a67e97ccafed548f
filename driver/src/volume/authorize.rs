//! Which volume the options name, and whether whoever wrote them may have it. An inline volume of a
//! pod can name any logical volume, and LVM's uuid of it can be read in every container; the key
//! stands in the claim's PersistentVolume alone.

use flexvolume::options::Options;
use host::lvm::Lvm;
use host::{Error as HostError, KeyDigest, Kind, KnownKeys};

use crate::error::Error;
use crate::volume::context::Node;
use crate::volume::identity::{Volume, VolumeIdentity};
use crate::volume::{diagnose, static_volume};

/// The volume that the options name. A claim's is known by its uuid, without a look; LVM is asked
/// about another's tags.
///
/// # Errors
/// When it may not be used, or LVM doesn't say.
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

/// Admits options that hold the volume's key. Those without a uuid were judged by the volume's
/// tags. LVM is asked once after each start of the node, and again when the key is another one.
///
/// # Errors
/// When the key is not the volume's, or LVM doesn't say.
pub(crate) fn authorize(
    node: &Node<'_>,
    volume: &VolumeIdentity,
    options: &Options,
) -> Result<(), Error> {
    let Some(proof) = &options.proof else {
        return Ok(());
    };
    let wanted = proof.key.digest();
    let known = KnownKeys::in_folder(&node.locks);
    if known.recall(&volume.uuid).as_ref() == Some(&wanted) {
        return Ok(());
    }
    let refused = |message: String| Err(HostError::refused(Kind::Invalid, message).into());
    match look_up(node, volume)? {
        Some(digest) if digest == wanted => {
            // Not worth a failure: then LVM is asked again.
            let _ = known.remember(&volume.uuid, &digest);
            Ok(())
        }
        Some(_) => refused(format!(
            "the option \"key\" is not the key of logical volume {volume}: only the claim's own PersistentVolume can have \
             it mounted"
        )),
        None => refused(format!(
            "logical volume {volume} has no tag with the digest of its key, so nobody can tell who may have it mounted; \
             its LogicalVolume object holds the key"
        )),
    }
}

fn look_up(node: &Node<'_>, volume: &VolumeIdentity) -> Result<Option<KeyDigest>, HostError> {
    let VolumeIdentity { group, name, uuid } = volume;
    let found = Lvm(node)
        .volume(group, name)
        .map_err(|error| diagnose::explain(node, group, name, Some(uuid), error))?;
    if found.uuid != *uuid {
        let message =
            format!("the name {volume} means another logical volume by now; it is tried again");
        return Err(HostError::refused(Kind::Busy, message));
    }
    Ok(KeyDigest::from_tags(&found.tags))
}
