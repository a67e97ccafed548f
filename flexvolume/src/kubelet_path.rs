//! Paths of the folders that the kubelet creates for volumes of a FlexVolume driver. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::driver_name::DriverName;

/// A folder that the kubelet creates for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFolder {
    /// The kubelet's root directory, usually `/var/lib/kubelet`.
    pub root: PathBuf,
    /// The driver that the folder belongs to.
    pub driver: DriverName,
    /// UID of the pod: the folder is `<root>/pods/<uid>/volumes/<vendor>~<driver>/<name>`.
    /// `None` for the folder shared by all pods:
    /// `<root>/plugins/kubernetes.io/flexvolume/<vendor>/<driver>/mounts/<name>`.
    pub pod: Option<String>,
    /// Name of the PersistentVolume, or of the pod's inline volume.
    pub name: String,
}

impl VolumeFolder {
    /// Parses a path; returns `None` if it is not such a folder.
    #[must_use]
    pub fn from_path(path: &Path) -> Option<Self> {
        let steps: Vec<&[u8]> = path
            .strip_prefix("/")
            .ok()?
            .iter()
            .map(OsStr::as_bytes)
            .collect();
        let (above, driver, pod, name) = match steps.as_slice() {
            [above @ .., b"pods", uid, b"volumes", driver, name] if is_plain(uid) => (
                above,
                DriverName::from_folder(text(driver)?)?,
                Some(text(uid)?.to_owned()),
                name,
            ),
            [
                above @ ..,
                b"plugins",
                b"kubernetes.io",
                b"flexvolume",
                vendor,
                driver,
                b"mounts",
                name,
            ] => (
                above,
                format!("{}/{}", text(vendor)?, text(driver)?)
                    .parse()
                    .ok()?,
                None,
                name,
            ),
            _ => return None,
        };
        let root = above.iter().fold(PathBuf::from("/"), |root, step| {
            root.join(OsStr::from_bytes(step))
        });
        is_plain(name).then_some(Self {
            root,
            driver,
            pod,
            name: text(name)?.to_owned(),
        })
    }

    /// Returns the folder shared by all pods. In attach mode the pods' folders are bind mounts of
    /// it.
    #[must_use]
    pub fn for_all_pods(&self) -> Self {
        Self {
            pod: None,
            ..self.clone()
        }
    }

    /// Returns the path components below the kubelet's root.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let vendor = self.driver.vendor();
        let driver = self.driver.driver();
        let folder = self.driver.folder();
        let steps: &[&str] = match &self.pod {
            Some(pod) => &["pods", pod, "volumes", &folder, &self.name],
            None => &[
                "plugins",
                "kubernetes.io",
                "flexvolume",
                vendor,
                driver,
                "mounts",
                &self.name,
            ],
        };
        steps.iter().map(|&step| step.to_owned()).collect()
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.steps()
            .iter()
            .fold(self.root.clone(), |path, step| path.join(step))
    }
}

/// Returns true if Kubernetes could have assigned this name to a volume, or as a pod's UID.
#[must_use]
pub fn is_plain(name: &[u8]) -> bool {
    (1..=253).contains(&name.len())
        && name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(b))
}

fn text(step: &[u8]) -> Option<&str> {
    std::str::from_utf8(step).ok()
}

#[cfg(test)]
mod tests {
    use super::VolumeFolder;
    use std::path::Path;

    const POD: &str = "/var/lib/kubelet/pods/0a-1/volumes/flexlvm.dev~lvm/pvc-1";
    const ALL: &str =
        "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1";

    #[test]
    fn parses_both_kinds_of_folder() {
        for (path, pod) in [(POD, Some("0a-1")), (ALL, None)] {
            let folder = VolumeFolder::from_path(Path::new(path)).unwrap();
            assert_eq!(
                (folder.root.as_path(), &*folder.name),
                (Path::new("/var/lib/kubelet"), "pvc-1")
            );
            assert_eq!(
                (folder.driver.to_string(), folder.pod.as_deref()),
                ("flexlvm.dev/lvm".to_owned(), pod)
            );
            assert_eq!(
                (folder.path(), folder.for_all_pods().path()),
                (path.into(), ALL.into())
            );
        }
        let other = VolumeFolder::from_path(Path::new(
            "/k/plugins/kubernetes.io/flexvolume/kubernetes.io/lvm/mounts/x",
        ));
        assert_eq!(other.unwrap().driver.to_string(), "kubernetes.io/lvm");
    }

    #[test]
    fn rejects_other_paths() {
        for path in [
            "/",
            "relative/pods/1/volumes/a~b/c",
            "/k/pods/1/volumes/a~b",
            "/k/pods/1/volumes/a~b/c/d",
            "/k/pods/1/volumes/ab/c",
            "/k/pods/1/volume-subpaths/a~b/c",
            "/k/pods/-rf/volumes/a~b/c",
            "/k/pods/1/volumes/a~b/ c",
            "/k/plugins/kubernetes.io/flexvolume/a/mounts/c",
            "/k/plugins/kubernetes.io/flexvolume/a/b/mounts/..",
            "/k/plugins/kubernetes.io/csi/a/b/mounts/c",
        ] {
            assert_eq!(VolumeFolder::from_path(Path::new(path)), None, "{path}");
        }
    }
}
