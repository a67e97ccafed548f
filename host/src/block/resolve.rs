//! Finds what is at a path below the node's `/dev`: the only place that follows the links to its
//! devices. [`root_path`](crate::root_path) does so for paths of which parts may be missing.
//!
//! Symbolic links resolve as on the node, not as in the agent's container, where an absolute link
//! would lead to the container's own `/dev`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use device_path::DevicePath;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2, readlinkat};
use rustix::io::Errno;

use crate::block::dev_num::DevNum;
use crate::block::lv_device::{Roots, fd_path};

/// Maximum number of links in a path, as in the kernel.
const MAX_LINKS: usize = 40;

const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Returns the number of the block device at a path of the node; `None` if there is none.
#[must_use]
pub fn number_at(roots: &Roots, path: &DevicePath) -> Option<DevNum> {
    let handle = open_handle(roots, path).ok()?;
    DevNum::from_block_device(&fs::metadata(fd_path(&handle)).ok()?)
}

/// Returns a handle of what is at a path of the node, without opening it.
///
/// Opening something other than a block device can block, or have side effects.
///
/// # Errors
/// `NotFound` if there is nothing; other errors of open(2).
pub(super) fn open_handle(roots: &Roots, path: &DevicePath) -> io::Result<OwnedFd> {
    let root = roots.dev.parent().unwrap_or(&roots.dev);
    let root = open(root, HANDLE | OFlags::DIRECTORY, Mode::empty())?;
    match openat2(
        &root,
        path.as_str(),
        HANDLE,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    ) {
        // Before Linux 5.6.
        Err(Errno::NOSYS) => walk(&root, path.as_str()),
        found => found,
    }
    .map_err(Into::into)
}

/// Resolves a path as `openat2` does with `RESOLVE_IN_ROOT`, one component at a time.
fn walk(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    // The components still to resolve, the next one last; and the folders from the root to here.
    let mut rest: Vec<Vec<u8>> = components(path.as_bytes());
    let mut folders: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == b".." {
            folders.pop();
            continue;
        }
        let folder = folders.last().unwrap_or(root);
        let entry = openat(
            folder,
            part.as_slice(),
            HANDLE | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        if FileType::from_raw_mode(fstat(&entry)?.st_mode) != FileType::Symlink {
            folders.push(entry);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(&entry, "", Vec::new())?;
        if target.as_bytes().starts_with(b"/") {
            folders.clear();
        }
        rest.extend(components(target.as_bytes()));
    }
    match folders.pop() {
        Some(found) => Ok(found),
        None => openat(root, ".", HANDLE, Mode::empty()),
    }
}

/// Splits a path into its components, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .rev()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{HANDLE, Roots, fd_path, number_at, open_handle, walk};
    use device_path::DevicePath;
    use rustix::fs::{Mode, open};
    use std::fs;
    use std::io::ErrorKind;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// A node whose files have their own path as content.
    fn node() -> (tempfile::TempDir, Roots) {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots {
            dev: root.path().join("dev"),
            sys: root.path().join("sys"),
        };
        fs::create_dir_all(roots.dev.join("disk/by-id")).unwrap();
        for file in ["dev/sdb", "outside"] {
            fs::write(root.path().join(file), file).unwrap();
        }
        for (link, target) in [
            ("disk/by-id/relative", "../../sdb"),
            ("disk/by-id/absolute", "/dev/sdb"),
            ("disk/by-id/twice", "/dev/disk/by-id/absolute"),
            ("disk/by-id/dots", "/dev/./disk//../sdb"),
            ("disk/by-id/above", "../../../../../../outside"),
            ("disk/by-id/nowhere", "/dev/none"),
            ("disk/by-id/loop", "/dev/disk/by-id/loop"),
            ("disk/by-id/root", "/"),
            ("folder", "/dev/disk/by-id"),
        ] {
            symlink(target, roots.dev.join(link)).unwrap();
        }
        (root, roots)
    }

    fn content(handle: &OwnedFd) -> String {
        fs::read_to_string(fd_path(handle)).unwrap_or_else(|error| error.kind().to_string())
    }

    fn walked(root: &Path, path: &str) -> Result<OwnedFd, ErrorKind> {
        let root = open(root, HANDLE, Mode::empty()).unwrap();
        walk(&root, path).map_err(|errno| std::io::Error::from(errno).kind())
    }

    #[test]
    fn links_resolve_inside_the_root_of_the_node() {
        let (root, roots) = node();
        for (path, expected) in [
            ("/dev/sdb", "dev/sdb"),
            ("/dev/disk/by-id/relative", "dev/sdb"),
            ("/dev/disk/by-id/absolute", "dev/sdb"),
            ("/dev/disk/by-id/twice", "dev/sdb"),
            ("/dev/disk/by-id/dots", "dev/sdb"),
            ("/dev/folder/absolute", "dev/sdb"),
            ("/dev/disk/by-id/above", "outside"),
            ("/dev/disk/by-id/root", "is a directory"),
        ] {
            let device = DevicePath::new(path).unwrap();
            let handle = open_handle(&roots, &device).unwrap();
            assert_eq!(content(&handle), expected, "{path}");
            let handle = walked(root.path(), path).unwrap();
            assert_eq!(content(&handle), expected, "{path}, before Linux 5.6");
            assert_eq!(number_at(&roots, &device), None, "{path} is no device");
        }
    }

    #[test]
    fn missing_files_and_loops_are_errors() {
        let (root, roots) = node();
        for path in [
            "/dev/none",
            "/dev/disk/by-id/nowhere",
            "/dev/disk/by-id/loop",
            "/dev/sdb/part",
        ] {
            let device = DevicePath::new(path).unwrap();
            let error = open_handle(&roots, &device).unwrap_err().kind();
            assert_eq!(walked(root.path(), path).unwrap_err(), error, "{path}");
        }
    }
}
