//! All FlexLVM code that touches a node: programs, LVM, devices, file systems, mounts.
//!
//! Synchronous, and without logging: libraries return, binaries report.
//!
//! In reading order:
//!
//! - [`process`]: the only module that starts programs.
//! - [`lvm`]: LVM's commands and reports as values.
//! - [`block`]: a logical volume's device, other disks, and what the kernel shows of them.
//! - [`fs`]: the content of a device; mkfs, fsck and growth.
//! - [`mount`]: mount(2) and umount(2), and the table of mounts.
//! - [`stack`]: what lies on a device, where it is mounted, and who holds it.
//! - [`format_marker`]: the on-disk proof that the first mkfs is allowed.
//! - [`job_cursor`]: the on-disk record of how far a job has come.
//! - [`volume_key`]: the secret that authorizes the mount of a claim's volume.
//! - [`lock`]: one call per volume at a time.
//! - [`atomic_file`]: files that are there completely or not at all.
//! - [`root_path`]: paths below the root folder of another process.
//! - [`random`] and [`error`].
//!
//! Sizes, names, layouts and file systems are those of the crate `storage-model`.

pub mod atomic_file;
pub mod block;
pub mod error;
pub mod format_marker;
pub mod fs;
pub mod job_cursor;
mod little_endian;
pub mod lock;
pub mod lvm;
pub mod mount;
pub mod process;
pub mod random;
pub mod root_path;
pub mod stack;
pub mod volume_key;

pub use block::dev_num::DevNum;
pub use block::disk::Disk;
pub use block::lv_device::{Device, Roots};
pub use device_path::DevicePath;
pub use error::{Error, Kind};
pub use format_marker::{FormatMarker, FormatMarkerBlock};
pub use fs::Filesystem;
pub use job_cursor::JobCursorBlock;
pub use lock::Lock;
pub use lvm::names::{LvName, LvTag, LvUuid, VgName};
pub use process::{Cmd, Exec, Output, System};
pub use storage_model::units::{self, Bytes, Extents};
pub use volume_key::{Key, KeyDigest, KnownKeys, MasterKey};
