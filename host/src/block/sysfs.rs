//! What the kernel shows of a block device under `/sys`, by the device's number.

use crate::block::DeviceError;
use crate::block::dev_num::DevNum;
use crate::block::mapped;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, IoError};
use crate::lvm::names::LvUuid;
use crate::units::Bytes;

/// Returns whether this device is read-only.
///
/// # Errors
/// When sysfs can't be read.
pub fn is_read_only(sys: &Path, number: DevNum) -> Result<bool, Error> {
    let path = sys.join(format!("dev/block/{number}/ro"));
    let text = attribute(&path).map_err(Error::io("read", &path))?;
    Ok(text.trim_end() != "0")
}

/// Returns the LVM uuid of the logical volume with this device number, and its kernel name.
///
/// Needs no access to the device.
///
/// # Errors
/// `NotALogicalVolume` if it is something else, or a hidden layer of one; else when sysfs can't be
/// read.
pub fn identify(sys: &Path, number: DevNum) -> Result<(LvUuid, String), DeviceError> {
    let kernel_name = kernel_name(sys, number)?;
    let path = folder(sys, number).join("dm/uuid");
    let text = match attribute(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DeviceError::NotALogicalVolume { number });
        }
        Err(error) => return Err(IoError::of("read", &path)(error).into()),
    };
    // Hidden layers have a suffix, such as `-real`.
    let uuid = match mapped::parse(text.trim_end()) {
        Some((_, uuid, "")) => Some(uuid),
        _ => None,
    };
    match uuid {
        Some(uuid) => Ok((uuid, kernel_name)),
        None => Err(DeviceError::NotALogicalVolume { number }),
    }
}

/// Returns the kernel's name of the block device with this number, such as `dm-3`.
///
/// # Errors
/// When sysfs does not list the device, or can't be read.
pub(crate) fn kernel_name(sys: &Path, number: DevNum) -> Result<String, DeviceError> {
    let folder = folder(sys, number);
    let link = fs::read_link(&folder).map_err(IoError::of("read", &folder))?;
    let name = link
        .file_name()
        .and_then(|name| name.to_str())
        .map(str::to_owned);
    name.ok_or_else(|| DeviceError::NoTarget {
        link: folder.display().to_string(),
    })
}

/// Returns the sysfs folder of the block device with this number.
pub(crate) fn folder(sys: &Path, number: DevNum) -> PathBuf {
    sys.join(format!("dev/block/{number}"))
}

/// Returns the kernel names of the devices that claim this one: device-mapper devices, RAIDs, caches.
///
/// A loop device claims nothing, and is not among them.
///
/// # Errors
/// When sysfs can't be read.
pub fn holders(sys: &Path, number: DevNum) -> Result<Vec<String>, Error> {
    entries(&folder(sys, number).join("holders"))
}

/// Returns the kernel names of the partitions of this device.
///
/// # Errors
/// When sysfs can't be read.
pub fn partitions(sys: &Path, number: DevNum) -> Result<Vec<String>, Error> {
    let folder = folder(sys, number);
    let mut names = entries(&folder)?;
    let disk = kernel_name(sys, number)?;
    // The kernel derives their names from the disk's: the other entries need no look.
    names.retain(|name| name.starts_with(&disk) && folder.join(name).join("partition").exists());
    Ok(names)
}

/// Returns the numbers of the devices that are built directly on this one: holders and partitions.
///
/// # Errors
/// When sysfs can't be read. Without the errors a device in use would look free.
pub fn built_on(sys: &Path, number: DevNum) -> Result<Vec<DevNum>, Error> {
    let folder = folder(sys, number);
    let holders = holders(sys, number)?;
    let partitions = partitions(sys, number)?;
    let links = holders.iter().map(|name| folder.join("holders").join(name));
    numbers(links.chain(partitions.iter().map(|name| folder.join(name))))
}

/// Returns the numbers of the devices that this one is built on directly.
///
/// # Errors
/// When sysfs can't be read.
pub fn built_from(sys: &Path, number: DevNum) -> Result<Vec<DevNum>, Error> {
    let folder = folder(sys, number).join("slaves");
    numbers(entries(&folder)?.iter().map(|name| folder.join(name)))
}

