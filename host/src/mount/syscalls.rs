//! mount(2): the only module that calls it.

use std::ffi::CString;
use std::path::Path;

use rustix::io::Errno;

use super::new_mount_api;
use super::unmount::umount;
use crate::error::Error;
use crate::fs::Filesystem;

pub use storage_model::mount_flags::MountFlags as Flags;

/// What to mount, and how.
#[derive(Clone, Copy, Debug)]
pub struct MountRequest<'a> {
    /// Path of the device below `/dev/mapper`.
    pub source: &'a Path,
    /// The device's file system.
    pub fs: Filesystem,
    /// Flags, without read-only.
    pub flags: Flags,
    /// The file system's own options.
    pub data: &'a str,
    /// Whether this mount is read-only. Other mounts of the same device may be writable.
    pub read_only: bool,
}

impl MountRequest<'_> {
    /// Returns the file system's own options, separated by commas.
    pub(super) fn options(&self) -> String {
        // Mounts the top-level subvolume, not the default subvolume, which an admin can change.
        let whole = (self.fs == Filesystem::Btrfs).then_some("subvolid=5");
        [Some(self.data).filter(|data| !data.is_empty()), whole]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// Where to mount.
#[derive(Clone, Copy, Debug)]
pub struct MountTarget<'a> {
    /// A path to the folder itself.
    pub folder: &'a Path,
    /// A path to the topmost mount on the folder.
    pub top: &'a Path,
}

/// Mounts a device.
///
/// Makes only this one mount read-only where possible: the kernel has a device either writable or
/// read-only as a whole, and refuses a second mount that differs (EBUSY), in either order of the
/// pods.
///
/// # Errors
/// `Busy` when the device is in use in a way that excludes this mount; else the kernel's reason.
/// Nothing is mounted then.
pub fn mount(request: &MountRequest<'_>, place: MountTarget<'_>) -> Result<(), Error> {
    let attempt = |flags| {
        let request = MountRequest { flags, ..*request };
        if !request.read_only {
            return call(&request, place.folder);
        }
        new_mount_api::mount(&request, place.folder)
            .unwrap_or_else(|| in_two_steps(&request, place))
    };
    let result = match attempt(request.flags) {
        // The device is read-only, or mounted read-only as a whole.
        Err(Errno::BUSY | Errno::ROFS | Errno::ACCESS) if request.read_only => {
            attempt(request.flags | Flags::RDONLY)
        }
        result => result,
    };
    result.map_err(|errno| refused(request, errno))
}

/// Bind-mounts `from` on `place`, read-only if requested.
///
/// # Errors
/// When the kernel refuses. Nothing is mounted then.
pub fn bind(request: &MountRequest<'_>, from: &Path, place: MountTarget<'_>) -> Result<(), Error> {
    let refused = |errno: Errno| Error::io("make a bind mount of", request.source)(errno.into());
    if request.read_only {
        // A second mount of the device is equivalent to a bind mount of its root.
        if let Some(result) = new_mount_api::mount(request, place.folder) {
            return result.map_err(refused);
        }
    }
    rustix::mount::mount_bind(from, place.folder).map_err(refused)?;
    if request.read_only {
        remount_or_unmount(request, place).map_err(refused)
    } else {
        Ok(())
    }
}

/// For kernels that can't make a mount read-only before it is visible.
///
/// A driver killed in between leaves it writable; the next call corrects that by
/// [`make_read_only`].
fn in_two_steps(request: &MountRequest<'_>, place: MountTarget<'_>) -> Result<(), Errno> {
    call(request, place.folder)?;
    remount_or_unmount(request, place)
}

fn remount_or_unmount(request: &MountRequest<'_>, place: MountTarget<'_>) -> Result<(), Errno> {
    remount_read_only(request, place.top).inspect_err(|_| {
        // If this fails, the caller finds the mount in the mount table.
        let _ = umount(place.top);
    })
}

/// Makes the one mount at `top` read-only.
///
/// # Errors
/// When the kernel refuses.
pub fn make_read_only(request: &MountRequest<'_>, top: &Path) -> Result<(), Error> {
    remount_read_only(request, top)
        .map_err(|errno| Error::io("make the mount read-only of", request.source)(errno.into()))
}

fn remount_read_only(request: &MountRequest<'_>, top: &Path) -> Result<(), Errno> {
    // Flags of the mount that are not repeated are lost.
    let of_mount = Flags::NOSUID
        | Flags::NODEV
        | Flags::NOEXEC
        | Flags::NOATIME
        | Flags::NODIRATIME
        | Flags::RELATIME;
    let flags = Flags::BIND | Flags::RDONLY | (request.flags & (of_mount | Flags::STRICTATIME));
    rustix::mount::mount_remount(top, to_kernel(flags), c"")
}

fn call(request: &MountRequest<'_>, folder: &Path) -> Result<(), Errno> {
    let data = CString::new(request.options()).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(
        request.source,
        folder,
        request.fs.name(),
        to_kernel(request.flags),
        data.as_c_str(),
    )
}

fn to_kernel(flags: Flags) -> rustix::mount::MountFlags {
    rustix::mount::MountFlags::from_bits_retain(flags.bits())
}

fn refused(request: &MountRequest<'_>, errno: Errno) -> Error {
    let source = request.source.display();
    let hint = match errno {
        Errno::BUSY => {
            "it is mounted elsewhere with a different read-only state, or another program has it open"
        }
        Errno::INVAL => {
            "the file system is damaged, or this kernel doesn't support one of the mount options; see the kernel's log"
        }
        Errno::EXIST => {
            "another device with the same file system, such as its snapshot or origin, is mounted on this node; or, \
             for btrfs, was scanned there: `btrfs device scan --forget` forgets unmounted devices"
        }
        Errno::NODEV => "this kernel doesn't support the file system",
        Errno::ROFS | Errno::ACCESS if request.read_only => {
            "the logical volume is read-only, but its file system was not unmounted cleanly and must recover first: \
             make it writable with `lvchange --permission rw`"
        }
        Errno::ROFS | Errno::ACCESS => {
            "the logical volume is read-only, but a writable mount was requested"
        }
        Errno::UCLEAN | Errno::BADMSG => {
            "the file system is damaged and must be repaired by hand; see the kernel's log"
        }
        _ => return Error::io("mount", request.source)(errno.into()),
    };
    let message = format!(
        "{source} can't be mounted as {}: {hint} ({errno})",
        request.fs
    );
    match errno {
        Errno::BUSY => Error::busy(message),
        _ => Error::Failed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::{Flags, to_kernel};
    use rustix::mount::MountFlags;

    #[test]
    fn flags_have_the_values_of_the_kernel() {
        for (ours, kernels) in [
            (Flags::empty(), MountFlags::empty()),
            (Flags::RDONLY, MountFlags::RDONLY),
            (Flags::NOSUID, MountFlags::NOSUID),
            (Flags::NODEV, MountFlags::NODEV),
            (Flags::NOEXEC, MountFlags::NOEXEC),
            (Flags::SYNCHRONOUS, MountFlags::SYNCHRONOUS),
            (Flags::DIRSYNC, MountFlags::DIRSYNC),
            (Flags::NOATIME, MountFlags::NOATIME),
            (Flags::NODIRATIME, MountFlags::NODIRATIME),
            (Flags::BIND, MountFlags::BIND),
            (Flags::RELATIME, MountFlags::RELATIME),
            (Flags::STRICTATIME, MountFlags::STRICTATIME),
            (Flags::LAZYTIME, MountFlags::LAZYTIME),
        ] {
            assert_eq!(to_kernel(ours), kernels);
        }
    }
}
