//! The folder that a volume is mounted on: `<kubelet's root>/pods/<uid>/volumes/flexlvm.dev~lvm/<name>`, and nothing
//! else, with no symbolic link below the kubelet's root. Called by `mount`, `unmount` and `expandfs`.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use host::{Error, Kind};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// The folder above it, held open: nobody can put another one in its place.
#[derive(Debug)]
pub(crate) struct Folder {
    parent: OwnedFd,
    name: OsString,
    path: PathBuf,
}

/// For walking only: neither read nor written through.
const WALK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Folder {
    /// The folder of this path, which itself need not exist; `None` when one above it doesn't.
    ///
    /// # Errors
    /// `Invalid` when the path isn't one that the kubelet would give, or when there is a symbolic link on the way.
    pub(crate) fn open(path: &OsStr) -> Result<Option<Self>, Error> {
        let (root, steps) = split(path).map_err(|why| Error::refused(Kind::Invalid, why))?;
        let (name, above) = steps.split_last().ok_or_else(|| Error::refused(Kind::Invalid, NOT_THE_KUBELETS))?;
        let shown = Path::new(path);
        // The kubelet's root may be a symbolic link, or lie below one: that is the admin's affair.
        let mut parent = match openat(CWD, root.as_path(), WALK, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::io("open", &root)(errno.into())),
        };
        for step in above {
            parent = match openat(&parent, *step, WALK | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(no_folder(shown, step)),
                Err(errno) => return Err(Error::io("open", shown)(errno.into())),
            };
        }
        let link = handle(&parent);
        let real = std::fs::read_link(&link).map_err(Error::io("find", shown))?;
        Ok(Some(Self { parent, name: (*name).to_owned(), path: real.join(name) }))
    }

    /// Its path without any symbolic link: as the table of mounts has it.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads to whatever is mounted there last, whoever moves folders meanwhile.
    #[must_use]
    pub(crate) fn top(&self) -> PathBuf {
        handle(&self.parent).join(&self.name)
    }

    /// Whether there is positively nothing of that name. A corrupt mount is something: it answers with other errors.
    #[must_use]
    pub(crate) fn is_missing(&self) -> bool {
        matches!(statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT), Err(Errno::NOENT))
    }

    /// The folder itself, as what to mount on.
    ///
    /// # Errors
    /// `NotFound`, and `Invalid` when it is a symbolic link or no folder.
    pub(crate) fn target(&self) -> Result<Target, Error> {
        match openat(&self.parent, &self.name, WALK | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(folder) => Ok(Target(folder)),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(no_folder(&self.path, &self.name)),
            Err(errno) => Err(Error::io("open", &self.path)(errno.into())),
        }
    }
}

/// A folder to mount on, held open.
#[derive(Debug)]
pub(crate) struct Target(OwnedFd);

impl Target {
    /// A path that leads to this very folder.
    #[must_use]
    pub(crate) fn path(&self) -> PathBuf {
        handle(&self.0)
    }
}

fn handle(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

fn no_folder(path: &Path, step: &OsStr) -> Error {
    let message = format!("{}: {} is a symbolic link, or no folder", path.display(), step.display());
    Error::refused(Kind::Invalid, message)
}

const NOT_THE_KUBELETS: &str =
    "the folder is not the kubelet's: it has to be <root>/pods/<uid>/volumes/flexlvm.dev~lvm/<name>";

/// The kubelet's root, and the five steps below it. Pure.
fn split(path: &OsStr) -> Result<(PathBuf, Vec<&OsStr>), &'static str> {
    const MOST: usize = 4096;
    let bytes = path.as_bytes();
    if !bytes.starts_with(b"/") || bytes.len() >= MOST {
        return Err("the folder has to be an absolute path, shorter than 4096 bytes");
    }
    let steps: Vec<&[u8]> = bytes.split(|&b| b == b'/').filter(|step| !step.is_empty()).collect();
    if steps.iter().any(|step| matches!(*step, b"." | b"..") || step.contains(&0)) {
        return Err("the folder's path must not contain . or ..");
    }
    let (root, below) = steps.split_at_checked(steps.len().saturating_sub(5)).unwrap_or_default();
    match below {
        [b"pods", uid, b"volumes", driver, name]
            if *driver == crate::FOLDER.as_bytes() && is_plain(uid) && is_plain(name) =>
        {
            let root = root.iter().fold(PathBuf::from("/"), |path, step| path.join(OsStr::from_bytes(step)));
            Ok((root, below.iter().map(|step| OsStr::from_bytes(step)).collect()))
        }
        _ => Err(NOT_THE_KUBELETS),
    }
}

