//! File systems on a device: probe, make, check and grow.
//!
//! Examines whether data may be overwritten: a device that is not positively blank is not blank.

mod blank;
mod fsck;
mod mkfs;
mod new_end;
mod probe;
mod resize;
mod size;
pub mod superblock;
mod zero_ends;

use std::fmt;

pub use fsck::fsck;
pub use mkfs::{MkfsOptions, MkfsRequest, mkfs};
pub use new_end::{is_write_refused, zero_behind_filesystem, zero_new_end};
pub use probe::{Content, Probe, examine, is_blank, probe};
pub use resize::{fills, resize};
pub use size::size;
pub use zero_ends::{NewBlocks, zero_ends};

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
