//! Mounts: mount, unmount, and read the mount table.
//!
//! [`syscalls`] is the only module that mounts, with [`new_mount_api`] where the kernel has it, and
//! [`unmount`] the only one that unmounts; [`private_mount_ns`] changes a mount for one program
//! alone; [`mountinfo`] reads the mount table; [`umount_program`] unmounts in another mount
//! namespace. Which device a mount shows is [`stack`](crate::stack)'s topic.

pub mod mountinfo;
#[expect(
    clippy::disallowed_methods,
    reason = "the rule is about every place but this"
)]
mod new_mount_api;
#[expect(
    clippy::disallowed_methods,
    reason = "the rule is about every place but this"
)]
pub mod private_mount_ns;
#[expect(
    clippy::disallowed_methods,
    reason = "the rule is about every place but this"
)]
mod syscalls;
pub mod umount_program;
#[expect(
    clippy::disallowed_methods,
    reason = "the rule is about every place but this"
)]
mod unmount;

pub use syscalls::{Flags, MountRequest, MountTarget, bind, make_read_only, mount};
pub use unmount::unmount_all;
