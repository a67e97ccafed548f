//! Resizes a mounted file system to the size of its device.

use std::path::Path;
use std::time::Duration;

use host::mount::mountinfo::{self, Mount};
use host::mount::private_mount_ns;
use host::stack::lookup::is_of;
use host::{Device, Filesystem, fs};

use crate::error::Error;
use crate::note::Note;
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
) -> Option<Note> {
    let error = resize_if_larger(node, fs, device, point).err()?;
    Some(Note::new(format!(
        "the file system did not grow: {}",
        host::error::chain(&error)
    )))
}

fn resize_if_larger(
    node: &Node<'_>,
    fs: Filesystem,
    device: &Device,
    point: &Path,
) -> Result<(), Error> {
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

/// Resizes the file system that is mounted on `point` to its device, whose end it zeroes before:
/// until then, the end belongs to no file system, since the caller has the volume's lock.
///
/// # Errors
/// When it can't be resized; it is then as intact as before.
pub(crate) fn grow(
    node: &Node<'_>,
    fs: Filesystem,
    device: &Device,
    point: &Path,
) -> Result<(), Error> {
    fs::zero_behind_filesystem(device, fs, fs::size(device, point)?)?;
    if fs == Filesystem::Ext4
        && let Some(reader) = read_only_mount(node, device)
    {
        return grow_beside(node, device, point, &reader);
    }
    Ok(fs::resize(node, fs, device, point, TIME)?)
}

/// Resizes an ext4 that has a read-only mount, too: resize2fs uses the first mount of a device that
/// it finds, and fails if that one is read-only.
fn grow_beside(
    node: &Node<'_>,
    device: &Device,
    point: &Path,
    reader: &Mount,
) -> Result<(), Error> {
    let ext4 = Filesystem::Ext4;
    let result = private_mount_ns::with_writable(device.number(), || {
        fs::resize(node, ext4, device, point, TIME)
    });
    if let Ok(result) = result {
        return Ok(result?);
    }
    // Without a mount namespace of its own, resize2fs may still find the writable mount first.
    fs::resize(node, ext4, device, point, TIME).map_err(|error| {
        Error::Failed(format!(
            "{}; it is also mounted read-only on {}, and that mount can keep the file system from growing",
            host::error::chain(&error),
            reader.point.display()
        ))
    })
}

/// Returns a read-only mount of the device whose file system itself is writable.
fn read_only_mount(node: &Node<'_>, device: &Device) -> Option<Mount> {
    let mounts = mountinfo::read(&node.mounts).unwrap_or_default();
    mounts.into_iter().find(|mount| {
        is_of(&node.roots, mount, device.number()) && mount.read_only && !mount.fs_read_only
    })
}
