//! A view of the mounts that one thread has for itself: what is changed in it, nobody else sees.
//! For programs that go by the first mount of a device that they find.

use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};
use rustix::thread::UnshareFlags;

use crate::error::{Error, Kind};
use crate::mount::mountinfo;

/// The table of the mounts that the calling thread sees.
const TABLE: &str = "/proc/thread-self/mountinfo";

/// Does `work` where every mount of this device is writable, though pods have some of them
/// read-only. Whatever programs `work` starts have the same view.
///
/// # Errors
/// When this process may not have a view of its own; `work` was not done then.
pub fn with_writable<T: Send>(
    device: (u32, u32),
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    let made = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || enter(device).map(|()| work()));
        thread.map(ScopedJoinHandle::join)
    });
    match made.map_err(Error::io("start a thread for", TABLE))? {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe because of other flags, which share more than mounts"
)]
fn enter(device: (u32, u32)) -> Result<(), Error> {
    let own = || {
        std::fs::read_link("/proc/thread-self/ns/mnt")
            .map_err(Error::io("read", "/proc/thread-self/ns/mnt"))
    };
    let before = own()?;
    rustix::thread::unshare(UnshareFlags::NEWNS)
        .map_err(|errno| Error::io("copy", TABLE)(errno.into()))?;
    if own()? == before {
        return Err(Error::refused(
            Kind::Failed,
            "the mounts are still those of everybody",
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
        // One that is hidden below another can't be reached; nor does anybody else reach it.
        let _ = mount_remount(&mount.point, MountFlags::BIND, c"");
    }
    Ok(())
}
