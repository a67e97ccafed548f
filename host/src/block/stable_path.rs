//! Finds paths of block devices that stay the same when device names change: udev's links below
//! `/dev/disk`.

use std::collections::BTreeMap;
use std::fs;

use device_path::DevicePath;

use crate::block::dev_num::DevNum;
use crate::block::lv_device::Roots;
use crate::block::resolve::number_at;

/// Folders of udev's links below `/dev/disk`, the preferred one first: names of the hardware, then
/// of the slot that it is in.
const FOLDERS: [&str; 2] = ["by-id", "by-path"];

/// How names in `by-id` begin that have an identifier without the disk's model and serial number,
/// which are printed on the disk.
const IDENTIFIERS: [&str; 6] = [
    "dm-uuid-",
    "lvm-pv-uuid-",
    "md-uuid-",
    "nvme-eui.",
    "nvme-uuid.",
    "wwn-",
];

/// A link to a block device.
struct Link {
    /// Number of the device.
    number: DevNum,
    /// Index of its folder in [`FOLDERS`].
    folder: usize,
    name: String,
}

/// Returns a stable path of each block device of the node that has any, by the device's number.
///
/// A folder that can't be read counts as empty: the paths are informational.
#[must_use]
pub fn stable_paths(roots: &Roots) -> BTreeMap<DevNum, String> {
    let mut links = Vec::new();
    for (folder, name_of_folder) in FOLDERS.into_iter().enumerate() {
        let Ok(entries) = fs::read_dir(roots.dev.join("disk").join(name_of_folder)) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = format!("/dev/disk/{name_of_folder}/{name}");
            let Ok(path) = DevicePath::new(path) else {
                continue;
            };
            if let Some(number) = number_at(roots, &path) {
                links.push(Link {
                    number,
                    folder,
                    name,
                });
            }
        }
    }
    choose(links)
}

/// Returns the path of the best link of each device: by its folder, then one whose name is no mere
/// identifier, then the shortest, which has no needless suffix.
fn choose(mut links: Vec<Link>) -> BTreeMap<DevNum, String> {
    links.sort_by_cached_key(|link| {
        let is_identifier = IDENTIFIERS.iter().any(|start| link.name.starts_with(start));
        let length = link.name.len();
        (link.folder, is_identifier, length, link.name.clone())
    });
    let mut paths = BTreeMap::new();
    for link in links {
        if let Some(folder) = FOLDERS.get(link.folder) {
            paths
                .entry(link.number)
                .or_insert_with(|| format!("/dev/disk/{folder}/{}", link.name));
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::{Link, choose, stable_paths};
    use crate::block::dev_num::DevNum;
    use crate::block::lv_device::Roots;
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_that_lead_to_no_block_device_are_ignored() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots {
            dev: root.path().join("dev"),
            sys: root.path().join("sys"),
        };
        assert_eq!(stable_paths(&roots), BTreeMap::new());
        let folder = roots.dev.join("disk/by-id");
        fs::create_dir_all(&folder).unwrap();
        fs::write(roots.dev.join("file"), "").unwrap();
        symlink("../../file", folder.join("ata-file")).unwrap();
        symlink("../../none", folder.join("ata-none")).unwrap();
        assert_eq!(stable_paths(&roots), BTreeMap::new());
    }
    #[test]
    fn name_of_the_hardware_is_preferred() {
        let links = |names: &[(usize, &str)]| {
            let mut links = Vec::new();
            for (folder, name) in names {
                links.push(Link {
                    number: DevNum::new(8, 0),
                    folder: *folder,
                    name: (*name).to_owned(),
                });
            }
            choose(links).into_values().collect::<Vec<_>>()
        };
        for (names, expected) in [
            (
                &[
                    (1, "pci-0000:00:1f.2-ata-1"),
                    (0, "wwn-0x5002538e40a1b2c3"),
                    (0, "lvm-pv-uuid-abcdef"),
                    (0, "ata-Samsung_SSD_860_S3Z9NB0K"),
                ][..],
                "/dev/disk/by-id/ata-Samsung_SSD_860_S3Z9NB0K",
            ),
            (
                &[
                    (0, "nvme-Samsung_SSD_980_S649NX0R_1"),
                    (0, "nvme-eui.0025385b11"),
                    (0, "nvme-Samsung_SSD_980_S649NX0R"),
                ],
                "/dev/disk/by-id/nvme-Samsung_SSD_980_S649NX0R",
            ),
            (
                &[(1, "pci-0000:00:04.0"), (0, "wwn-0x5002538e40a1b2c3")],
                "/dev/disk/by-id/wwn-0x5002538e40a1b2c3",
            ),
            (
                &[(1, "pci-0000:00:04.0")],
                "/dev/disk/by-path/pci-0000:00:04.0",
            ),
        ] {
            assert_eq!(links(names), [expected]);
        }
        assert!(links(&[]).is_empty());
    }
}
