//! The values of storage that node, controller and kubectl plugin share: sizes, names, layouts, file
//! systems. Pure, and of no operating system: the plugin also runs on macOS.
//!
//! In reading order:
//!
//! - [`units`]: bytes and extents.
//! - [`names`], [`tags`]: names and LVM's tags, validated.
//! - [`geometry`], [`pool_cost`]: layouts, and the extents that volumes and thin pools allocate.
//! - [`filesystem`], [`mount_flags`]: the supported file systems, how they are made and mounted.
//! - [`key`]: the secret that authorizes the mount of a claim's volume.
//! - [`error`]: why LVM can't create a layout.

pub mod error;
pub mod filesystem;
pub mod geometry;
pub mod key;
pub mod mount_flags;
pub mod names;
pub mod pool_cost;
pub mod tags;
pub mod units;

pub use filesystem::{Filesystem, MkfsOptions};
pub use geometry::{Cost, Layout, Level, Stripes};
pub use key::{Key, KeyDigest};
pub use mount_flags::MountFlags;
pub use names::{LvName, LvTag, LvUuid, VgName};
pub use pool_cost::PoolCost;
pub use units::{Bytes, Extents};
