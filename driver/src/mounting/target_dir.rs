//! A folder that the kubelet passes for a volume: a pod's, or the one shared by all pods of a node.
//! It must belong to this driver, without a symbolic link below the kubelet's root.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flexvolume::driver_name::DriverName;
use flexvolume::kubelet_path::VolumeFolder;
use host::Error as HostError;
use host::error::IoError;
use host::mount::mountinfo::{self, Mount};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::error::Error;
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

/// Why a folder can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetDirError {
    /// The path is not absolute, or too long.
    #[error("the folder has to be an absolute path, shorter than 4096 bytes")]
    NotAbsolute,
    /// The path has a component that does not name a folder.
    #[error("the folder's path must not contain . or ..")]
    Dots,
    /// The path does not have the form of the kubelet's for this driver.
    #[error("the folder is not the kubelet's: it has to be {shape}")]
    NotTheKubelets {
        /// The form of the path.
        shape: String,
    },
    /// A component below the kubelet's root is a symbolic link, or not a folder.
    #[error("{path}: {step} is a symbolic link, or not a folder", path = path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
        /// The component.
        step: String,
    },
    /// There is no such folder.
    #[error("there is no folder {}", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The folder can't be examined.
    #[error(transparent)]
    Unknown(#[from] IoError),
}

impl From<TargetDirError> for Error {
    fn from(error: TargetDirError) -> Self {
        match error {
            TargetDirError::Unknown(error) => error.into(),
            error => Self::Failed(error.to_string()),
        }
    }
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
    /// When the path does not have the form of the kubelet's for this driver, or contains a
    /// symbolic link below the kubelet's root.
    pub(crate) fn open(
        path: &OsStr,
        driver: &DriverName,
        scope: FolderScope,
    ) -> Result<Option<Self>, TargetDirError> {
        Self::walk(read(path, driver, scope)?)
    }

    /// Opens a folder that the kubelet has created as a mount point.
    pub(crate) fn existing(
        node: &Node<'_>,
        path: &OsStr,
        scope: FolderScope,
    ) -> Result<Self, TargetDirError> {
        Self::open(path, &node.driver, scope)?
            .ok_or_else(|| TargetDirError::Missing { path: path.into() })
    }

    /// Returns the topmost mount on the folder.
    pub(crate) fn mounted(&self, node: &Node<'_>) -> Result<Option<Mount>, HostError> {
        let mounts = mountinfo::read(&node.mounts)?;
        Ok(mountinfo::at(&mounts, self.path())
            .last()
            .map(|mount| (*mount).clone()))
    }

    /// Returns the folder shared by all pods that belongs to this one.
    ///
    /// # Errors
    /// As [`TargetDir::open`].
    pub(crate) fn for_all_pods(&self) -> Result<Option<Self>, TargetDirError> {
        Self::walk(self.place.for_all_pods())
    }

    fn walk(place: VolumeFolder) -> Result<Option<Self>, TargetDirError> {
        let shown = place.path();
        let steps = place.steps();
        let Some((name, above)) = steps.split_last() else {
            return Err(TargetDirError::Missing { path: shown });
        };
        // The kubelet's root may be a symbolic link, or lie below one: the admin decides that.
        let mut parent = match openat(CWD, place.root.as_path(), WALK, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(IoError::of("open", &place.root)(errno.into()).into()),
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
                Err(errno) => return Err(IoError::of("open", &shown)(errno.into()).into()),
            };
        }
        let real = std::fs::read_link(handle(&parent)).map_err(IoError::of("find", &shown))?;
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
    /// When it does not exist, is a symbolic link, or not a folder.
    pub(crate) fn target(&self) -> Result<TargetHandle, TargetDirError> {
        match openat(
            &self.parent,
            &self.name,
            WALK | OFlags::NOFOLLOW,
            Mode::empty(),
        ) {
            Ok(folder) => Ok(TargetHandle(folder)),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(not_a_folder(&self.path, &self.name)),
            Err(errno) => Err(IoError::of("open", &self.path)(errno.into()).into()),
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

fn not_a_folder(path: &Path, step: &OsStr) -> TargetDirError {
    TargetDirError::NotAFolder {
        path: path.to_owned(),
        step: step.display().to_string(),
    }
}

/// Parses and checks the path. Pure.
fn read(
    path: &OsStr,
    driver: &DriverName,
    scope: FolderScope,
) -> Result<VolumeFolder, TargetDirError> {
    const MOST: usize = 4096;
    let bytes = path.as_bytes();
    if !bytes.starts_with(b"/") || bytes.len() >= MOST {
        return Err(TargetDirError::NotAbsolute);
    }
    if bytes
        .split(|&b| b == b'/')
        .any(|step| matches!(step, b"." | b"..") || step.contains(&0))
    {
        return Err(TargetDirError::Dots);
    }
    if let Some(place) = VolumeFolder::from_path(Path::new(path))
        && place.driver == *driver
        && scope.fits(&place)
    {
        return Ok(place);
    }
    Err(TargetDirError::NotTheKubelets {
        shape: scope.shape(driver),
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

    /// Returns the form of the accepted paths, for messages.
    fn shape(self, driver: &DriverName) -> String {
        let one = format!("<root>/pods/<uid>/volumes/{}/<name>", driver.folder());
        let all = format!("<root>/plugins/kubernetes.io/flexvolume/{driver}/mounts/<name>");
        match self {
            Self::OnePod => one,
            Self::AllPods => all,
            Self::Any => format!("{one} or {all}"),
        }
    }
}

#[cfg(test)]
mod tests;
