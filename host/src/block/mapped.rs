//! The node's active logical volumes, as device-mapper shows them: without LVM and its metadata.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::sysfs;
use crate::error::Error;
use crate::lvm::names::LvUuid;
use crate::units::Bytes;

/// Bytes of a sector, the unit of sizes in sysfs.
const SECTOR: u64 = 512;

/// How the suffix begins that LVM gives the placeholder of a part on a missing disk. All accesses to
/// it fail, it lies on no disk, and LVM leaves it behind when the disk is back or the volume removed.
const PLACEHOLDER: &str = "-missing_";

/// The kernel's errno if a device vanishes while its attributes are read.
const ENODEV: i32 = 19;

/// A device of a logical volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappedVolume {
    /// Its name below `/dev/mapper`, which LVM makes of the names of group and volume.
    pub name: String,
    /// LVM's uuid of the volume group.
    pub group: LvUuid,
    /// LVM's uuid of the logical volume.
    pub volume: LvUuid,
    /// Whether it is a hidden layer below the volume's own device, such as `-real` or `-tpool`: its
    /// size may differ.
    pub is_layer: bool,
    /// Its size in bytes.
    pub size: Bytes,
}

/// Lists the devices of all active logical volumes, also those of LVM's internal volumes.
///
/// A device that vanishes meanwhile is left out, and so are LVM's placeholders for missing disks.
///
/// # Errors
/// When sysfs can't be read.
pub fn mapped_volumes(sys: &Path) -> Result<BTreeSet<MappedVolume>, Error> {
    let folder = sys.join("block");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(Error::io("read", &folder))?,
    };
    let mut volumes = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", &folder))?;
        if entry.file_name().as_encoded_bytes().starts_with(b"dm-")
            && let Some(volume) = mapped_volume(&entry.path())?
        {
            volumes.insert(volume);
        }
    }
    Ok(volumes)
}

/// Reads one device-mapper device; `None` if it is no volume of LVM, or vanishes.
fn mapped_volume(device: &Path) -> Result<Option<MappedVolume>, Error> {
    let Some(uuid) = attribute(&device.join("dm/uuid"))? else {
        return Ok(None);
    };
    let Some((group, volume, layer)) = parse(&uuid) else {
        return Ok(None);
    };
    if layer.starts_with(PLACEHOLDER) {
        return Ok(None);
    }
    let path = device.join("size");
    let (Some(name), Some(sectors)) = (attribute(&device.join("dm/name"))?, attribute(&path)?)
    else {
        return Ok(None);
    };
    let sectors: u64 = sectors.parse().map_err(|_| Error::Answer {
        program: path.display().to_string(),
        detail: format!("{sectors:?}"),
    })?;
    Ok(Some(MappedVolume {
        name,
        group,
        volume,
        is_layer: !layer.is_empty(),
        size: Bytes(sectors.saturating_mul(SECTOR)),
    }))
}

/// Reads an attribute; `None` if the device has vanished.
fn attribute(path: &Path) -> Result<Option<String>, Error> {
    match sysfs::attribute(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ENODEV) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Parses device-mapper's uuid of a logical volume: `LVM-`, the group's uuid, the volume's, and for
/// a hidden layer a suffix.
pub(super) fn parse(uuid: &str) -> Option<(LvUuid, LvUuid, &str)> {
    let uuids = uuid.strip_prefix("LVM-")?;
    let (group, rest) = uuids.split_at_checked(32)?;
    let (volume, layer) = rest.split_at_checked(32)?;
    Some((
        LvUuid::from_plain(group)?,
        LvUuid::from_plain(volume)?,
        layer,
    ))
}

#[cfg(test)]
mod tests {
    use super::{MappedVolume, mapped_volumes};
    use crate::lvm::names::LvUuid;
    use crate::units::Bytes;
    use std::collections::BTreeSet;
    use std::fs;

    const GROUP: &str = "0123456789abcdef0123456789abcdef";
    const VOLUME: &str = "ABCDEF1234567890abcdefghijklmnop";

    #[test]
    fn devices_of_logical_volumes_are_listed_with_layers() {
        let sys = tempfile::tempdir().unwrap();
        assert!(mapped_volumes(sys.path()).unwrap().is_empty());
        for (device, uuid) in [
            ("dm-0", format!("LVM-{GROUP}{VOLUME}\n")),
            ("dm-1", format!("LVM-{GROUP}{VOLUME}-real\n")),
            ("dm-2", "CRYPT-LUKS2-0123\n".to_owned()),
            ("dm-3", format!("LVM-{GROUP}\n")),
            ("dm-4", String::new()),
            ("dm-6", format!("LVM-{GROUP}{VOLUME}-missing_0_0\n")),
        ] {
            let folder = sys.path().join("block").join(device);
            fs::create_dir_all(folder.join("dm")).unwrap();
            fs::write(folder.join("dm/uuid"), uuid).unwrap();
            fs::write(folder.join("dm/name"), format!("vg0-{device}\n")).unwrap();
            fs::write(folder.join("size"), "8192\n").unwrap();
        }
        // Not a device-mapper device, and one that vanishes.
        fs::create_dir_all(sys.path().join("block/sda")).unwrap();
        fs::create_dir_all(sys.path().join("block/dm-5")).unwrap();
        let expected = |name: &str, is_layer| MappedVolume {
            name: name.to_owned(),
            group: LvUuid::from_plain(GROUP).unwrap(),
            volume: LvUuid::from_plain(VOLUME).unwrap(),
            is_layer,
            size: Bytes(4 << 20),
        };
        assert_eq!(
            mapped_volumes(sys.path()).unwrap(),
            BTreeSet::from([expected("vg0-dm-0", false), expected("vg0-dm-1", true)])
        );
    }
}
