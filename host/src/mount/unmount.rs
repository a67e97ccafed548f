//! umount(2): the only module that calls it.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::Error;

/// Far more mounts than are ever stacked on one folder.
const MOST_STACKED: u32 = 64;

/// Unmounts everything mounted at `top`, never lazily and never by force; returns how many mounts
/// that were.
///
/// `shown` is the path for messages.
///
/// # Errors
/// `Busy` when a file on it is open, or something is mounted below it.
pub fn unmount_all(top: &Path, shown: &Path) -> Result<u32, Error> {
    for count in 0..MOST_STACKED {
        match umount(top) {
            Ok(()) => {}
            // The kernel's error for a path that is not, or no longer, a mount point.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(count),
            Err(Errno::BUSY) => {
                let message = format!(
                    "{} is in use: a process has a file open on it, or something is mounted below it",
                    shown.display()
                );
                return Err(Error::busy(message));
            }
            Err(errno) => return Err(Error::io("unmount", shown)(errno.into())),
        }
    }
    let message = format!(
        "more than {MOST_STACKED} mounts are stacked on {}",
        shown.display()
    );
    Err(Error::failed(message))
}

pub(super) fn umount(top: &Path) -> Result<(), Errno> {
    rustix::mount::unmount(top, UnmountFlags::NOFOLLOW)
}
