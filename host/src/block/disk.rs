//! A block device that might become part of a volume group: found below the node's `/dev`, and held
//! open so that no other device can get its number or name. Read-only.

use crate::block::DeviceError;
use crate::block::dev_num::DevNum;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use device_path::DevicePath;
use rustix::fs::OFlags;

use crate::block::lv_device::{Roots, fd_path, not_found, size_of};
use crate::block::{resolve, sysfs};
use crate::error::{Error, IoError};
use crate::fs::{Content, examine};
use crate::process::Exec;
use crate::units::Bytes;

/// A block device, opened read-only: closing a device that was open for writing triggers a udev
/// rescan.
#[derive(Debug)]
pub struct Disk {
    file: File,
    number: DevNum,
    path: DevicePath,
    sys: PathBuf,
}

/// Observed state of a block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedDisk {
    /// Its size in bytes.
    pub size: Bytes,
    /// The size of its sectors, in bytes.
    pub sector: u64,
    /// Whether the device is read-only.
    pub read_only: bool,
    /// Kernel names of its partitions.
    pub partitions: Vec<String>,
    /// Kernel names of the devices built on it: device-mapper devices, RAIDs, caches.
    pub holders: Vec<String>,
    /// Whether it is a logical volume itself, or a part of one.
    pub logical_volume: bool,
    /// Identity reported by the hardware, the same on every path to it; `None` if it has none.
    pub identity: Option<String>,
}

impl Disk {
    /// Opens the block device at this path of the node.
    ///
    /// # Errors
    /// `Absent` and `NotABlockDevice` only when that is certain, `Suspended`; `Unknown` when the
    /// check failed.
    pub fn open(roots: &Roots, path: &DevicePath) -> Result<Self, DeviceError> {
        let handle = match resolve::open_handle(roots, path) {
            Ok(handle) => handle,
            Err(error) => return Err(not_found(path.as_str(), error)),
        };
        let meta = fs::metadata(fd_path(&handle)).map_err(IoError::of("look at", path.as_str()))?;
        if !meta.file_type().is_block_device() {
            return Err(DeviceError::NotABlockDevice {
                path: path.to_string(),
            });
        }
        let number = DevNum::from_raw(meta.rdev());
        sysfs::refuse_suspended(&roots.sys, number)?;
        // The kernel replaces a slash in a device name by an exclamation mark.
        let name = sysfs::kernel_name(&roots.sys, number)?.replace('!', "/");
        let known = format!("/dev/{name}");
        let known = match DevicePath::new(known.as_str()) {
            Ok(known) => known,
            Err(why) => return Err(DeviceError::Name { path: known, why }),
        };
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags(OFlags::NONBLOCK))
            .open(fd_path(&handle));
        let file = file.map_err(IoError::of("open", path.as_str()))?;
        Ok(Self {
            file,
            number,
            path: known,
            sys: roots.sys.clone(),
        })
    }

    /// Returns its major and minor number.
    #[must_use]
    pub fn number(&self) -> DevNum {
        self.number
    }

    /// Returns its path for the node's programs, by the kernel's own name.
    ///
    /// While this value lives, no other device can get that name.
    #[must_use]
    pub fn path(&self) -> &DevicePath {
        &self.path
    }

    /// Opens the device exclusively.
    ///
    /// While this file is open, no other process can mount it, make a file system on it, or claim
    /// it.
    ///
    /// # Errors
    /// `Busy` when another process has claimed or mounted it.
    pub fn claim(&self) -> Result<File, Error> {
        let claimed = OpenOptions::new()
            .read(true)
            .custom_flags(flags(OFlags::EXCL))
            .open(fd_path(&self.file));
        claimed.map_err(Error::io("claim", self.path.as_str()))
    }

    /// Observes the device through sysfs.
    ///
    /// # Errors
    /// When sysfs can't be read.
    pub fn observe(&self) -> Result<ObservedDisk, Error> {
        let folder = sysfs::folder(&self.sys, self.number);
        let partition = read(&folder.join("partition"));
        // A partition's folder is inside that of its disk.
        let disk = if partition.is_some() {
            folder.join("..")
        } else {
            folder.clone()
        };
        let sector =
            read(&disk.join("queue/logical_block_size")).and_then(|text| text.parse().ok());
        let dm = read(&folder.join("dm/uuid")).unwrap_or_default();
        // Not serial numbers: vendors reuse them for many disks, and drivers report `(null)`.
        let identity = ["wwid", "device/wwid", "dm/uuid"]
            .iter()
            .find_map(|file| read(&disk.join(file)));
        let size = size_of(&self.file).map_err(Error::io("measure", self.path.as_str()))?;
        Ok(ObservedDisk {
            size,
            sector: sector.unwrap_or(512),
            read_only: sysfs::is_read_only(&self.sys, self.number)?,
            partitions: sysfs::partitions(&self.sys, self.number)?,
            holders: sysfs::holders(&self.sys, self.number)?,
            logical_volume: dm.starts_with("LVM-"),
            identity: identity.map(|disk| format!("{disk} {}", partition.unwrap_or_default())),
        })
    }

    /// Probes its content, read through the claimed file.
    ///
    /// # Errors
    /// When it can't be read, or a program fails.
    pub fn content(&self, exec: &dyn Exec, claimed: &File) -> Result<Content, Error> {
        examine(exec, claimed, Path::new(self.path.as_str()))
    }
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or_default()
}

/// Reads a sysfs file, trimmed; `None` when it is absent or empty.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::Disk;
    use crate::block::DeviceError;
    use crate::block::lv_device::Roots;
    use device_path::DevicePath;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn disk_open_accepts_only_block_devices_below_dev() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots {
            dev: root.path().join("dev"),
            sys: root.path().join("sys"),
        };
        fs::create_dir_all(roots.dev.join("disk")).unwrap();
        fs::write(roots.dev.join("file"), "").unwrap();
        fs::write(root.path().join("outside"), "").unwrap();
        symlink("../file", roots.dev.join("disk/relative")).unwrap();
        symlink("/dev/file", roots.dev.join("disk/absolute")).unwrap();
        symlink("../../../../../outside", roots.dev.join("disk/out")).unwrap();
        symlink("/dev/none", roots.dev.join("disk/nowhere")).unwrap();
        let open = |path: &str| Disk::open(&roots, &DevicePath::new(path).unwrap()).unwrap_err();
        for path in [
            "/dev/file",
            "/dev/disk",
            "/dev/disk/relative",
            "/dev/disk/absolute",
            "/dev/disk/out",
        ] {
            assert!(
                matches!(open(path), DeviceError::NotABlockDevice { .. }),
                "{path}: its links are followed as on the node"
            );
        }
        for path in ["/dev/none", "/dev/disk/nowhere", "/dev/null0"] {
            assert!(matches!(open(path), DeviceError::Absent(_)), "{path}");
        }
        assert!(matches!(open("/dev/file/below"), DeviceError::Unknown(_)));
    }
}
