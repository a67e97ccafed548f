//! Mounts: mount, unmount, and read the mount table.
//!
//! [`syscalls`] is the only module that mounts, with [`new_mount_api`] where the kernel has it, and
//! [`unmount`] the only one that unmounts; [`private_mount_ns`] changes a mount for one program
//! alone; [`mountinfo`] reads the mount table, and [`lookup`] maps a mount to its device.

pub mod lookup;
pub mod mountinfo;
mod new_mount_api;
pub mod private_mount_ns;
mod syscalls;
mod unmount;

pub use syscalls::{Flags, MountRequest, MountTarget, bind, make_read_only, mount};
pub use unmount::unmount_all;
