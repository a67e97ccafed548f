//! Block devices, found and known without running a program.
//!
//! [`lv_device`] is a logical volume's, held open; [`disk`] one that a volume group could be made
//! of; [`sysfs`] is what the kernel shows of any, [`swap`] what it swaps to; [`duplicate_fs`] finds a second device with the
//! same file system.

pub mod disk;
pub mod duplicate_fs;
pub mod lv_device;
pub mod swap;
pub mod sysfs;
