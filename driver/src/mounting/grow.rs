//! A mounted file system grows to the size of its device.

use std::path::Path;
use std::time::Duration;

use host::mount::lookup::is_of;
use host::mount::mountinfo::{self, Mount};
use host::mount::private_mount_ns;
use host::{Device, Error as HostError, Filesystem, fs};

use crate::volume::context::Node;

/// The most that it may take.
const TIME: Duration = Duration::from_secs(90);

/// Grows the file system if the volume has grown since. A volume that is too small for a while is
/// better than a pod that doesn't start: what went wrong is returned for the log, and the kubelet's
/// `expandfs` says it to the user.
pub(crate) fn grow_if_larger(
    node: &Node<'_>,
    fs: Filesystem,
    device: &Device,
    point: &Path,
) -> Option<String> {
    let attempt = || -> Result<(), HostError> {
        let size = device.size()?;
        let used = device.superblock()?.map_or(size, |look| look.size);
        // What is on the device may be older than what is mounted.
        let is_full = fs::fills(used, size) || fs::fills(fs::size(device, point)?, size);
        if is_full {
            Ok(())
        } else {
            grow(node, fs, device, point)
        }
    };
    attempt().err().map(|error| {
        format!(
            "the file system did not grow: {}",
            host::error::chain(&error)
        )
    })
}

/// Grows the file system that is mounted on `point`.
///
/// # Errors
/// When it can't, or did not; it is as sound as before.
pub(crate) fn grow(
    node: &Node<'_>,
    fs: Filesystem,
    device: &Device,
    point: &Path,
) -> Result<(), HostError> {
    let attempt = || fs::resize(node, fs, device, point, TIME);
    // resize2fs goes by the first mount of a device that it finds, and fails when that one is
    // read-only.
    let Some(reader) = read_only_mount(node, device).filter(|_| fs == Filesystem::Ext4) else {
        return attempt();
    };
    match private_mount_ns::with_writable(device.number(), attempt) {
        Ok(result) => result,
        Err(_) => attempt().map_err(|error| hint(&reader, error)),
    }
}

/// A mount of the device that is read-only, where the file system as such is not.
fn read_only_mount(node: &Node<'_>, device: &Device) -> Option<Mount> {
    let mounts = mountinfo::read(&node.mounts).unwrap_or_default();
    mounts
        .into_iter()
        .find(|mount| is_of(&node.roots, mount, device) && mount.read_only && !mount.fs_read_only)
}

fn hint(reader: &Mount, error: HostError) -> HostError {
    let message = format!(
        "{}; it is mounted read-only on {}, too: as long as it is, the file system may not be able to grow",
        host::error::chain(&error),
        reader.point.display()
    );
    HostError::refused(error.kind(), message)
}
