//! A mount namespace for one thread: changes in it are invisible to all other processes.
//!
//! For programs that use the first mount of a device that they find.

use crate::block::dev_num::DevNum;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};
use rustix::thread::UnshareFlags;

use crate::error::Error;
use crate::mount::mountinfo;

/// The mount table of the calling thread.
const TABLE: &str = "/proc/thread-self/mountinfo";

/// Runs `work` in a namespace in which every mount of this device is writable.
///
/// Pods may have some of them read-only. Programs that `work` starts are in the same namespace.
///
/// # Errors
/// When this process can't create a mount namespace; `work` was not run then.
pub fn with_writable<T: Send>(device: DevNum, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let result = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || enter(device).map(|()| work()));
        thread.map(ScopedJoinHandle::join)
    });
    match result.map_err(Error::io("start a thread for", TABLE))? {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe because of other flags, which share more than mounts"
)]
fn enter(device: DevNum) -> Result<(), Error> {
    let mount_ns = || {
        std::fs::read_link("/proc/thread-self/ns/mnt")
            .map_err(Error::io("read", "/proc/thread-self/ns/mnt"))
    };
    let before = mount_ns()?;
    rustix::thread::unshare(UnshareFlags::NEWNS)
        .map_err(|errno| Error::io("copy", TABLE)(errno.into()))?;
    if mount_ns()? == before {
        return Err(Error::failed(
            "the kernel created no separate mount namespace",
        ));
    }
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|errno| Error::io("make private the copy of", TABLE)(errno.into()))?;
    for mount in mountinfo::read(Path::new(TABLE))?
        .iter()
        .filter(|mount| mount.device == device && mount.read_only)
    {
        // A mount hidden below another can't be reached, neither here nor by other programs.
        let _ = mount_remount(&mount.point, MountFlags::BIND, c"");
    }
    Ok(())
}
