//! The node as a call-out sees it, and the time that the call-out has.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use flexvolume::driver_name::DriverName;
use flexvolume::settings::{self, DriverSettings};
use host::block::{lv_device, sysfs};
use host::lvm::Lvm;
use host::{Cmd, Device, Error, Exec, Kind, Lock, LvName, LvUuid, Output, Roots, VgName};

use crate::volume::diagnose;
use crate::volume::identity::VolumeIdentity;

/// How long a call-out may take. The kubelet itself never ends one, and what hangs blocks all that
/// follows for the volume; its own patience for a pod's volumes is two minutes.
const TIME: Duration = Duration::from_secs(100);
/// How long another call-out for the same volume is waited for.
const LOCK_TIME: Duration = Duration::from_secs(30);
/// How long udev has to make the device's name once the logical volume is active.
const UDEV_TIME: Duration = Duration::from_secs(10);
/// The kernel takes no longer path.
const LONGEST_PATH: usize = 4096;
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
    /// Where the driver's settings are.
    pub settings: PathBuf,
    /// The name under which the driver was called.
    pub driver: DriverName,
}

impl<'a> Node<'a> {
    /// This node, with its own programs or others.
    #[must_use]
    pub fn current(exec: &'a dyn Exec) -> Self {
        Self {
            exec,
            deadline: Instant::now() + TIME,
            roots: Roots::current(),
            locks: host::lock::FOLDER.into(),
            mounts: "/proc/self/mountinfo".into(),
            settings: settings::PATH.into(),
            driver: DriverName::from_program(&std::env::current_exe().unwrap_or_default()),
        }
    }

    /// The same with so much time, instead of what a call-out of the kubelet has.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self {
            deadline: Instant::now() + time,
            ..self
        }
    }

    /// Whether this is the node of that name, with its LVM. The controller manager is elsewhere, or
    /// in a container of its own on this very node, where it sees none of the devices.
    pub(crate) fn is(&self, settings: &DriverSettings, name: &str) -> bool {
        settings.node.as_deref() == Some(name) && self.has("lvm")
    }

    /// Takes the lock of a logical volume.
    pub(crate) fn lock(&self, uuid: &LvUuid) -> Result<Lock, Error> {
        Lock::acquire(&self.locks, uuid, LOCK_TIME.min(self.left()))
    }

    /// The device of a logical volume, if that is active.
    pub(crate) fn device(&self, volume: &VolumeIdentity) -> Result<Option<Device>, Error> {
        self.if_found(|| Device::open(&self.roots, &volume.group, &volume.name, &volume.uuid))
    }

    /// The device of a logical volume, if that is active and has still its name to itself.
    pub(crate) fn device_if_its_own(
        &self,
        volume: &VolumeIdentity,
    ) -> Result<Option<Device>, Error> {
        match self.device(volume) {
            Err(error) if error.kind() == Kind::Invalid => Ok(None),
            result => result,
        }
    }

    /// The device of the logical volume that has this name now, if that is active.
    pub(crate) fn device_named(
        &self,
        group: &VgName,
        name: &LvName,
    ) -> Result<Option<Device>, Error> {
        Ok(self
            .if_found(|| Device::find(&self.roots, group, name))?
            .map(|(device, _uuid)| device))
    }

    /// The device of a logical volume, which is made active if it isn't: after a reboot, none is.
    pub(crate) fn active_device(&self, volume: &VolumeIdentity) -> Result<Device, Error> {
        if let Some(device) = self.device(volume)? {
            return Ok(device);
        }
        let VolumeIdentity { group, name, uuid } = volume;
        Lvm(self)
            .activate(group, name, uuid)
            .map_err(|error| diagnose::explain(self, group, name, Some(uuid), error))?;
        if let Some(device) = self.device(volume)? {
            return Ok(device);
        }
        // LVM is content, and there is no device: it found nothing of that uuid, or udev is slow.
        if let Some(reason) = diagnose::reason(self, group, name, Some(uuid)) {
            return Err(Error::refused(Kind::NotFound, reason));
        }
        let last = Instant::now() + UDEV_TIME.min(self.left());
        loop {
            if let Some(device) = self.device(volume)? {
                return Ok(device);
            }
            if Instant::now() >= last {
                let message = format!(
                    "logical volume {volume} with uuid {uuid} is not on this node, or LVM does not activate it; \
                     `lvs -a -o+uuid,devices` shows what is there"
                );
                return Err(Error::refused(Kind::NotFound, message));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Refuses a path that the kubelet takes for the volume's device, and that leads to another: it
    /// may be older than the last reboot, or not be one at all. Nothing but `/dev` is ever looked
    /// at.
    pub(crate) fn check_device_path(
        &self,
        path: &OsStr,
        volume: &VolumeIdentity,
    ) -> Result<(), Error> {
        if path.is_empty() || path == lv_device::mapper_path(&volume.group, &volume.name) {
            return Ok(());
        }
        let plain = Path::new(path).strip_prefix("/dev").is_ok_and(|below| {
            path.len() < LONGEST_PATH
                && below
                    .components()
                    .all(|step| matches!(step, Component::Normal(_)))
        });
        if plain
            && self
                .device(volume)?
                .is_some_and(|device| device.is_at(Path::new(path)).unwrap_or(false))
        {
            return Ok(());
        }
        // What is no path at all may hold a secret.
        let shown: String = if path.as_encoded_bytes().starts_with(b"/") {
            path.to_string_lossy().chars().take(100).collect()
        } else {
            "what is given".to_owned()
        };
        let message =
            format!("{shown} is not the device of logical volume {volume}: it is not touched");
        Err(Error::refused(Kind::Invalid, message))
    }

    /// Refuses a device that stays suspended: to touch it would be to wait for ever.
    pub(crate) fn not_suspended(&self, number: (u32, u32)) -> Result<(), Error> {
        self.not_busy(|| sysfs::refuse_suspended(&self.roots.sys, number))
    }

    fn if_found<T>(&self, attempt: impl Fn() -> Result<T, Error>) -> Result<Option<T>, Error> {
        match self.not_busy(attempt) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
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
            return Err(Error::Deadline {
                command: cmd.line(),
                limit: time,
            });
        }
        self.exec.exec(&cmd.clone().timeout(time))
    }

    fn has(&self, program: &str) -> bool {
        self.exec.has(program)
    }
}
