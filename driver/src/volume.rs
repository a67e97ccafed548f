//! The logical volume that a call-out is about, once it is known that it may be used. Called by the call-outs.

use std::fmt;

use host::{Bytes, LvName, LvUuid, VgName};

use crate::error::Error;
use crate::node::Node;
use crate::options::Options;
use crate::static_volume;

/// Which logical volume it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its group.
    pub(crate) group: VgName,
    /// Its name.
    pub(crate) name: LvName,
    /// LVM's uuid of it: the others can come to mean another one.
    pub(crate) uuid: LvUuid,
}

/// A logical volume that whoever asks may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Which one.
    pub(crate) identity: Identity,
    /// The size that its fresh mark stands by.
    pub(crate) size: Bytes,
    /// Whether an admin's tag says that nothing is on it.
    pub(crate) to_format: bool,
}

impl Volume {
    /// The volume that the options name. A claim's is known by its uuid, without a look; LVM is asked about another's tags.
    ///
    /// # Errors
    /// When it may not be used, or LVM doesn't say.
    pub(crate) fn of(node: &Node<'_>, options: &Options) -> Result<Self, Error> {
        let Options { group, volume, .. } = options;
        let Some(proof) = &options.proof else {
            return static_volume::find(node, group, volume);
        };
        let identity = Identity { group: group.clone(), name: volume.clone(), uuid: proof.uuid.clone() };
        Ok(Self { identity, size: proof.size, to_format: false })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.name)
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)
    }
}
