//! The node of a call-out, and the deadline of the call-out.

use host::DevNum;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use flexvolume::driver_name::DriverName;
use flexvolume::load_stamp;
use flexvolume::settings::{self, DriverSettings};
use host::block::{DeviceError, lv_device, sysfs};
use host::lvm::Lvm;
use host::{Cmd, Device, Error as HostError, Exec, Lock, LvName, LvUuid, Output, Roots, VgName};

use crate::error::Error;
use crate::volume::diagnose;
use crate::volume::identity::VolumeIdentity;

/// Maximum duration of a call-out. The kubelet never ends one, and a call-out that hangs blocks all
/// later ones for the volume; the kubelet waits two minutes for a pod's volumes.
const TIME: Duration = Duration::from_secs(100);
/// Maximum wait for another call-out for the same volume.
const LOCK_TIME: Duration = Duration::from_secs(30);
/// Maximum wait for udev to create the device's name after an activation.
const UDEV_TIME: Duration = Duration::from_secs(10);
/// Maximum length of a path in bytes (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;
/// Maximum wait while LVM has a device suspended.
const SUSPENDED_TIME: Duration = Duration::from_secs(10);

/// The node, for the duration of one call-out.
pub struct Node<'a> {
    exec: &'a dyn Exec,
    deadline: Instant,
    /// Root directories of the devices.
    pub roots: Roots,
    /// Directory of the locks.
    pub locks: PathBuf,
    /// The node's folder `/etc/lvm`, with LVM's backup of its metadata.
    pub lvm: PathBuf,
    /// Path of the table of mounts.
    pub mounts: PathBuf,
    /// Path of the driver's settings.
    pub settings: PathBuf,
    /// Directory of the load stamps.
    pub stamps: PathBuf,
    /// Path of this program; ends with ` (deleted)` if another one was renamed into its place.
    pub program: PathBuf,
    /// Name under which the driver was called.
    pub driver: DriverName,
}

