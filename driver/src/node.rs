//! The node as a call-out sees it, and the time that the call-out has. Used by `mount`, `unmount` and `expandfs`.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use host::device;
use host::lvm::Lvm;
use host::mountinfo::{self, Mount};
use host::{Cmd, Device, Error, Exec, Kind, Lock, LvUuid, Output, Roots};

use crate::folder::Folder;
use crate::options::VolumeOptions;

/// How long a call-out may take. The kubelet itself never ends one, and what hangs blocks all that follows for the volume;
/// its own patience for a pod's volumes is two minutes.
const TIME: Duration = Duration::from_secs(100);
/// How long another call-out for the same volume is waited for.
const LOCK_TIME: Duration = Duration::from_secs(30);
/// How long udev has to make the device's name once the logical volume is active.
const UDEV_TIME: Duration = Duration::from_secs(10);
/// How long LVM may keep a device suspended.
const SUSPENDED_TIME: Duration = Duration::from_secs(10);

/// A node, for the length of one call-out.
pub struct Node<'a> {
    exec: &'a dyn Exec,
    deadline: Instant,
    /// Where its devices are.
    pub roots: Roots,
    /// Where its locks are.
    pub locks: PathBuf,
    /// Its table of mounts.
    pub mounts: PathBuf,
}

impl<'a> Node<'a> {
    /// This node, with its own programs or others.
    #[must_use]
    pub fn here(exec: &'a dyn Exec) -> Self {
        Self {
            exec,
            deadline: Instant::now() + TIME,
            roots: Roots::here(),
            locks: host::lock::FOLDER.into(),
            mounts: "/proc/self/mountinfo".into(),
        }
    }

    /// The same with so much time, instead of what a call-out of the kubelet has.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self { deadline: Instant::now() + time, ..self }
    }

    /// Takes the lock of a logical volume.
    pub(crate) fn lock(&self, uuid: &LvUuid) -> Result<Lock, Error> {
        Lock::take(&self.locks, uuid, LOCK_TIME.min(self.left()))
    }

    /// What is mounted on `folder`, the last of it.
    pub(crate) fn mounted(&self, folder: &Folder) -> Result<Option<Mount>, Error> {
        let mounts = mountinfo::read(&self.mounts)?;
        Ok(mountinfo::at(&mounts, folder.path()).last().map(|mount| (*mount).clone()))
    }

    /// The device of a volume's logical volume, if that is active.
    pub(crate) fn device(&self, volume: &VolumeOptions) -> Result<Option<Device>, Error> {
        let open = || Device::open(&self.roots, &volume.group, &volume.volume, &volume.uuid);
        match self.not_busy(open) {
            Ok(device) => Ok(Some(device)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The device of a volume's logical volume, which is made active if it isn't: after a reboot, none is.
    pub(crate) fn active_device(&self, volume: &VolumeOptions) -> Result<Device, Error> {
        if let Some(device) = self.device(volume)? {
            return Ok(device);
        }
        Lvm(self).activate(&volume.group, &volume.volume, &volume.uuid)?;
        let last = Instant::now() + UDEV_TIME.min(self.left());
        loop {
            if let Some(device) = self.device(volume)? {
                return Ok(device);
            }
            if Instant::now() >= last {
                let message = format!(
                    "logical volume {}/{} with uuid {} is not on this node, or LVM does not activate it; \
                     `lvs -a -o+uuid,devices` shows what is there",
                    volume.group, volume.volume, volume.uuid
                );
                return Err(Error::refused(Kind::NotFound, message));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Refuses a device that stays suspended: to touch it would be to wait for ever.
    pub(crate) fn not_suspended(&self, number: (u32, u32)) -> Result<(), Error> {
        self.not_busy(|| device::refuse_suspended(&self.roots.sys, number))
    }

    fn not_busy<T>(&self, attempt: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let last = Instant::now() + SUSPENDED_TIME.min(self.left());
        loop {
            match attempt() {
                Err(error) if error.kind() == Kind::Busy && Instant::now() < last => {
                    thread::sleep(Duration::from_millis(20));
                }
                result => return result,
            }
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Programs have their own time, and never more than is left for the call-out.
impl Exec for Node<'_> {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        let time = cmd.limit().min(self.left());
        if time.is_zero() {
            return Err(Error::Deadline { command: cmd.line(), limit: time });
        }
        self.exec.exec(&cmd.clone().timeout(time))
    }
}
