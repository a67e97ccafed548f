//! A folder that the kubelet passes for a volume: a pod's, or the one shared by all pods of a node.
//! It must belong to this driver, without a symbolic link below the kubelet's root.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flexvolume::driver_name::DriverName;
use flexvolume::kubelet_path::VolumeFolder;
use host::mount::mountinfo::{self, Mount};
use host::{Error, Kind};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::volume::context::Node;

/// Which kind of folder is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FolderScope {
    /// `<root>/pods/<uid>/volumes/<vendor>~<driver>/<name>`
    OnePod,
    /// `<root>/plugins/kubernetes.io/flexvolume/<vendor>/<driver>/mounts/<name>`
    AllPods,
    /// Both kinds.
    Any,
}

/// A target folder. Its parent is held open, so that it can't be replaced meanwhile.
#[derive(Debug)]
pub(crate) struct TargetDir {
    parent: OwnedFd,
    name: OsString,
    path: PathBuf,
    place: VolumeFolder,
}

/// Open flags for path lookup only: neither reading nor writing.
const WALK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl TargetDir {
    /// Opens the parent of a path; returns `None` when a folder above it does not exist.
    ///
    /// The folder itself need not exist.
    ///
    /// # Errors
    /// `Invalid` when the path does not have the form of the kubelet's for this driver, or contains
    /// a symbolic link below the kubelet's root.
    pub(crate) fn open(
        path: &OsStr,
        driver: &DriverName,
        scope: FolderScope,
    ) -> Result<Option<Self>, Error> {
        let place = read(path, driver, scope).map_err(|why| Error::refused(Kind::Invalid, why))?;
        Self::walk(place)
    }

    /// Opens a folder that the kubelet has created as a mount point.
    pub(crate) fn existing(
        node: &Node<'_>,
        path: &OsStr,
        scope: FolderScope,
    ) -> Result<Self, Error> {
        Self::open(path, &node.driver, scope)?.ok_or_else(|| {
            Error::refused(
                Kind::NotFound,
                format!("there is no folder {}", path.display()),
            )
        })
    }

    /// Returns the topmost mount on the folder.
    pub(crate) fn mounted(&self, node: &Node<'_>) -> Result<Option<Mount>, Error> {
        let mounts = mountinfo::read(&node.mounts)?;
        Ok(mountinfo::at(&mounts, self.path())
            .last()
            .map(|mount| (*mount).clone()))
    }

    /// Returns the folder shared by all pods that belongs to this one.
    ///
    /// # Errors
    /// As [`TargetDir::open`].
    pub(crate) fn for_all_pods(&self) -> Result<Option<Self>, Error> {
        Self::walk(self.place.for_all_pods())
    }

    fn walk(place: VolumeFolder) -> Result<Option<Self>, Error> {
        let shown = place.path();
        let steps = place.steps();
        let (name, above) = steps
            .split_last()
            .ok_or_else(|| Error::refused(Kind::Invalid, "no folder"))?;
        // The kubelet's root may be a symbolic link, or lie below one: the admin decides that.
        let mut parent = match openat(CWD, place.root.as_path(), WALK, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::io("open", &place.root)(errno.into())),
        };
        for step in above {
            parent = match openat(
                &parent,
                step.as_str(),
                WALK | OFlags::NOFOLLOW,
                Mode::empty(),
            ) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(not_a_folder(&shown, OsStr::new(step)));
                }
                Err(errno) => return Err(Error::io("open", &shown)(errno.into())),
            };
        }
        let real = std::fs::read_link(handle(&parent)).map_err(Error::io("find", &shown))?;
        Ok(Some(Self {
            parent,
            name: name.into(),
            path: real.join(name),
            place,
        }))
    }

    /// Returns its path without symbolic links, as in the table of mounts.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a path that leads to the topmost mount, even if the folders above are moved.
    #[must_use]
    pub(crate) fn top(&self) -> PathBuf {
        handle(&self.parent).join(&self.name)
    }

    /// Returns true only if the name certainly does not exist: a corrupt mount fails with other
    /// errors.
    #[must_use]
    pub(crate) fn is_missing(&self) -> bool {
        matches!(
            statat(
                &self.parent,
                &self.name,
                AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT
            ),
            Err(Errno::NOENT)
        )
    }

    /// Opens the folder itself, as a mount point.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` when it is a symbolic link or not a folder.
    pub(crate) fn target(&self) -> Result<TargetHandle, Error> {
        match openat(
            &self.parent,
            &self.name,
            WALK | OFlags::NOFOLLOW,
            Mode::empty(),
        ) {
            Ok(folder) => Ok(TargetHandle(folder)),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(not_a_folder(&self.path, &self.name)),
            Err(errno) => Err(Error::io("open", &self.path)(errno.into())),
        }
    }
}

