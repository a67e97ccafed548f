//! The folders that the kubelet makes for volumes of a FlexVolume driver, by their paths alone. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::driver_name::DriverName;

/// A folder that a kubelet makes for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFolder {
    /// The kubelet's root: `/var/lib/kubelet`, mostly.
    pub root: PathBuf,
    /// The driver.
    pub driver: DriverName,
    /// The uid of the pod whose folder it is: `<root>/pods/<uid>/volumes/<vendor>~<driver>/<name>`.
    /// `None` when it is the one for all pods:
    /// `<root>/plugins/kubernetes.io/flexvolume/<vendor>/<driver>/mounts/<name>`.
    pub pod: Option<String>,
    /// The PersistentVolume's name, or that of the pod's volume.
    pub name: String,
}

impl VolumeFolder {
    /// What this path is, if it is such a folder.
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

    /// The folder that the pods' folders of the same volume are bind mounts of, where volumes are
    /// attached.
    #[must_use]
    pub fn for_all_pods(&self) -> Self {
        Self {
            pod: None,
            ..self.clone()
        }
    }

    /// The steps from the kubelet's root to it.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let (vendor, driver) = (self.driver.vendor(), self.driver.driver());
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

    /// Its path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.steps()
            .iter()
            .fold(self.root.clone(), |path, step| path.join(step))
    }
}

/// Whether Kubernetes could have made this name of a pod's uid or a volume.
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
    fn both_kinds_are_known_by_their_place() {
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
    fn all_else_is_none() {
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
