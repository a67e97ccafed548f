//! A logical volume's block device: found without running a program, known by LVM's uuid, and held
//! open so that it can't become another one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, major, minor, open};

use super::sysfs::{identify, refuse_suspended};
use crate::error::{Error, Kind};
use crate::fs::superblock::{self, Superblock};
use crate::lvm::names::{LvName, LvUuid, VgName};
use crate::units::Bytes;

/// Where devices are looked for.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The host's `/dev`.
    pub dev: PathBuf,
    /// The host's `/sys`.
    pub sys: PathBuf,
}

impl Roots {
    /// On the host itself: for the driver.
    #[must_use]
    pub fn current() -> Self {
        Self {
            dev: "/dev".into(),
            sys: "/sys".into(),
        }
    }

    /// From a container that shares the host's process ids and has none of its devices: for the
    /// agent.
    #[must_use]
    pub fn of_host() -> Self {
        Self {
            dev: "/proc/1/root/dev".into(),
            sys: "/sys".into(),
        }
    }
}

/// An active logical volume's device. While this value lives, the device can't be removed, and its
/// number can't be given to another; so drop it before `lvremove` or a deactivation.
#[derive(Debug)]
pub struct Device {
    file: File,
    number: (u32, u32),
    kernel_name: String,
    mapper_name: String,
}

impl Device {
    /// The active logical volume `group`/`name`, if LVM's uuid of it is `uuid`.
    ///
    /// # Errors
    /// `NotFound`: there is no such device, so it is not active, or not there at all. `Invalid`:
    /// another one has the name. `Busy`: it is suspended. Else the look itself failed.
    pub fn open(
        roots: &Roots,
        group: &VgName,
        name: &LvName,
        uuid: &LvUuid,
    ) -> Result<Self, Error> {
        let (device, found) = Self::find(roots, group, name)?;
        if found != *uuid {
            let message = format!(
                "the logical volume {group}/{name} is another one than the volume's: LVM's uuid of it is {found}, \
                 and {uuid} is wanted"
            );
            return Err(Error::refused(Kind::Invalid, message));
        }
        Ok(device)
    }

    /// The active logical volume `group`/`name`, whichever it is, and LVM's uuid of it: for the
    /// agent, when it has made a volume just now.
    ///
    /// # Errors
    /// `NotFound`: there is no such device. `Busy`: it is suspended. Else the look itself failed.
    pub fn find(roots: &Roots, group: &VgName, name: &LvName) -> Result<(Self, LvUuid), Error> {
        let mapper_name = mapper_name(group, name);
        let path = roots.dev.join("mapper").join(&mapper_name);
        // Nothing is really opened before it is known to be a block device: opening others can
        // block, or do things.
        let handle = open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::io("find", &path)(errno.into()))?;
        let meta = fs::metadata(this(&handle)).map_err(Error::io("look at", &path))?;
        if !meta.file_type().is_block_device() {
            return Err(Error::refused(
                Kind::Invalid,
                format!("{} is not a block device", path.display()),
            ));
        }
        let file = File::open(this(&handle)).map_err(Error::io("open", &path))?;
        let number = (major(meta.rdev()), minor(meta.rdev()));
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

    /// The device, open for reading.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The device, open for writing, if nobody has it mounted or claimed: the kernel refuses that.
    ///
    /// # Errors
    /// `Busy` when it is mounted, or a program such as mkfs works on it.
    pub fn claim(&self) -> Result<File, Error> {
        let exclusive = i32::try_from(OFlags::EXCL.bits()).unwrap_or_default();
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(exclusive)
            .open(this(&self.file))
            .map_err(|error| {
                if error.kind() == io::ErrorKind::ResourceBusy {
                    let message = format!(
                        "{} is mounted, or another program works on it",
                        self.mapper_path().display()
                    );
                    return Error::refused(Kind::Busy, message);
                }
                Error::io("open for writing", self.mapper_path())(error)
            })
    }

