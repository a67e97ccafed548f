//! Mounts that are read-only from their first moment: created detached, then moved into place.
//!
//! With mount(2) a mount would be writable first, and stay so if this process died before the
//! second call.

use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::{Flags, MountRequest};

/// Flags of a mount, as opposed to its file system.
const OF_MOUNT: [(Flags, MountAttrFlags); 6] = [
    (Flags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
    (Flags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
    (Flags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    (Flags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
    (Flags::STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
    (Flags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
];

/// Flags of a file system, by their names in fsconfig(2).
const OF_FILE_SYSTEM: [(Flags, &str); 4] = [
    (Flags::RDONLY, "ro"),
    (Flags::SYNCHRONOUS, "sync"),
    (Flags::DIRSYNC, "dirsync"),
    (Flags::LAZYTIME, "lazytime"),
];

/// Mounts read-only; the file system itself stays writable unless [`Flags::RDONLY`] is set.
///
/// Returns `None` where the kernel lacks these calls (before 5.2) or a sandbox blocks them: some
/// refuse every call that they don't recognize.
pub(super) fn mount(request: &MountRequest<'_>, folder: &Path) -> Option<Result<(), Errno>> {
    match fsopen(request.fs.name(), FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NOSYS | Errno::PERM) => None,
        Err(errno) => Some(Err(errno)),
        Ok(context) => Some(configure_and_mount(&context, request, folder)),
    }
}

/// An unfinished mount disappears with its file descriptors.
fn configure_and_mount(
    context: &OwnedFd,
    request: &MountRequest<'_>,
    folder: &Path,
) -> Result<(), Errno> {
    fsconfig_set_string(context, "source", request.source)?;
    for (_, name) in OF_FILE_SYSTEM
        .into_iter()
        .filter(|(flag, _)| request.flags.contains(*flag))
    {
        fsconfig_set_flag(context, name)?;
    }
    for option in request
        .options()
        .split(',')
        .filter(|option| !option.is_empty())
    {
        match option.split_once('=') {
            Some((name, value)) => fsconfig_set_string(context, name, value)?,
            None => fsconfig_set_flag(context, option)?,
        }
    }
    fsconfig_create(context)?;
    let mount = fsmount(
        context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes(request.flags),
    )?;
    // The folder's path is a link to an open file descriptor.
    let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(&mount, "", CWD, folder, how)
}

fn attributes(flags: Flags) -> MountAttrFlags {
    let wanted = OF_MOUNT
        .into_iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, attribute)| attribute);
    wanted.fold(MountAttrFlags::MOUNT_ATTR_RDONLY, MountAttrFlags::union)
}

#[cfg(test)]
mod tests {
    use super::{Flags, MountAttrFlags, attributes};

    #[test]
    fn attributes_add_read_only_to_flags() {
        let flags = Flags::NOSUID | Flags::NOATIME | Flags::LAZYTIME;
        let expected = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOATIME;
        assert_eq!(attributes(flags), expected);
        assert_eq!(
            attributes(Flags::empty()),
            MountAttrFlags::MOUNT_ATTR_RDONLY
        );
    }
}
