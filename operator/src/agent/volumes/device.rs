//! What the agent does to a logical volume's device itself: find out which it is, mark it, look
//! what is on it. All of it may block.

use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use host::block::lv_device::{Device, Roots};
use host::format_marker::{FormatMarker, FormatMarkerBlock};
use host::fs::{self, Probe};
use host::mount::{lookup, mountinfo};
use host::{Bytes, Error, Exec, KeyDigest, Kind, KnownKeys, LvName, LvUuid, VgName};

use super::plan::Content;

/// What lvcreate zeroes at the begin of a volume.
const ZEROED: usize = 4096;

/// A logical volume by its names.
#[derive(Clone, Copy, Debug)]
pub struct LvPath<'a> {
    /// The volume group.
    pub group: &'a VgName,
    /// The logical volume.
    pub name: &'a LvName,
}

/// Active logical volumes' devices: the second seam to the host, beside [`Exec`]. Tests without a
/// kernel that has device-mapper put something else here.
pub trait Devices: Send + Sync {
    /// Marks a volume as fresh that was made just now, if it still has this uuid and lvcreate's
    /// zeros.
    ///
    /// # Errors
    /// When that fails; the mark then is as it was, or torn.
    fn mark_new(&self, path: LvPath<'_>, uuid: &LvUuid) -> Result<(), Error>;

    /// Marks a volume as fresh that was made some time ago, if it still has this uuid and is blank.
    ///
    /// # Errors
    /// As above.
    fn mark_blank(&self, path: LvPath<'_>, uuid: &LvUuid) -> Result<(), Error>;

    /// LVM's uuid and the size of the volume that has this name.
    ///
    /// # Errors
    /// `NotFound` when there is no such device.
    fn identify(&self, path: LvPath<'_>) -> Result<(LvUuid, Bytes), Error>;

    /// What is on a volume, if it still has this uuid.
    ///
    /// # Errors
    /// When looking fails. That is never "nothing".
    fn inspect(&self, path: LvPath<'_>, uuid: &LvUuid) -> Result<Content, Error>;

    /// Tells the driver the digest of a volume's key, so that it need not ask LVM.
    ///
    /// # Errors
    /// When that can't be written: then it asks.
    fn record_key(&self, uuid: &LvUuid, key: &KeyDigest) -> Result<(), Error>;

    /// Whether a path leads to the device of this name, a disk.
    fn is_same(&self, name: &str, path: &str) -> bool;

    /// Where a volume is mounted on the node; nothing when nobody can tell.
    fn mount_points(&self, path: LvPath<'_>, uuid: &LvUuid) -> Vec<PathBuf>;
}

/// The devices of this node.
pub struct NodeDevices {
    exec: Arc<dyn Exec>,
    roots: Roots,
    mounts: PathBuf,
    keys: KnownKeys,
}

impl NodeDevices {
    /// Seen from a container that shares the node's process ids; `exec` runs the node's programs.
    #[must_use]
    pub fn of_host(exec: Arc<dyn Exec>) -> Self {
        let locks =
            std::path::Path::new("/proc/1/root").join(host::lock::FOLDER.trim_start_matches('/'));
        Self {
            exec,
            roots: Roots::from_container(),
            mounts: "/proc/1/mountinfo".into(),
            keys: KnownKeys::in_folder(&locks),
        }
    }

    fn open(&self, path: LvPath<'_>, uuid: &LvUuid) -> Result<Device, Error> {
        Device::open(&self.roots, path.group, path.name, uuid)
    }
}

impl Devices for NodeDevices {
    // While the device is claimed nobody can mount it or make a file system: what is found is still
    // so when the mark is written, even if another agent works here too.

    fn mark_new(&self, path: LvPath<'_>, uuid: &LvUuid) -> Result<(), Error> {
        let device = self.open(path, uuid)?;
        let claimed = device.claim()?;
        let mut start = [0; ZEROED];
        claimed
            .read_exact_at(&mut start, 0)
            .map_err(Error::io("read", device.mapper_path()))?;
        if start != [0; ZEROED] {
            return Err(in_use_already(path));
        }
        FormatMarkerBlock::new(uuid, device.size()?)?.write_unformatted(&claimed)
    }

    fn mark_blank(&self, path: LvPath<'_>, uuid: &LvUuid) -> Result<(), Error> {
        let device = self.open(path, uuid)?;
        let claimed = device.claim()?;
        let mark = FormatMarkerBlock::new(uuid, device.size()?)?;
        if !fs::is_blank(&*self.exec, &device, &mark)? {
            return Err(in_use_already(path));
        }
        mark.write_unformatted(&claimed)
    }

    fn identify(&self, path: LvPath<'_>) -> Result<(LvUuid, Bytes), Error> {
        let (device, uuid) = Device::find(&self.roots, path.group, path.name)?;
        Ok((uuid, device.size()?))
    }

    fn inspect(&self, path: LvPath<'_>, uuid: &LvUuid) -> Result<Content, Error> {
        let device = self.open(path, uuid)?;
        let mark = FormatMarkerBlock::new(uuid, device.size()?)?;
        let says = mark.read(device.file())?;
        if says == FormatMarker::Formatting {
            return Ok(Content::Formatting);
        }
        // Beside a file system the mark proves nothing: it can be one of earlier that the file
        // system never overwrote.
        Ok(
            match fs::probe(&*self.exec, device.file(), &device.path(), &mark)? {
                Probe::Blank if says == FormatMarker::Unformatted => Content::Unformatted,
                Probe::Blank => Content::Blank,
                Probe::Filesystem(filesystem) => Content::Data(filesystem.to_string()),
                Probe::Other(what) => Content::Data(what),
            },
        )
    }

    fn record_key(&self, uuid: &LvUuid, key: &KeyDigest) -> Result<(), Error> {
        self.keys.remember(uuid, key)
    }

    fn is_same(&self, name: &str, path: &str) -> bool {
        let number = |path: &str| {
            let below = std::path::Path::new("/proc/1/root").join(path.trim_start_matches('/'));
            let found = std::fs::metadata(below)
                .ok()
                .filter(|found| found.file_type().is_block_device());
            found.map(|found| found.rdev())
        };
        number(path).is_some_and(|wanted| number(name) == Some(wanted))
    }

    fn mount_points(&self, path: LvPath<'_>, uuid: &LvUuid) -> Vec<PathBuf> {
        let Ok(device) = self.open(path, uuid) else {
            return Vec::new();
        };
        let mounts = mountinfo::read(&self.mounts).unwrap_or_default();
        mounts
            .into_iter()
            .filter(|mount| lookup::is_of(&self.roots, mount, &device))
            .map(|mount| mount.point)
            .collect()
    }
}

fn in_use_already(LvPath { group, name }: LvPath<'_>) -> Error {
    Error::refused(
        Kind::Busy,
        format!("logical volume {group}/{name} is not blank any more: somebody uses it already"),
    )
}
