//! umount(2): the only place that calls it.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::{Error, Kind};

/// More mounts than anybody stacks on one folder.
const MOST_STACKED: u32 = 64;

/// Takes down everything that is mounted at `top`, never lazily and never by force, and says how
/// many mounts it was. `shown` is the place's name for people.
///
/// # Errors
/// `Busy` when a file is open on it or something is mounted below it.
pub fn unmount_all(top: &Path, shown: &Path) -> Result<u32, Error> {
    for count in 0..MOST_STACKED {
        match umount(top) {
            Ok(()) => {}
            // Not, or no longer, a mount point: the kernel's own word for it.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(count),
            Err(Errno::BUSY) => {
                let message = format!(
                    "{} is in use: a process has a file open on it, or something is mounted below it",
                    shown.display()
                );
                return Err(Error::refused(Kind::Busy, message));
            }
            Err(errno) => return Err(Error::io("unmount", shown)(errno.into())),
        }
    }
    let message = format!(
        "more than {MOST_STACKED} mounts are stacked on {}",
        shown.display()
    );
    Err(Error::refused(Kind::Failed, message))
}

pub(super) fn umount(top: &Path) -> Result<(), Errno> {
    rustix::mount::unmount(top, UnmountFlags::NOFOLLOW)
}
