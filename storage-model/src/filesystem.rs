//! The supported file systems, and options for making one. Pure.

use std::fmt;

/// The supported file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filesystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs, on a single device.
    Btrfs,
}

impl Filesystem {
    /// All supported file systems.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];
    /// Their names, for messages.
    pub const NAMES: &str = "ext4, xfs and btrfs";

    /// Returns the file system with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fs| fs.name() == name)
    }

    /// Returns its name, as mount(2), blkid and Kubernetes spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Options for mkfs, validated by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MkfsOptions {
    /// Options and their values, one argument each.
    pub words: Vec<String>,
    /// Values of the single `-E` option that mkfs.ext4 accepts.
    pub extended: Vec<String>,
}