impl<'a> Node<'a> {
    /// Returns this node; `exec` runs its programs.
    #[must_use]
    pub fn current(exec: &'a dyn Exec) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        Self {
            exec,
            deadline: Instant::now() + TIME,
            roots: Roots::current(),
            locks: host::lock::FOLDER.into(),
            lvm: "/etc/lvm".into(),
            mounts: "/proc/self/mountinfo".into(),
            settings: settings::PATH.into(),
            stamps: load_stamp::FOLDER.into(),
            driver: DriverName::from_program(&program),
            program,
        }
    }

    /// Replaces the deadline by `time` from now, for a caller other than the kubelet.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self {
            deadline: Instant::now() + time,
            ..self
        }
    }

    /// Returns true if this is the node of that name, with access to its LVM.
    ///
    /// The controller manager runs elsewhere, or in a container on this very node, without access
    /// to the devices.
    pub(crate) fn is(&self, settings: &DriverSettings, name: &str) -> bool {
        settings.node.as_deref() == Some(name) && self.has("lvm")
    }

    /// Acquires the lock of a logical volume.
    pub(crate) fn lock(&self, uuid: &LvUuid) -> Result<Lock, Error> {
        Ok(Lock::acquire(
            &self.locks,
            uuid,
            LOCK_TIME.min(self.left()),
        )?)
    }

    /// Waits for this node's turn to look up a volume that is not known to be the caller's.
    pub(crate) fn turn_to_look_up(&self, wait: Duration) -> Result<Lock, Error> {
        Ok(Lock::look_up(&self.locks, wait.min(self.left()))?)
    }

    /// Returns the device of a logical volume, if it is active.
    pub(crate) fn device(&self, volume: &VolumeIdentity) -> Result<Option<Device>, Error> {
        if_present(self.device_or_why(volume))
    }

    /// Returns the device of a logical volume, if it is active under its name.
    ///
    /// A name that belongs to another volume by now, or to a device that is none, proves that.
    pub(crate) fn device_if_its_own(
        &self,
        volume: &VolumeIdentity,
    ) -> Result<Option<Device>, Error> {
        match self.device_or_why(volume) {
            Err(DeviceError::AnotherVolume { .. } | DeviceError::NotALogicalVolume { .. }) => {
                Ok(None)
            }
            result => if_present(result),
        }
    }

    fn device_or_why(&self, volume: &VolumeIdentity) -> Result<Device, DeviceError> {
        let VolumeIdentity { group, name, uuid } = volume;
        self.once_resumed(|| Device::open(&self.roots, group, name, uuid))
    }

    /// Returns the device of the logical volume that has this name now, if it is active.
    pub(crate) fn device_named(
        &self,
        group: &VgName,
        name: &LvName,
    ) -> Result<Option<Device>, Error> {
        let found = self.once_resumed(|| Device::find(&self.roots, group, name));
        if_present(found.map(|(device, _uuid)| device))
    }

    /// Returns the device of a logical volume, activating it if required: after a reboot, none is
    /// active.
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
        // LVM succeeded without a device: it has no volume of that UUID, or udev is slow.
        if let Some(reason) = diagnose::reason(self, group, name, Some(uuid)) {
            return Err(Error::Failed(reason));
        }
        let last = Instant::now() + UDEV_TIME.min(self.left());
        loop {
            if let Some(device) = self.device(volume)? {
                return Ok(device);
            }
            if Instant::now() >= last {
                let message = format!(
                    "logical volume {volume} with uuid {uuid} is not on this node, or LVM does not activate it; \
                     `lvs -a -o+uuid,devices` lists the logical volumes"
                );
                return Err(Error::Failed(message));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Rejects a path, passed by the kubelet as the volume's device, that leads to another device.
    ///
    /// It may be older than the last reboot, or not be a device at all. Only paths below `/dev` are
    /// examined.
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
        // An argument that is not a path may hold a secret.
        let shown: String = if path.as_encoded_bytes().starts_with(b"/") {
            path.to_string_lossy().chars().take(100).collect()
        } else {
            "the given path".to_owned()
        };
        let message =
            format!("{shown} is not the device of logical volume {volume}: nothing was changed");
        Err(Error::Failed(message))
    }

    /// Rejects a device that stays suspended: I/O on it would block indefinitely.
    pub(crate) fn not_suspended(&self, number: DevNum) -> Result<(), Error> {
        Ok(self.once_resumed(|| sysfs::refuse_suspended(&self.roots.sys, number))?)
    }

    /// Repeats the attempt for a while if the device is suspended.
    fn once_resumed<T>(
        &self,
        attempt: impl Fn() -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let last = Instant::now() + SUSPENDED_TIME.min(self.left());
        loop {
            match attempt() {
                Err(DeviceError::Suspended { .. }) if Instant::now() < last => {
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

/// Returns the device, or `None` if it is positively absent.
fn if_present(found: Result<Device, DeviceError>) -> Result<Option<Device>, Error> {
    match found {
        Ok(device) => Ok(Some(device)),
        Err(DeviceError::Absent(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Runs programs with their own time limit, reduced to what is left for the call-out.
impl Exec for Node<'_> {
    fn exec(&self, cmd: &Cmd) -> Result<Output, HostError> {
        let time = cmd.limit().min(self.left());
        if time.is_zero() {
            return Err(HostError::Deadline {
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

#[cfg(test)]
mod tests {
    use super::Node;
    use crate::volume::identity::VolumeIdentity;
    use host::{LvName, LvUuid, Roots, System, VgName};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn device_that_can_not_be_examined_never_counts_as_inactive() {
        let scratch = tempfile::tempdir().unwrap();
        let system = System::current();
        let mut node = Node::current(&system);
        node.roots = Roots {
            dev: scratch.path().to_owned(),
            sys: scratch.path().to_owned(),
        };
        let volume = VolumeIdentity {
            group: VgName::new("vg0").unwrap(),
            name: LvName::new("data").unwrap(),
            uuid: LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap(),
        };
        assert!(node.device_if_its_own(&volume).unwrap().is_none());
        let mapper = scratch.path().join("mapper");
        fs::create_dir(&mapper).unwrap();
        assert!(node.device_if_its_own(&volume).unwrap().is_none());
        let path = mapper.join("vg0-data");
        symlink("nowhere", &path).unwrap();
        assert!(node.device_if_its_own(&volume).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        let error = node.device_if_its_own(&volume).unwrap_err();
        assert!(
            error.to_string().contains("is not a block device"),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        symlink(&path, &path).unwrap();
        assert!(node.device_if_its_own(&volume).is_err());
    }
}
