//! Everything of FlexLVM that touches a node: programs, LVM, devices, file systems, mounts. Used by
//! driver and agent; synchronous, and without a word to any log: libraries return, binaries report.

pub mod device;
pub mod disk;
pub mod error;
pub mod exec;
pub mod filesystem;
pub mod fresh;
mod hex;
pub mod key;
pub mod lock;
pub mod lvm;
pub mod mount;
pub mod mounted;
pub mod mountinfo;
pub mod name;
pub mod size;
pub mod superblock;
pub mod tags;
pub mod twin;

pub use device::{Device, Roots};
pub use disk::Disk;
pub use error::{Error, Kind};
pub use exec::{Cmd, Exec, Output, System};
pub use filesystem::Filesystem;
pub use fresh::{FreshMark, Mark};
pub use key::{Key, KeyDigest, KnownKeys};
pub use lock::Lock;
pub use name::{DevicePath, LvName, LvTag, LvUuid, VgName};
pub use size::{Bytes, Extents};
