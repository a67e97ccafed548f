//! Everything of FlexLVM that touches a node: programs, LVM, devices, file systems, mounts. Used by
//! driver and agent; synchronous, and without a word to any log: libraries return, binaries report.

pub mod block;
pub mod error;
pub mod format_marker;
pub mod fs;
mod hex;
pub mod lock;
pub mod lvm;
pub mod mount;
pub mod process;
pub mod units;
pub mod volume_key;

pub use block::disk::Disk;
pub use block::lv_device::{Device, Roots};
pub use error::{Error, Kind};
pub use format_marker::{FormatMarker, FormatMarkerBlock};
pub use fs::Filesystem;
pub use lock::Lock;
pub use lvm::names::{DevicePath, LvName, LvTag, LvUuid, VgName};
pub use process::{Cmd, Exec, Output, System};
pub use units::{Bytes, Extents};
pub use volume_key::{Key, KeyDigest, KnownKeys};
