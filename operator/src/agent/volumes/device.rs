//! Operations on a logical volume's device: identifying it, writing the format marker, inspecting
//! its content. Those that read or write it may block for a minute, see [`DeviceIo`].

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use host::block::lv_device::{Device, Roots};
use host::block::{DeviceError, DeviceState, resolve, stable_path};
use host::format_marker::{FormatMarker, FormatMarkerBlock};
use host::fs::{self, NewBlocks, Probe};
use host::mount::mountinfo;
use host::stack::DeviceStack;
use host::{Bytes, DevNum, DevicePath, Error, Exec, KeyDigest, KnownKeys, LvName, LvUuid, VgName};

use super::device_io::DeviceIo;
use super::growing::GrowingVolume;
use super::plan::Content;

/// Bytes that lvcreate zeroes at the start of a volume.
const ZEROED: usize = 4096;

/// Group and name of a logical volume.
#[derive(Clone, Copy, Debug)]
pub struct LvPath<'a> {
    /// Name of the volume group.
    pub group: &'a VgName,
    /// Name of the logical volume in the group.
    pub name: &'a LvName,
}

/// Access to devices of active logical volumes; tests without device-mapper replace it.
///
/// It is the second interface to the host, in addition to [`Exec`].
pub trait Devices: Send + Sync {
    /// Zeroes both ends of a volume that was just created, and then writes the format marker, if
    /// the volume still has this uuid and lvcreate's zeros.
    ///
    /// # Errors
    /// If that fails, or takes more than a minute; the marker then is unchanged, or torn.
    fn mark_new(&self, path: LvPath<'_>, uuid: &LvUuid, blocks: NewBlocks) -> Result<(), Error>;

    /// Zeroes both ends of a volume that was created earlier and never published, and then writes
    /// the format marker, if the volume still has this uuid and is blank.
    ///
    /// # Errors
    /// If that fails, or takes more than a minute; the marker then is unchanged, or torn.
    fn mark_blank(&self, path: LvPath<'_>, uuid: &LvUuid, blocks: NewBlocks) -> Result<(), Error>;

    /// Returns LVM's uuid and the size in bytes of the volume with this name.
    ///
    /// # Errors
    /// If there is no such device, or it can't be examined.
    fn identify(&self, path: LvPath<'_>) -> Result<(LvUuid, Bytes), Error>;

    /// Inspects the content of a volume, if it still has this uuid.
    ///
    /// # Errors
    /// If the inspection fails, or takes more than a minute. A failure never counts as blank.
    fn inspect(&self, path: LvPath<'_>, uuid: &LvUuid) -> Result<Content, Error>;

    /// Holds a volume that LVM is about to extend; `None` if it is inactive.
    ///
    /// # Errors
    /// `Busy` if the driver works on it; else if its device can't be opened.
    fn hold_to_grow(&self, path: LvPath<'_>, uuid: &LvUuid)
    -> Result<Option<GrowingVolume>, Error>;

    /// Zeroes the end of a volume that LVM has extended by such blocks, and releases it.
    ///
    /// # Errors
    /// If that fails, or takes more than a minute.
    fn zero_new_end(
        &self,
        path: LvPath<'_>,
        volume: GrowingVolume,
        blocks: NewBlocks,
    ) -> Result<(), Error>;

    /// Records the digest of a volume's key for the driver, which saves it an LVM command.
    ///
    /// # Errors
    /// If it can't be written: then the driver runs the LVM command.
    fn record_key(&self, uuid: &LvUuid, key: &KeyDigest) -> Result<(), Error>;

    /// Removes what the driver keeps about a volume that no longer exists: its lock, and the digest
    /// of its key. Best effort: a restart of the node removes both.
    fn forget(&self, _uuid: &LvUuid) {}

    /// Returns the number of the block device at a path of the node; `None` if there is none.
    fn number_at(&self, path: &DevicePath) -> Option<DevNum>;

    /// Returns a stable path of each block device of the node that has any, by the device's number.
    fn stable_paths(&self) -> BTreeMap<DevNum, String>;

    /// Returns the state of a volume's device if it still has this uuid, without opening it; `None`
    /// if the volume is inactive, or its device can't be examined.
    fn device_state(&self, path: LvPath<'_>, uuid: &LvUuid) -> Option<DeviceState>;

    /// Returns where a volume is mounted on the node; empty if that can't be determined.
    fn mount_points(&self, path: LvPath<'_>, uuid: &LvUuid) -> Vec<PathBuf>;
}

/// The devices of this node.
pub struct NodeDevices {
    exec: Arc<dyn Exec>,
    roots: Roots,
    mounts: PathBuf,
    /// The folder of the driver's locks.
    locks: PathBuf,
    keys: KnownKeys,
    io: DeviceIo,
}

/// A logical volume, for work on a thread of its own.
struct VolumeDevice {
    exec: Arc<dyn Exec>,
    roots: Roots,
    group: VgName,
    name: LvName,
    uuid: LvUuid,
}

impl NodeDevices {
    /// Returns the devices from a container that shares the node's PID namespace; `exec` runs the
    /// node's programs.
    #[must_use]
    pub fn from_container(exec: Arc<dyn Exec>) -> Self {
        let locks =
            std::path::Path::new("/proc/1/root").join(host::lock::FOLDER.trim_start_matches('/'));
        Self {
            exec,
            roots: Roots::from_container(),
            mounts: "/proc/1/mountinfo".into(),
            keys: KnownKeys::in_folder(&locks),
            locks,
            io: DeviceIo::default(),
        }
    }

    /// Runs `work`, which reads or writes the volume, and returns its result.
    ///
    /// # Errors
    /// If it fails, or the device does not respond.
    fn run<T: Send + 'static>(
        &self,
        LvPath { group, name }: LvPath<'_>,
        uuid: &LvUuid,
        work: impl FnOnce(&VolumeDevice) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let device = VolumeDevice {
            exec: self.exec.clone(),
            roots: self.roots.clone(),
            group: group.clone(),
            name: name.clone(),
            uuid: uuid.clone(),
        };
        let volume = format!("{group}/{name}");
        self.io.run(&volume, move || work(&device))
    }
}

impl VolumeDevice {
    // While the device is claimed, no other program can mount or format it: the content is still as
    // inspected when the marker is written, even if another agent runs on this node.

    fn mark_new(&self, blocks: NewBlocks) -> Result<(), Error> {
        let device = self.open()?;
        // lvcreate has wiped all that libblkid recognizes: udev would find nothing new.
        let claimed = device.claim_unwatched(&self.roots)?;
        let mut start = [0; ZEROED];
        claimed
            .read_exact_at(&mut start, 0)
            .map_err(Error::io("read", device.mapper_path()))?;
        if start != [0; ZEROED] {
            return Err(self.in_use_already());
        }
        let marker = FormatMarkerBlock::new(&self.uuid, device.size()?)?;
        fs::zero_ends(&claimed, &device.mapper_path(), &marker, blocks)?;
        marker.write_unformatted(&claimed)
    }

    fn mark_blank(&self, blocks: NewBlocks) -> Result<(), Error> {
        let device = self.open()?;
        let claimed = device.claim()?;
        let marker = FormatMarkerBlock::new(&self.uuid, device.size()?)?;
        if !fs::is_blank(&*self.exec, &device, &marker)? {
            return Err(self.in_use_already());
        }
        fs::zero_ends(&claimed, &device.mapper_path(), &marker, blocks)?;
        marker.write_unformatted(&claimed)
    }

    fn inspect(&self) -> Result<Content, Error> {
        let device = self.open()?;
        let block = FormatMarkerBlock::new(&self.uuid, device.size()?)?;
        let marker = block.read(device.file())?;
        if marker == FormatMarker::Formatting {
            return Ok(Content::Formatting);
        }
        // Next to a file system the marker proves nothing: it can be an old one that the file
        // system has not overwritten.
        Ok(
            match fs::probe(&*self.exec, device.file(), &device.path(), &block)? {
                Probe::Blank if marker == FormatMarker::Unformatted => Content::Unformatted,
                Probe::Blank => Content::Blank,
                Probe::Filesystem(filesystem) => Content::Data(filesystem.to_string()),
                Probe::Other(what) => Content::Data(what),
            },
        )
    }

    fn open(&self) -> Result<Device, Error> {
        Ok(Device::open(
            &self.roots,
            &self.group,
            &self.name,
            &self.uuid,
        )?)
    }

    fn in_use_already(&self) -> Error {
        let (group, name) = (&self.group, &self.name);
        Error::busy(format!(
            "logical volume {group}/{name} is not blank any more: another program has written to it"
        ))
    }
}

impl Devices for NodeDevices {
    fn mark_new(&self, path: LvPath<'_>, uuid: &LvUuid, blocks: NewBlocks) -> Result<(), Error> {
        self.run(path, uuid, move |device| device.mark_new(blocks))
    }

    fn mark_blank(&self, path: LvPath<'_>, uuid: &LvUuid, blocks: NewBlocks) -> Result<(), Error> {
        self.run(path, uuid, move |device| device.mark_blank(blocks))
    }

    fn identify(&self, path: LvPath<'_>) -> Result<(LvUuid, Bytes), Error> {
        let (device, uuid) = Device::find(&self.roots, path.group, path.name)?;
        Ok((uuid, device.size()?))
    }

    fn inspect(&self, path: LvPath<'_>, uuid: &LvUuid) -> Result<Content, Error> {
        self.run(path, uuid, VolumeDevice::inspect)
    }

    fn hold_to_grow(
        &self,
        path: LvPath<'_>,
        uuid: &LvUuid,
    ) -> Result<Option<GrowingVolume>, Error> {
        match Device::open(&self.roots, path.group, path.name, uuid) {
            Ok(device) => GrowingVolume::hold(device, uuid, &self.locks).map(Some),
            Err(DeviceError::Absent(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn zero_new_end(
        &self,
        path: LvPath<'_>,
        volume: GrowingVolume,
        blocks: NewBlocks,
    ) -> Result<(), Error> {
        let name = format!("{}/{}", path.group, path.name);
        self.io.run(&name, move || volume.zero_new_end(blocks))
    }

    fn record_key(&self, uuid: &LvUuid, key: &KeyDigest) -> Result<(), Error> {
        if self.keys.recall(uuid).as_ref() == Some(key) {
            return Ok(());
        }
        self.keys.remember(uuid, key)
    }

    fn forget(&self, uuid: &LvUuid) {
        self.keys.forget(uuid);
        host::lock::Lock::remove(&self.locks, uuid);
    }

    fn number_at(&self, path: &DevicePath) -> Option<DevNum> {
        resolve::number_at(&self.roots, path)
    }

    fn stable_paths(&self) -> BTreeMap<DevNum, String> {
        stable_path::stable_paths(&self.roots)
    }

    fn device_state(&self, path: LvPath<'_>, uuid: &LvUuid) -> Option<DeviceState> {
        DeviceState::read(&self.roots, path.group, path.name, uuid).ok()
    }

    fn mount_points(&self, path: LvPath<'_>, uuid: &LvUuid) -> Vec<PathBuf> {
        let Ok(device) = Device::open(&self.roots, path.group, path.name, uuid) else {
            return Vec::new();
        };
        let Ok(stack) = DeviceStack::above(&self.roots.sys, device.number()) else {
            return Vec::new();
        };
        let mounts = mountinfo::read(&self.mounts).unwrap_or_default();
        let mounts = stack.mounts(&self.roots, &mounts);
        mounts.map(|mount| mount.point.clone()).collect()
    }
}
