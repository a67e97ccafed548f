//! The logical volume that a call-out is about, once it is known that it may be used.

use std::fmt;

use host::{Bytes, LvName, LvUuid, VgName};

/// Which logical volume it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeIdentity {
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
    pub(crate) identity: VolumeIdentity,
    /// The size that its format marker stands by.
    pub(crate) size: Bytes,
    /// Whether an admin's tag says that nothing is on it.
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