    /// Its size now.
    ///
    /// # Errors
    /// When the device doesn't say.
    pub fn size(&self) -> Result<Bytes, Error> {
        size_of(&self.file).map_err(Error::io("measure", self.mapper_path()))
    }

    /// The file system on it, if its first bytes leave no doubt.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn superblock(&self) -> Result<Option<Superblock>, Error> {
        superblock::read(&self.file).map_err(Error::io("read", self.mapper_path()))
    }

    /// Its number. Which mounts are of it, [`lookup`](crate::mount::lookup) tells.
    #[must_use]
    pub fn number(&self) -> (u32, u32) {
        self.number
    }

    /// Whether this path leads to the device.
    ///
    /// # Errors
    /// When the path can't be looked at.
    pub fn is_at(&self, path: &Path) -> Result<bool, Error> {
        let meta = fs::metadata(path).map_err(Error::io("look at", path))?;
        let number = (major(meta.rdev()), minor(meta.rdev()));
        Ok(meta.file_type().is_block_device() && number == self.number)
    }

    /// Its path for the host's programs, by the kernel's own name: nobody can point that elsewhere
    /// as long as this value lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.kernel_name)
    }

    /// Its path as people know it.
    #[must_use]
    pub fn mapper_path(&self) -> PathBuf {
        Path::new("/dev/mapper").join(&self.mapper_name)
    }
}

/// The path of a logical volume's device as people know it, whether it is there or not.
#[must_use]
pub fn mapper_path(group: &VgName, name: &LvName) -> PathBuf {
    Path::new("/dev/mapper").join(mapper_name(group, name))
}

/// Device-mapper's name of a logical volume: hyphens doubled, since one hyphen joins the two names.
fn mapper_name(group: &VgName, name: &LvName) -> String {
    let doubled = |name: &str| name.replace('-', "--");
    format!("{}-{}", doubled(group.as_str()), doubled(name.as_str()))
}

/// The size of an open device, or file.
pub(crate) fn size_of(mut file: &File) -> io::Result<Bytes> {
    file.seek(SeekFrom::End(0)).map(Bytes)
}

/// What is open already, as a path: opening it again can't arrive at anything else.
pub(crate) fn this(open: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::{Device, Roots, mapper_name};
    use crate::error::Kind;
    use crate::lvm::names::{LvName, LvUuid, VgName};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const VOLUME: &str = "ABCDEF1234567890abcdefghijklmnop";

    fn try_open(dev: &Path) -> Kind {
        let roots = Roots {
            dev: dev.into(),
            sys: "/sys".into(),
        };
        let (group, name) = (VgName::new("vg-0").unwrap(), LvName::new("pvc-1").unwrap());
        let uuid = LvUuid::from_plain(VOLUME).unwrap();
        Device::open(&roots, &group, &name, &uuid)
            .unwrap_err()
            .kind()
    }

    #[test]
    fn a_name_is_spelled_as_device_mapper_spells_it() {
        let name = mapper_name(
            &VgName::new("vg-0").unwrap(),
            &LvName::new("pvc-a--b").unwrap(),
        );
        assert_eq!(name, "vg--0-pvc--a----b");
    }

    #[test]
    fn only_a_block_device_is_opened() {
        let dev = tempfile::tempdir().unwrap();
        assert_eq!(try_open(dev.path()), Kind::NotFound);
        let path = dev.path().join("mapper/vg--0-pvc--1");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("../dm-9", &path).unwrap();
        assert_eq!(
            try_open(dev.path()),
            Kind::NotFound,
            "a link that leads nowhere"
        );
        fs::remove_file(&path).unwrap();
        symlink("/dev/null", &path).unwrap();
        assert_eq!(try_open(dev.path()), Kind::Invalid, "a character device");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "data").unwrap();
        assert_eq!(try_open(dev.path()), Kind::Invalid, "a file");
    }
}