/// Reads the numbers of the devices with these sysfs folders, without those that vanish meanwhile.
fn numbers(folders: impl Iterator<Item = PathBuf>) -> Result<Vec<DevNum>, Error> {
    let mut numbers = Vec::new();
    for path in folders.map(|folder| folder.join("dev")) {
        let text = match attribute(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let number = DevNum::parse(text.trim_end()).ok_or_else(|| Error::Answer {
            program: path.display().to_string(),
            detail: format!("{text:?}"),
        })?;
        numbers.push(number);
    }
    Ok(numbers)
}

/// Returns the names in a sysfs folder, sorted; none if the kernel has no such folder.
fn entries(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Returns whether cryptsetup made this device: all of it lies on one other device.
#[must_use]
pub fn is_crypt(sys: &Path, number: DevNum) -> bool {
    let uuid = attribute(&folder(sys, number).join("dm/uuid"));
    uuid.is_ok_and(|uuid| uuid.starts_with("CRYPT-"))
}

/// Maximum size of an attribute in bytes: a page.
const ATTRIBUTE: usize = 4096;

/// Reads an attribute: sysfs returns all of it to the first read.
pub(super) fn attribute(path: &Path) -> io::Result<String> {
    let mut text = vec![0; ATTRIBUTE];
    let length = File::open(path)?.read(&mut text)?;
    text.truncate(length);
    String::from_utf8(text).map_err(io::Error::other)
}

/// Bytes in a unit of sysfs's `size`, independent of the device's sector size.
const SECTOR: u64 = 512;

/// Returns the size of the block device with this number.
///
/// # Errors
/// When sysfs can't be read.
pub(crate) fn size(sys: &Path, number: DevNum) -> Result<Bytes, DeviceError> {
    let path = folder(sys, number).join("size");
    let text = attribute(&path).map_err(IoError::of("read", &path))?;
    let sectors: u64 = text.trim_end().parse().map_err(|_| {
        let error = io::Error::new(io::ErrorKind::InvalidData, format!("{text:?}"));
        IoError::of("read", &path)(error)
    })?;
    Ok(Bytes(sectors.saturating_mul(SECTOR)))
}

/// Returns whether a device is suspended; only device-mapper devices can be.
pub(crate) fn is_suspended(sys: &Path, number: DevNum) -> bool {
    let path = folder(sys, number).join("dm/suspended");
    attribute(&path).is_ok_and(|text| text.trim_end() == "1")
}

/// Refuses a suspended device.
///
/// A process that reads it, or unmounts its file system, can't be killed until it is resumed. LVM
/// suspends a volume for a moment while changing it, and leaves it suspended when killed in that
/// moment.
///
/// # Errors
/// `Suspended`, and no other.
pub fn refuse_suspended(sys: &Path, number: DevNum) -> Result<(), DeviceError> {
    if is_suspended(sys, number) {
        Err(DeviceError::Suspended { number })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{identify, is_read_only, refuse_suspended, size};
    use crate::block::DeviceError;
    use crate::block::dev_num::DevNum;
    use crate::lvm::names::LvUuid;
    use crate::units::Bytes;
    use std::fs;
    use std::os::unix::fs::symlink;

    const GROUP: &str = "0123456789abcdef0123456789abcdef";
    const VOLUME: &str = "ABCDEF1234567890abcdefghijklmnop";

    fn sys_with(uuid: &str) -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let folder = sys.path().join("devices/virtual/block/dm-3");
        fs::create_dir_all(folder.join("dm")).unwrap();
        fs::create_dir_all(sys.path().join("dev/block")).unwrap();
        fs::write(folder.join("dm/uuid"), uuid).unwrap();
        symlink(
            "../../devices/virtual/block/dm-3",
            sys.path().join("dev/block/254:3"),
        )
        .unwrap();
        sys
    }

    #[test]
    fn identify_returns_uuid_and_kernel_name() {
        let sys = sys_with(&format!("LVM-{GROUP}{VOLUME}\n"));
        let (uuid, name) = identify(sys.path(), DevNum::new(254, 3)).unwrap();
        assert_eq!(
            (uuid, &*name),
            (LvUuid::from_plain(VOLUME).unwrap(), "dm-3")
        );
        let missing = identify(sys.path(), DevNum::new(254, 4)).unwrap_err();
        assert!(
            matches!(missing, DeviceError::Unknown(_)),
            "sysfs without a device proves nothing about the logical volume: {missing:?}"
        );
    }

    #[test]
    fn suspended_device_is_refused() {
        let sys = sys_with("LVM-");
        let suspended = |text| {
            fs::write(sys.path().join("dev/block/254:3/dm/suspended"), text).unwrap();
            refuse_suspended(sys.path(), DevNum::new(254, 3))
        };
        assert!(suspended("0\n").is_ok());
        assert!(matches!(
            suspended("1\n"),
            Err(DeviceError::Suspended { .. })
        ));
        assert!(refuse_suspended(sys.path(), DevNum::new(8, 0)).is_ok());
    }

    #[test]
    fn size_is_in_sectors_of_512_bytes() {
        let sys = sys_with("LVM-");
        let size_of = |text| {
            fs::write(sys.path().join("dev/block/254:3/size"), text).unwrap();
            size(sys.path(), DevNum::new(254, 3))
        };
        assert_eq!(size_of("8192\n").unwrap(), Bytes(4 << 20));
        assert!(matches!(size_of("x"), Err(DeviceError::Unknown(_))));
        assert!(size(sys.path(), DevNum::new(254, 4)).is_err());
    }

    #[test]
    fn is_read_only_reads_sysfs() {
        let sys = sys_with("LVM-");
        let read_only = |text| {
            fs::write(sys.path().join("dev/block/254:3/ro"), text).unwrap();
            is_read_only(sys.path(), DevNum::new(254, 3)).unwrap()
        };
        assert_eq!((read_only("0\n"), read_only("1\n")), (false, true));
        assert!(is_read_only(sys.path(), DevNum::new(254, 4)).is_err());
    }

    #[test]
    fn identify_rejects_anything_but_whole_logical_volumes() {
        for uuid in [
            String::new(),
            "CRYPT-LUKS2-0123".to_owned(),
            format!("LVM-{GROUP}{VOLUME}-real"),
            format!("LVM-{GROUP}"),
            format!("LVM-{GROUP}{VOLUME}x"),
            format!("mpath-{GROUP}{VOLUME}"),
        ] {
            let sys = sys_with(&uuid);
            let identified = identify(sys.path(), DevNum::new(254, 3));
            assert!(
                matches!(identified, Err(DeviceError::NotALogicalVolume { .. })),
                "{uuid:?}"
            );
        }
    }
}
