//! The logical volume of a call-out, once the options have identified it.

use std::fmt;

use flexvolume::options::{Options, Proof};
use host::{Bytes, LvName, LvUuid, VgName};

/// Identity of a logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeIdentity {
    /// Name of its volume group.
    pub(crate) group: VgName,
    /// Name of the logical volume.
    pub(crate) name: LvName,
    /// LVM's UUID: unlike the names, it is never reused.
    pub(crate) uuid: LvUuid,
}

impl VolumeIdentity {
    /// Returns the volume that the options name with a proof, which is not checked here.
    pub(crate) fn proven(options: &Options, proof: &Proof) -> Self {
        Self {
            group: options.group.clone(),
            name: options.volume.clone(),
            uuid: proof.uuid.clone(),
        }
    }
}

/// A logical volume with what its first mount needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Identity of the logical volume.
    pub(crate) identity: VolumeIdentity,
    /// Size in bytes that determines the position of its format marker.
    pub(crate) size: Bytes,
    /// Whether an admin's tag marks it as empty, to be formatted.
    pub(crate) to_format: bool,
}

impl fmt::Display for VolumeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.name)
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)
    }
}
