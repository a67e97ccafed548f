//! One lock per logical volume, which serializes the calls of several pods; and the turn to look a
//! volume up, of which a node has one.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::error::Error;
use crate::lvm::names::LvUuid;

/// Folder of the lock files: on a file system that a reboot empties, and never in the driver's own
/// folder, since the kubelet starts the driver anew after each change there.
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
        LockFile::of_volume(folder, volume, wait)?.inherited()
    }

    /// Acquires the lock of a logical volume like [`acquire`](Self::acquire), but only this process
    /// holds it: programs that it starts may run for long on behalf of other volumes.
    ///
    /// # Errors
    /// As `acquire`.
    pub fn acquire_alone(folder: &Path, volume: &LvUuid, wait: Duration) -> Result<Self, Error> {
        let lock = LockFile::of_volume(folder, volume, wait)?;
        Ok(Self { _file: lock.file })
    }

    /// Removes the lock file of a logical volume that no longer exists.
    ///
    /// A process that still has the file open excludes no process that creates the file again. That
    /// matters no more: neither finds a device with the uuid, which LVM never assigns again.
    pub fn remove(folder: &Path, volume: &LvUuid) {
        // Most often there is none; one that stays takes space until the next restart.
        let _ = std::fs::remove_file(folder.join(format!("{volume}.lock")));
    }

    /// Acquires this node's only turn to look up a volume that is not known to be the caller's, and
    /// waits for it no longer than `wait`.
    ///
    /// At most [`WAITING`] calls wait at a time; the others fail at once, because a pod can name
    /// any number of volumes. A program that outlives the call keeps the turn.
    ///
    /// # Errors
    /// `Busy` when too many calls wait, or the turn doesn't come in time; else when a lock file
    /// can't be created or locked.
    pub fn look_up(folder: &Path, wait: Duration) -> Result<Self, Error> {
        let turn = LockFile::open(folder, "look-up.lock")?;
        if turn.is_locked_within(Duration::ZERO)? {
            return turn.inherited();
        }
        for place in 0..WAITING {
            let place = LockFile::open(folder, &format!("look-up-{place}.lock"))?;
            if place.is_locked_within(Duration::ZERO)? {
                if turn.is_locked_within(wait)? {
                    return turn.inherited();
                }
                break;
            }
        }
        let message = "calls for other volumes, which have not shown their right to them yet, are waiting for LVM; \
                       Kubernetes retries";
        Err(Error::busy(message))
    }
}

/// Maximum number of calls that wait for the turn to look up a volume.
pub const WAITING: usize = 16;

/// An open lock file.
struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Opens and locks the file of a logical volume.
    fn of_volume(folder: &Path, volume: &LvUuid, wait: Duration) -> Result<Self, Error> {
        let lock = Self::open(folder, &format!("{volume}.lock"))?;
        if lock.is_locked_within(wait)? {
            return Ok(lock);
        }
        let message = format!(
            "another call still holds the lock of logical volume {volume} after {} s; Kubernetes retries",
            wait.as_secs()
        );
        Err(Error::busy(message))
    }

    /// Opens the file, and creates it and the folder if required.
    fn open(folder: &Path, name: &str) -> Result<Self, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Error::io("make", folder))?;
        let path = folder.join(name);
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nofollow);
        let file = options.open(&path).map_err(Error::io("open", &path))?;
        Ok(Self { file, path })
    }

    /// Locks the file; returns false if another process holds it for longer than `wait`.
    fn is_locked_within(&self, wait: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + wait;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(true),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(source)) => {
                    return Err(Error::io("lock", &self.path)(source));
                }
            }
        }
    }

    /// Returns the lock; programs started from now on inherit it.
    fn inherited(self) -> Result<Lock, Error> {
        fcntl_setfd(&self.file, FdFlags::empty())
            .map_err(|errno| Error::io("keep open", &self.path)(errno.into()))?;
        Ok(Lock { _file: self.file })
    }
}

#[cfg(test)]
mod tests {
    use super::{Lock, LockFile, WAITING};
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
    fn one_call_looks_up_and_few_wait() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let turn = Lock::look_up(folder, Duration::ZERO).unwrap();
        let begun = Instant::now();
        let error = Lock::look_up(folder, Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, Error::Busy(_)), "{error}");
        assert!(begun.elapsed() >= Duration::from_millis(100));
        // With all places taken, a call fails at once.
        let mut waiting = Vec::new();
        for place in 0..WAITING {
            let place = LockFile::open(folder, &format!("look-up-{place}.lock")).unwrap();
            assert!(place.is_locked_within(Duration::ZERO).unwrap());
            waiting.push(place);
        }
        let begun = Instant::now();
        Lock::look_up(folder, Duration::from_mins(1)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(30));
        drop(waiting);
        let waiter = folder.to_owned();
        let waiter =
            std::thread::spawn(move || Lock::look_up(&waiter, Duration::from_mins(1)).map(drop));
        drop(turn);
        waiter.join().unwrap().unwrap();
    }

    #[test]
    fn child_process_does_not_keep_lock_of_its_parent_alone() {
        let folder = tempfile::tempdir().unwrap();
        let volume = LvUuid::from_plain("CBCDEF1234567890abcdefghijklmnop").unwrap();
        let held = Lock::acquire_alone(folder.path(), &volume, Duration::ZERO).unwrap();
        assert!(Lock::acquire_alone(folder.path(), &volume, Duration::ZERO).is_err());
        System::current()
            .exec(&Cmd::new("sh").args(["-c", "sleep 5 & exit 0"]))
            .unwrap();
        drop(held);
        assert!(Lock::acquire(folder.path(), &volume, Duration::ZERO).is_ok());
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
