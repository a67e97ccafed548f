//! Identifies the volume of the options, and checks that they authorize its use, before anything is
//! done to it: no activation, no lock, no record.
//!
//! A pod's inline volume can name any logical volume, and LVM's UUID of it is readable in every
//! container; only the claim's PersistentVolume holds the key.

use std::time::Duration;

use flexvolume::options::{Options, Proof};
use host::lvm::{Lvm, backup, tags};
use host::{KeyDigest, KnownKeys, Lock};

use crate::error::Error;
use crate::volume::context::Node;
use crate::volume::identity::{Volume, VolumeIdentity};
use crate::volume::{diagnose, static_volume};

/// Maximum wait for the turn to look up a volume.
const TURN_TIME: Duration = Duration::from_secs(20);

/// Returns the volume of these options, if they authorize its use: by the key, or by an admin's tag
/// on a volume that the options name without a UUID. Changes nothing on the node.
///
/// With a key, runs LVM once after each start of the node, and again when the key differs.
///
/// # Errors
/// When the volume may not be used, or LVM's report fails.
pub(crate) fn authorized_volume(node: &Node<'_>, options: &Options) -> Result<Volume, Error> {
    let Options { group, volume, .. } = options;
    let Some(proof) = &options.proof else {
        let _turn = turn(node, options, tags::STATIC)?;
        return static_volume::find(node, group, volume);
    };
    let identity = VolumeIdentity::proven(options, proof);
    check_key(node, options, proof, &identity)?;
    Ok(Volume {
        identity,
        size: proof.size,
        to_format: false,
    })
}

fn check_key(
    node: &Node<'_>,
    options: &Options,
    proof: &Proof,
    volume: &VolumeIdentity,
) -> Result<(), Error> {
    let given = proof.key.digest();
    let known = KnownKeys::in_folder(&node.locks);
    if known.recall(&volume.uuid).as_ref() == Some(&given) {
        return Ok(());
    }
    let _turn = turn(node, options, &given.tag())?;
    match look_up(node, volume, &given)? {
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
             that digest is spec.keyDigest of its LogicalVolume object"
        ))),
    }
}

/// Waits for the turn to look up the volume, unless LVM's backup lists the tag that authorizes its
/// use: so a pod that names any number of volumes delays no other pod's own.
fn turn(node: &Node<'_>, options: &Options, tag: &str) -> Result<Option<Lock>, Error> {
    if backup::lists_tag(&node.lvm, &options.group, &options.volume, tag) {
        return Ok(None);
    }
    node.turn_to_look_up(TURN_TIME).map(Some)
}

fn look_up(
    node: &Node<'_>,
    volume: &VolumeIdentity,
    given: &KeyDigest,
) -> Result<Option<KeyDigest>, Error> {
    let VolumeIdentity { group, name, uuid } = volume;
    let found = Lvm(node)
        .volume(group, name)
        .map_err(|error| diagnose::explain_to_holder(node, volume, given, error))?;
    if found.uuid != *uuid {
        return Err(diagnose::another_volume(volume, found.uuid));
    }
    Ok(KeyDigest::from_tags(&found.tags))
}
