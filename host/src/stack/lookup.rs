//! Maps a mount to the block device that carries its file system.
//!
//! For ext4 and xfs the mount table has the number. A btrfs can have several devices, so the kernel
//! lists an anonymous number for it; its source path is resolved, and must be a device from which a
//! btrfs is mounted.

use crate::block::dev_num::DevNum;
use std::fs;
use std::path::Path;

use crate::block::lv_device::Roots;
use crate::block::sysfs;
use crate::fs::Filesystem;
use crate::mount::mountinfo::Mount;

/// Returns the number of the block device behind `mount`; `None` when there is none, or it can't be
/// determined.
#[must_use]
pub fn device_of(roots: &Roots, mount: &Mount) -> Option<DevNum> {
    match mount.device {
        number if !number.is_anonymous() => Some(number),
        _ if mount.fs == Filesystem::Btrfs.name() => source_of_btrfs(roots, &mount.source),
        _ => None,
    }
}

/// Returns whether `mount` shows the file system on this very device, or a folder of it.
#[must_use]
pub fn is_of(roots: &Roots, mount: &Mount, number: DevNum) -> bool {
    device_of(roots, mount) == Some(number)
}

/// Returns whether `mount` shows the root of the file system on this very device.
///
/// The file system on another level of the volume's [`DeviceStack`](super::DeviceStack) is not the
/// volume's.
#[must_use]
pub fn shows_all_of(roots: &Roots, mount: &Mount, number: DevNum) -> bool {
    mount.root.as_os_str() == "/" && is_of(roots, mount, number)
}

/// Returns the number of the block device at a path below `/dev`, as the kernel shows it.
pub(super) fn number_at(roots: &Roots, path: &Path) -> Option<DevNum> {
    let below = path.strip_prefix("/dev").ok()?;
    DevNum::from_block_device(&fs::metadata(roots.dev.join(below)).ok()?)
}

/// Returns the device that this path leads to, if a btrfs is mounted from it.
fn source_of_btrfs(roots: &Roots, source: &Path) -> Option<DevNum> {
    // The kernel keeps the path of the latest mount or scan: any one of the device's names.
    let number = number_at(roots, source)?;
    let name = sysfs::kernel_name(&roots.sys, number).ok()?;
    let mounted = fs::read_dir(roots.sys.join("fs/btrfs")).ok()?;
    mounted
        .flatten()
        .any(|one| one.path().join("devices").join(&name).exists())
        .then_some(number)
}

#[cfg(test)]
mod tests {
    use super::device_of;
    use crate::block::dev_num::DevNum;
    use crate::block::lv_device::Roots;
    use crate::mount::mountinfo::parse;
    use std::fs;

    fn shown(roots: &Roots, device: &str, fs: &str, source: &str) -> Option<DevNum> {
        let line = format!("36 35 {device} / /mnt rw - {fs} {source} rw\n");
        device_of(roots, &parse(line.as_bytes()).unwrap()[0])
    }

    #[test]
    fn device_of_uses_number_of_mount() {
        let roots = Roots {
            dev: "/nowhere".into(),
            sys: "/nowhere".into(),
        };
        assert_eq!(
            shown(&roots, "254:3", "ext4", "/dev/mapper/x"),
            Some(DevNum::new(254, 3))
        );
        assert_eq!(shown(&roots, "0:45", "tmpfs", "/dev/mapper/x"), None);
        assert_eq!(shown(&roots, "0:45", "btrfs", "/dev/mapper/x"), None);
    }

    #[test]
    fn device_of_btrfs_is_none_without_device_source() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots {
            dev: root.path().join("dev"),
            sys: root.path().join("sys"),
        };
        fs::create_dir_all(roots.dev.join("mapper")).unwrap();
        fs::write(roots.dev.join("file"), "").unwrap();
        for (source, what) in [
            ("/dev/none", "nothing"),
            ("/dev/file", "no device"),
            ("/tmp/x", "elsewhere"),
        ] {
            assert_eq!(shown(&roots, "0:45", "btrfs", source), None, "{what}");
        }
    }
}
