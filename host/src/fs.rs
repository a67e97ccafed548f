//! File systems on a device: what is on it, make one, check one, grow one. Losing data is decided
//! here: whatever is not positively blank is not blank.

mod blank;
mod fsck;
mod mkfs;
mod probe;
mod resize;
mod size;
pub mod superblock;

use std::fmt;

pub use fsck::fsck;
pub use mkfs::{MkfsOptions, MkfsRequest, mkfs};
pub use probe::{Content, Probe, examine, is_blank, probe};
pub use resize::{fills, resize};
pub use size::size;

/// The file systems that volumes can have.
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
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];
    /// Their names, for people.
    pub const NAMES: &str = "ext4, xfs and btrfs";

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fs| fs.name() == name)
    }

    /// Its name, as mount(2), blkid and Kubernetes spell it.
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