/// An open mount point.
#[derive(Debug)]
pub(crate) struct TargetHandle(OwnedFd);

impl TargetHandle {
    /// Returns a path that leads to this very folder.
    #[must_use]
    pub(crate) fn path(&self) -> PathBuf {
        handle(&self.0)
    }
}

fn handle(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

fn not_a_folder(path: &Path, step: &OsStr) -> Error {
    let message = format!(
        "{}: {} is a symbolic link, or not a folder",
        path.display(),
        step.display()
    );
    Error::refused(Kind::Invalid, message)
}

/// Parses and checks the path. Pure.
fn read(path: &OsStr, driver: &DriverName, scope: FolderScope) -> Result<VolumeFolder, String> {
    const MOST: usize = 4096;
    let bytes = path.as_bytes();
    if !bytes.starts_with(b"/") || bytes.len() >= MOST {
        return Err("the folder has to be an absolute path, shorter than 4096 bytes".to_owned());
    }
    if bytes
        .split(|&b| b == b'/')
        .any(|step| matches!(step, b"." | b"..") || step.contains(&0))
    {
        return Err("the folder's path must not contain . or ..".to_owned());
    }
    let place = VolumeFolder::from_path(Path::new(path)).filter(|place| place.driver == *driver);
    place.filter(|place| scope.fits(place)).ok_or_else(|| {
        let one = format!("<root>/pods/<uid>/volumes/{}/<name>", driver.folder());
        let all = format!("<root>/plugins/kubernetes.io/flexvolume/{driver}/mounts/<name>");
        let shape = match scope {
            FolderScope::OnePod => one,
            FolderScope::AllPods => all,
            FolderScope::Any => format!("{one} or {all}"),
        };
        format!("the folder is not the kubelet's: it has to be {shape}")
    })
}

impl FolderScope {
    fn fits(self, place: &VolumeFolder) -> bool {
        match self {
            Self::OnePod => place.pod.is_some(),
            Self::AllPods => place.pod.is_none(),
            Self::Any => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FolderScope, TargetDir, read};
    use flexvolume::driver_name::DriverName;
    use host::Kind;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    const BELOW: &str = "pods/0a-1/volumes/flexlvm.dev~lvm/pvc-1";
    const ALL: &str = "plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1";

    fn folder(path: &Path) -> Result<Option<TargetDir>, Kind> {
        TargetDir::open(path.as_os_str(), &DriverName::own(), FolderScope::Any)
            .map_err(|error| error.kind())
    }

    fn open(path: &Path) -> Result<Option<PathBuf>, Kind> {
        Ok(folder(path)?.map(|folder| folder.path().to_owned()))
    }

    fn is_ours(path: &OsStr, scope: FolderScope) -> bool {
        read(path, &DriverName::own(), scope).is_ok()
    }

    #[test]
    fn accepts_only_the_kubelets_paths() {
        for good in [
            "/var/lib/kubelet/pods/u/volumes/flexlvm.dev~lvm/pvc-1",
            "/pods/u/volumes/flexlvm.dev~lvm/pvc-1",
            "//a//pods/u/volumes/flexlvm.dev~lvm/pvc-1/",
        ] {
            assert!(is_ours(OsStr::new(good), FolderScope::OnePod), "{good}");
            assert!(!is_ours(OsStr::new(good), FolderScope::AllPods), "{good}");
            assert!(is_ours(OsStr::new(good), FolderScope::Any), "{good}");
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
            assert!(!is_ours(OsStr::new(bad), FolderScope::Any), "{bad:?}");
        }
        let long = format!("/pods/u/volumes/flexlvm.dev~lvm/{}", "x".repeat(300));
        assert!(!is_ours(OsStr::new(&long), FolderScope::Any));
        assert!(!is_ours(
            OsStr::from_bytes(b"/pods/u/volumes/flexlvm.dev~lvm/\xff"),
            FolderScope::Any
        ));
    }

    #[test]
    fn folder_for_all_pods_is_derived_from_a_pods_folder() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(root.join(BELOW)).unwrap();
        let pod = folder(&root.join(BELOW)).unwrap().unwrap();
        assert!(pod.for_all_pods().unwrap().is_none());
        fs::create_dir_all(root.join(ALL)).unwrap();
        assert_eq!(pod.for_all_pods().unwrap().unwrap().path(), root.join(ALL));
        assert!(
            is_ours(root.join(ALL).as_os_str(), FolderScope::AllPods)
                && !is_ours(root.join(ALL).as_os_str(), FolderScope::OnePod)
        );
        for bad in [
            "/k/plugins/kubernetes.io/flexvolume/other/lvm/mounts/x",
            "/k/plugins/kubernetes.io/flexvolume/flexlvm.dev~lvm/mounts/x",
        ] {
            assert!(!is_ours(OsStr::new(bad), FolderScope::Any), "{bad}");
        }
    }

    #[test]
    fn rejects_folders_of_another_driver_name() {
        let alias: DriverName = "kubernetes.io/lvm".parse().unwrap();
        let own = "/k/pods/u/volumes/flexlvm.dev~lvm/x";
        let other = "/k/pods/u/volumes/kubernetes.io~lvm/x";
        assert!(
            read(OsStr::new(own), &alias, FolderScope::Any)
                .unwrap_err()
                .contains("kubernetes.io~lvm/<name>")
        );
        assert!(
            read(OsStr::new(other), &alias, FolderScope::Any).is_ok()
                && !is_ours(OsStr::new(other), FolderScope::Any)
        );
    }

    #[test]
    fn symbolic_link_is_accepted_for_the_root_only() {
        let scratch = tempfile::tempdir().unwrap();
        let real = scratch.path().canonicalize().unwrap().join("real");
        fs::create_dir_all(real.join(BELOW)).unwrap();
        let root = scratch.path().join("root");
        symlink("real", &root).unwrap();
        assert_eq!(open(&root.join(BELOW)), Ok(Some(real.join(BELOW))));
        for link in [
            "pods",
            "pods/0a-1",
            "pods/0a-1/volumes",
            "pods/0a-1/volumes/flexlvm.dev~lvm",
        ] {
            let root = scratch.path().join(format!("with-link-{}", link.len()));
            fs::create_dir_all(root.join(link).parent().unwrap()).unwrap();
            symlink(real.join(link), root.join(link)).unwrap();
            assert_eq!(open(&root.join(BELOW)), Err(Kind::Invalid), "{link}");
        }
        fs::create_dir_all(real.join(ALL)).unwrap();
        for steps in 1..=6 {
            let link: PathBuf = Path::new(ALL).iter().take(steps).collect();
            let root = scratch.path().join(format!("with-link-all-{steps}"));
            fs::create_dir_all(root.join(&link).parent().unwrap()).unwrap();
            symlink(real.join(&link), root.join(&link)).unwrap();
            assert_eq!(open(&root.join(ALL)), Err(Kind::Invalid), "{link:?}");
        }
        let last = real.join("pods/0a-1/volumes/flexlvm.dev~lvm/pvc-2");
        symlink("pvc-1", &last).unwrap();
        let folder = folder(&last).unwrap().unwrap();
        assert_eq!(folder.target().unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn missing_folder_is_not_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(open(&scratch.path().join(BELOW)), Ok(None));
        assert_eq!(open(&scratch.path().join("no-root").join(BELOW)), Ok(None));
        fs::create_dir_all(scratch.path().join(BELOW).parent().unwrap()).unwrap();
        let folder = folder(&scratch.path().join(BELOW)).unwrap().unwrap();
        assert!(folder.is_missing());
        assert_eq!(folder.target().unwrap_err().kind(), Kind::NotFound);
    }
}
