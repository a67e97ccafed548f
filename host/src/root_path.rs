//! Paths below the root folder of another process, such as `/proc/1/root`, whose symbolic links
//! lead to places below that root.
//!
//! The kernel resolves an absolute link in such a path from the caller's own root, which for the
//! agent is that of its container.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use crate::error::Error;

/// Maximum number of symbolic links in a path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Returns the absolute path `path` of a process without symbolic links, as that process sees it.
///
/// `root` is the process's root folder, as this process sees it. Parts that don't exist stay as
/// they are.
///
/// # Errors
/// When a part of the path can't be examined, or has too many links.
pub fn resolve(root: &Path, path: &Path) -> Result<PathBuf, Error> {
    let mut resolved = PathBuf::from("/");
    let mut left = parts(path);
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(part);
        match fs::read_link(below(root, &next)) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    let source = io::Error::other("too many symbolic links");
                    return Err(Error::io("resolve", path)(source));
                }
                if target.is_absolute() {
                    resolved = PathBuf::from("/");
                }
                left.extend(parts(&target));
            }
            Err(error) if is_no_link(&error) => resolved = next,
            Err(error) => return Err(Error::io("resolve", path)(error)),
        }
    }
    Ok(resolved)
}

/// Returns the path of `path` for this process, where `path` is free of symbolic links.
#[must_use]
pub fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Returns the names and `..` of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .rev()
        .collect()
}

/// Returns whether a failed `readlink` shows that there is no symbolic link at the path.
fn is_no_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::{below, resolve};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn links_stay_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("data/kubelet")).unwrap();
        fs::create_dir_all(root.join("var/lib")).unwrap();
        symlink("/data/kubelet", root.join("var/lib/kubelet")).unwrap();
        symlink("../../../../data", root.join("var/lib/up")).unwrap();
        symlink("/loop", root.join("loop")).unwrap();
        for (path, resolved) in [
            ("/", "/"),
            ("/var/lib/kubelet", "/data/kubelet"),
            (
                "/var/lib/kubelet/volumeplugins/x",
                "/data/kubelet/volumeplugins/x",
            ),
            ("/var/./lib//kubelet/../x", "/data/x"),
            ("/var/lib/up/kubelet", "/data/kubelet"),
            ("/nothing/here", "/nothing/here"),
        ] {
            assert_eq!(
                resolve(root, Path::new(path)).unwrap(),
                Path::new(resolved),
                "{path}"
            );
        }
        assert!(resolve(root, Path::new("/loop")).is_err());
        assert_eq!(below(root, Path::new("/a/b")), root.join("a/b"));
    }
}
