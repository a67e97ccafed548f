//! A logical volume's block device: found without running a program, identified by LVM's uuid, and
//! held open so that no other device can take its place.

use crate::block::DeviceError;
use crate::block::dev_num::DevNum;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;

use super::sysfs::{identify, refuse_suspended};
use crate::error::{Error, IoError};
use crate::fs::superblock::{self, Superblock};
use crate::lvm::names::{LvName, LvUuid, VgName};
use crate::units::Bytes;

/// Where devices are looked up.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The host's `/dev`.
    pub dev: PathBuf,
    /// The host's `/sys`.
    pub sys: PathBuf,
}

impl Roots {
    /// The roots of the host itself: for the driver.
    #[must_use]
    pub fn current() -> Self {
        Self {
            dev: "/dev".into(),
            sys: "/sys".into(),
        }
    }

    /// The host's roots from a container that shares the host's process ids and has none of its
    /// devices: for the agent.
    #[must_use]
    pub fn from_container() -> Self {
        Self {
            dev: "/proc/1/root/dev".into(),
            sys: "/sys".into(),
        }
    }
}

/// An active logical volume's device.
///
/// While this value lives, the device can't be removed, and its number can't be reused; so drop it
/// before `lvremove` or a deactivation.
#[derive(Debug)]
pub struct Device {
    file: File,
    number: DevNum,
    kernel_name: String,
    mapper_name: String,
}

impl Device {
    /// Opens the active logical volume `group`/`name` if its LVM uuid is `uuid`.
    ///
    /// # Errors
    /// As [`Device::find`]; `AnotherVolume` when another volume has the name.
    pub fn open(
        roots: &Roots,
        group: &VgName,
        name: &LvName,
        uuid: &LvUuid,
    ) -> Result<Self, DeviceError> {
        let (device, found) = Self::find(roots, group, name)?;
        DeviceError::check_uuid(group, name, &found, uuid)?;
        Ok(device)
    }

    /// Opens the active logical volume `group`/`name`, and returns its LVM uuid.
    ///
    /// For the agent, right after it has created a volume.
    ///
    /// # Errors
    /// `Absent` only when there is no device of this name; a failed check never counts as that.
    pub fn find(
        roots: &Roots,
        group: &VgName,
        name: &LvName,
    ) -> Result<(Self, LvUuid), DeviceError> {
        let (handle, number) = locate(roots, group, name)?;
        let mapper_name = mapper_name(group, name);
        let path = roots.dev.join("mapper").join(&mapper_name);
        let file = File::open(fd_path(&handle)).map_err(IoError::of("open", &path))?;
        refuse_suspended(&roots.sys, number)?;
        let (uuid, kernel_name) = identify(&roots.sys, number)?;
        let device = Self {
            file,
            number,
            kernel_name,
            mapper_name,
        };
        Ok((device, uuid))
    }

    /// Returns the device, open for reading.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Opens the device for writing, exclusively: the kernel refuses if it is mounted or claimed.
    ///
    /// # Errors
    /// `Busy` when it is mounted, or another program such as mkfs has claimed it.
    pub fn claim(&self) -> Result<File, Error> {
        self.open_claimed(&fd_path(&self.file))
    }

    fn open_claimed(&self, path: &Path) -> Result<File, Error> {
        let exclusive = i32::try_from(OFlags::EXCL.bits()).unwrap_or_default();
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(exclusive)
            .open(path)
            .map_err(|error| {
                if error.kind() == io::ErrorKind::ResourceBusy {
                    let message = format!(
                        "{} is mounted, or another program has claimed it",
                        self.mapper_path().display()
                    );
                    return Error::busy(message);
                }
                Error::io("open for writing", self.mapper_path())(error)
            })
    }

    /// Opens the device for writing, exclusively, as [`claim`](Self::claim) does, but through a device
    /// node that udev does not watch: udev does not examine the device again when this is closed.
    ///
    /// Opens the ordinary node where no other can be made. `roots` are those that the device was found
    /// in.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub fn claim_unwatched(&self, roots: &Roots) -> Result<File, Error> {
        let unwatched = UnwatchedNode::create(roots, self.number)
            .ok()
            .and_then(|node| self.open_claimed(&node.path).ok())
            .filter(|file| self.is_open_in(file));
        unwatched.map_or_else(|| self.claim(), Ok)
    }

    fn is_open_in(&self, file: &File) -> bool {
        let number = file.metadata().map(|meta| DevNum::from_block_device(&meta));
        number.is_ok_and(|number| number == Some(self.number))
    }

    /// Opens the device for writing, although it may be mounted.
    ///
    /// # Errors
    /// `ResourceBusy` if it is mounted, and the kernel refuses writes then.
    pub fn open_for_writing(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(fd_path(&self.file))
    }

    /// Returns its current size in bytes.
    ///
    /// # Errors
    /// When the device can't be read.
    pub fn size(&self) -> Result<Bytes, Error> {
        size_of(&self.file).map_err(Error::io("measure", self.mapper_path()))
    }

    /// Parses the file system on it, if its first bytes are unambiguous.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn superblock(&self) -> Result<Option<Superblock>, Error> {
        superblock::read(&self.file).map_err(Error::io("read", self.mapper_path()))
    }

    /// Returns its major and minor number. [`stack`](crate::stack) finds its mounts.
    #[must_use]
    pub fn number(&self) -> DevNum {
        self.number
    }

    /// Returns whether this path leads to the device.
    ///
    /// # Errors
    /// When the path can't be read.
    pub fn is_at(&self, path: &Path) -> Result<bool, Error> {
        let meta = fs::metadata(path).map_err(Error::io("look at", path))?;
        let number = DevNum::from_raw(meta.rdev());
        Ok(meta.file_type().is_block_device() && number == self.number)
    }

    /// Returns its path for the host's programs, by the kernel's own name.
    ///
    /// While this value lives, no other device can get that name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.kernel_name)
    }

    /// Returns its path below `/dev/mapper`, for messages.
    #[must_use]
    pub fn mapper_path(&self) -> PathBuf {
        Path::new("/dev/mapper").join(&self.mapper_name)
    }
}

