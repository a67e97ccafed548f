//! mount(2) and umount(2). Called by the driver.

pub use rustix::mount::MountFlags as Flags;
