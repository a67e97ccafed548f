//! One lock per logical volume, which serializes the calls of several pods.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::error::Error;
use crate::lvm::names::LvUuid;

/// Folder of the lock files: on a file system that a reboot empties, and never in the driver's own
/// folder, since kubelet starts the driver anew after each change there.
pub const FOLDER: &str = "/run/flexlvm";

/// A lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Acquires the lock of a logical volume and waits for it no longer than `wait`.
    ///
    /// Programs started while it is held inherit it: a mkfs that outlives this process still works
    /// on the device.
    ///
    /// # Errors
    /// `Busy` when it wasn't released in time; else when the lock file can't be created or locked.
    pub fn acquire(folder: &Path, volume: &LvUuid, wait: Duration) -> Result<Self, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Error::io("make", folder))?;
        let path = folder.join(format!("{volume}.lock"));
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nofollow);
        let file = options.open(&path).map_err(Error::io("open", &path))?;
        let deadline = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    let message = format!(
                        "another call still holds the lock of logical volume {volume} after {} s; Kubernetes retries",
                        wait.as_secs()
                    );
                    return Err(Error::busy(message));
                }
                Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
            }
        }
        fcntl_setfd(&file, FdFlags::empty())
            .map_err(|errno| Error::io("keep open", &path)(errno.into()))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::Lock;
    use crate::error::Error;
    use crate::lvm::names::LvUuid;
    use crate::process::{Cmd, Exec, System};
    use std::time::{Duration, Instant};

    #[test]
    fn lock_excludes_second_holder_until_timeout() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("locks");
        let volume = LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap();
        let other = LvUuid::from_plain("BBCDEF1234567890abcdefghijklmnop").unwrap();
        let held = Lock::acquire(&folder, &volume, Duration::ZERO).unwrap();
        let begun = Instant::now();
        let error = Lock::acquire(&folder, &volume, Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, Error::Busy(_)), "{error}");
        assert!(
            begun.elapsed() >= Duration::from_millis(100)
                && begun.elapsed() < Duration::from_secs(5)
        );
        Lock::acquire(&folder, &other, Duration::ZERO).unwrap();
        drop(held);
        // A program started by the test below may have inherited the lock meanwhile; it ends soon.
        Lock::acquire(&folder, &volume, Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn child_process_keeps_inherited_lock() {
        let folder = tempfile::tempdir().unwrap();
        let volume = LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap();
        let held = Lock::acquire(folder.path(), &volume, Duration::ZERO).unwrap();
        System::current()
            .exec(&Cmd::new("sh").args(["-c", "sleep 1.5 & exit 0"]))
            .unwrap();
        drop(held);
        assert!(Lock::acquire(folder.path(), &volume, Duration::ZERO).is_err());
        assert!(Lock::acquire(folder.path(), &volume, Duration::from_secs(10)).is_ok());
    }
}