/// A device node that exists until this is dropped. udev watches the node that the kernel made, not
/// the device.
struct UnwatchedNode {
    path: PathBuf,
}

impl UnwatchedNode {
    fn create(roots: &Roots, number: DevNum) -> io::Result<Self> {
        // Of the node's folders, only this one surely accepts device nodes.
        let path = roots.dev.join(format!(".flexlvm-{number}"));
        let mode = Mode::RUSR | Mode::WUSR;
        // It may exist since an agent was killed; then it is the same: its name has the number.
        match mknodat(CWD, &path, FileType::BlockDevice, mode, number.to_raw()) {
            Ok(()) | Err(Errno::EXIST) => Ok(Self { path }),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for UnwatchedNode {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Finds the block device with the name of a logical volume, without opening it: returns a handle
/// of its path, and its number.
///
/// # Errors
/// `Absent` only when there is no device of this name.
pub(super) fn locate(
    roots: &Roots,
    group: &VgName,
    name: &LvName,
) -> Result<(OwnedFd, DevNum), DeviceError> {
    let path = roots.dev.join("mapper").join(mapper_name(group, name));
    // Open with `O_PATH` until it is known to be a block device: opening anything else can block,
    // or have side effects.
    let handle = match open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(handle) => handle,
        Err(errno) => return Err(not_found(&path, errno.into())),
    };
    let meta = fs::metadata(fd_path(&handle)).map_err(IoError::of("look at", &path))?;
    if !meta.file_type().is_block_device() {
        return Err(DeviceError::NotABlockDevice {
            path: path.display().to_string(),
        });
    }
    Ok((handle, DevNum::from_raw(meta.rdev())))
}

/// Returns the path of a logical volume's device below `/dev/mapper`, whether it exists or not.
#[must_use]
pub fn mapper_path(group: &VgName, name: &LvName) -> PathBuf {
    Path::new("/dev/mapper").join(mapper_name(group, name))
}

/// Returns device-mapper's name: hyphens doubled, since one hyphen joins the two names.
fn mapper_name(group: &VgName, name: &LvName) -> String {
    let doubled = |name: &str| name.replace('-', "--");
    format!("{}-{}", doubled(group.as_str()), doubled(name.as_str()))
}

/// Converts the failure to find a device at a path: only one errno means that it is absent.
pub(crate) fn not_found(path: impl AsRef<Path>, error: io::Error) -> DeviceError {
    let is_absent = error.kind() == io::ErrorKind::NotFound;
    let error = IoError::of("find", path)(error);
    if is_absent {
        DeviceError::Absent(error)
    } else {
        DeviceError::Unknown(error)
    }
}

/// Returns the size of an open device or file, in bytes.
pub(crate) fn size_of(mut file: &File) -> io::Result<Bytes> {
    file.seek(SeekFrom::End(0)).map(Bytes)
}

/// Returns a path to an open file: opening it again can't reach another one.
pub(crate) fn fd_path(open: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::{Device, Roots, mapper_name};
    use crate::block::DeviceError;
    use crate::lvm::names::{LvName, LvUuid, VgName};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const VOLUME: &str = "ABCDEF1234567890abcdefghijklmnop";

    fn try_open(dev: &Path) -> DeviceError {
        let roots = Roots {
            dev: dev.into(),
            sys: "/sys".into(),
        };
        let group = VgName::new("vg-0").unwrap();
        let name = LvName::new("pvc-1").unwrap();
        let uuid = LvUuid::from_plain(VOLUME).unwrap();
        Device::open(&roots, &group, &name, &uuid).unwrap_err()
    }

    #[test]
    fn mapper_name_doubles_hyphens() {
        let name = mapper_name(
            &VgName::new("vg-0").unwrap(),
            &LvName::new("pvc-a--b").unwrap(),
        );
        assert_eq!(name, "vg--0-pvc--a----b");
    }

    #[test]
    fn device_open_rejects_anything_but_block_devices() {
        let dev = tempfile::tempdir().unwrap();
        assert!(matches!(try_open(dev.path()), DeviceError::Absent(_)));
        let path = dev.path().join("mapper/vg--0-pvc--1");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("../dm-9", &path).unwrap();
        assert!(
            matches!(try_open(dev.path()), DeviceError::Absent(_)),
            "a link that leads nowhere"
        );
        fs::remove_file(&path).unwrap();
        symlink("/dev/null", &path).unwrap();
        let character_device = try_open(dev.path());
        assert!(matches!(
            character_device,
            DeviceError::NotABlockDevice { .. }
        ));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "data").unwrap();
        let file = try_open(dev.path());
        assert!(matches!(file, DeviceError::NotABlockDevice { .. }));
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path.parent().unwrap(), "").unwrap();
        assert!(
            matches!(try_open(dev.path()), DeviceError::Unknown(_)),
            "a path that can't be followed"
        );
    }
}