/// Whether Kubernetes could have made this name of a pod's uid or a volume.
fn is_plain(name: &[u8]) -> bool {
    (1..=253).contains(&name.len())
        && name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(b))
}

#[cfg(test)]
mod tests {
    use super::{Folder, split};
    use host::Kind;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    const BELOW: &str = "pods/0a-1/volumes/flexlvm.dev~lvm/pvc-1";

    fn open(path: &Path) -> Result<Option<PathBuf>, Kind> {
        let folder = Folder::open(path.as_os_str()).map_err(|error| error.kind())?;
        Ok(folder.map(|folder| folder.path().to_owned()))
    }

    #[test]
    fn only_the_kubelets_own_shape_is_taken() {
        for good in [
            "/var/lib/kubelet/pods/u/volumes/flexlvm.dev~lvm/pvc-1",
            "/pods/u/volumes/flexlvm.dev~lvm/pvc-1",
            "//a//pods/u/volumes/flexlvm.dev~lvm/pvc-1/",
        ] {
            assert!(split(OsStr::new(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "x",
            "pods/u/volumes/flexlvm.dev~lvm/x",
            "/etc",
            "/a/pods/u/volumes/other~lvm/x",
            "/a/pods/u/volumes/flexlvm.dev~lvm",
            "/a/pods/u/volumes/flexlvm.dev~lvm/x/y",
            "/a/pods/u/x/flexlvm.dev~lvm/x",
            "/a/pods/../volumes/flexlvm.dev~lvm/x",
            "/a/../pods/u/volumes/flexlvm.dev~lvm/x",
            "/pods/u/volumes/flexlvm.dev~lvm/..",
            "/pods/u/volumes/flexlvm.dev~lvm/-rf",
            "/pods/u/volumes/flexlvm.dev~lvm/a\nb",
            "/pods/u/volumes/flexlvm.dev~lvm/a b",
            "-rf",
        ] {
            assert!(split(OsStr::new(bad)).is_err(), "{bad:?}");
        }
        let long = format!("/pods/u/volumes/flexlvm.dev~lvm/{}", "x".repeat(300));
        assert!(split(OsStr::new(&long)).is_err());
        assert!(split(OsStr::from_bytes(b"/pods/u/volumes/flexlvm.dev~lvm/\xff")).is_err());
    }

    #[test]
    fn the_kubelets_root_may_be_a_link_and_nothing_below_it() {
        let scratch = tempfile::tempdir().unwrap();
        let real = scratch.path().canonicalize().unwrap().join("real");
        fs::create_dir_all(real.join(BELOW)).unwrap();
        let root = scratch.path().join("root");
        symlink("real", &root).unwrap();
        assert_eq!(open(&root.join(BELOW)), Ok(Some(real.join(BELOW))));
        for link in ["pods", "pods/0a-1", "pods/0a-1/volumes", "pods/0a-1/volumes/flexlvm.dev~lvm"] {
            let root = scratch.path().join(format!("with-link-{}", link.len()));
            fs::create_dir_all(root.join(link).parent().unwrap()).unwrap();
            symlink(real.join(link), root.join(link)).unwrap();
            assert_eq!(open(&root.join(BELOW)), Err(Kind::Invalid), "{link}");
        }
        let last = real.join("pods/0a-1/volumes/flexlvm.dev~lvm/pvc-2");
        symlink("pvc-1", &last).unwrap();
        let folder = Folder::open(last.as_os_str()).unwrap().unwrap();
        assert_eq!(folder.target().unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(open(&scratch.path().join(BELOW)), Ok(None));
        assert_eq!(open(&scratch.path().join("no-root").join(BELOW)), Ok(None));
        fs::create_dir_all(scratch.path().join(BELOW).parent().unwrap()).unwrap();
        let folder = Folder::open(scratch.path().join(BELOW).as_os_str()).unwrap().unwrap();
        assert!(folder.is_missing());
        assert_eq!(folder.target().unwrap_err().kind(), Kind::NotFound);
    }
}
