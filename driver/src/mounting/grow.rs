//! Resizes a mounted file system to the size of its device.

use std::path::Path;
use std::time::Duration;

use host::mount::lookup::is_of;
use host::mount::mountinfo::{self, Mount};
use host::mount::private_mount_ns;
use host::{Device, Error as HostError, Filesystem, fs};

use crate::volume::context::Node;

/// Maximum duration of a resize.
const TIME: Duration = Duration::from_secs(90);

/// Resizes the file system if the volume is larger.
///
/// A volume that is too small for a while is better than a pod that doesn't start: the error is
/// returned for the log only, and `expandfs` reports it to the user.
pub(crate) fn grow_if_larger(
    node: &Node<'_>,
    fs: Filesystem,
    device: &Device,
    point: &Path,
) -> Option<String> {
    resize_if_larger(node, fs, device, point)
        .err()
        .map(|error| {
            format!(
                "the file system did not grow: {}",
                host::error::chain(&error)
            )
        })
}

fn resize_if_larger(
    node: &Node<'_>,
    fs: Filesystem,
    device: &Device,
    point: &Path,
) -> Result<(), HostError> {
    let size = device.size()?;
    let on_disk = device
        .superblock()?
        .map_or(size, |superblock| superblock.size);
    // The superblock on the device may be older than the mounted one.
    if fs::fills(on_disk, size) || fs::fills(fs::size(device, point)?, size) {
        Ok(())
    } else {
        grow(node, fs, device, point)
    }
}

/// Resizes the file system that is mounted on `point` to its device.
///
/// # Errors
/// When it can't be resized; it is then as intact as before.
pub(crate) fn grow(
    node: &Node<'_>,
    fs: Filesystem,
    device: &Device,
    point: &Path,
) -> Result<(), HostError> {
    let attempt = || fs::resize(node, fs, device, point, TIME);
    // resize2fs uses the first mount of a device that it finds, and fails if that one is read-only.
    let Some(reader) = read_only_mount(node, device).filter(|_| fs == Filesystem::Ext4) else {
        return attempt();
    };
    match private_mount_ns::with_writable(device.number(), attempt) {
        Ok(result) => result,
        Err(_) => attempt().map_err(|error| add_hint(&reader, error)),
    }
}

/// Returns a read-only mount of the device whose file system itself is writable.
fn read_only_mount(node: &Node<'_>, device: &Device) -> Option<Mount> {
    let mounts = mountinfo::read(&node.mounts).unwrap_or_default();
    mounts
        .into_iter()
        .find(|mount| is_of(&node.roots, mount, device) && mount.read_only && !mount.fs_read_only)
}

fn add_hint(reader: &Mount, error: HostError) -> HostError {
    let message = format!(
        "{}; it is also mounted read-only on {}, and that mount can keep the file system from growing",
        host::error::chain(&error),
        reader.point.display()
    );
    HostError::failed(message)
}
