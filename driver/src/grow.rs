//! A mounted file system grows to the size of its device. Called by `mount` and `expandfs`.

use std::path::Path;
use std::time::Duration;

use host::mounted::is_of;
use host::mountinfo::{self, Mount};
use host::{Bytes, Device, Error as HostError, Filesystem, filesystem};

use crate::node::Node;

/// A file system may leave so much of its device unused, and can't grow by less: the fresh mark's place, and what is too
/// little for another of ext4's block groups.
const LEFT_OVER: Bytes = Bytes(32 << 20);

/// The most that it may take.
const TIME: Duration = Duration::from_secs(90);

/// Grows the file system if the volume has grown since. A volume that is too small for a while is better than a pod that
/// doesn't start: what went wrong is returned for the log, and the kubelet's `expandfs` says it to the user.
pub(crate) fn grow_if_larger(node: &Node<'_>, fs: Filesystem, device: &Device, point: &Path) -> Option<String> {
    let attempt = || -> Result<(), HostError> {
        let size = device.size()?;
        let used = device.superblock()?.map_or(size, |look| look.size);
        if size.0.saturating_sub(used.0) < LEFT_OVER.0 {
            return Ok(());
        }
        grow(node, fs, device, point)
    };
    attempt().err().map(|error| format!("the file system did not grow: {}", host::error::chain(&error)))
}

/// Grows the file system that is mounted on `point`.
///
/// # Errors
/// When it can't; it is as sound as before.
pub(crate) fn grow(node: &Node<'_>, fs: Filesystem, device: &Device, point: &Path) -> Result<(), HostError> {
    filesystem::grow(node, fs, &device.path(), point, TIME).map_err(|error| hint(node, fs, device, error))
}

/// resize2fs goes by the first mount of a device that it finds, and fails when that one is read-only.
fn hint(node: &Node<'_>, fs: Filesystem, device: &Device, error: HostError) -> HostError {
    let read_only = |mount: &Mount| is_of(&node.roots, mount, device) && mount.read_only;
    let mounts = mountinfo::read(&node.mounts).unwrap_or_default();
    match mounts.iter().find(|mount| read_only(mount)) {
        Some(mount) if fs == Filesystem::Ext4 => {
            let message = format!(
                "{}; it is mounted read-only on {}, too: as long as it is, the file system may not be able to grow",
                host::error::chain(&error),
                mount.point.display()
            );
            HostError::refused(error.kind(), message)
        }
        _ => error,
    }
}
