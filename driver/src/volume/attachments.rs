//! Which volumes are attached to this node: a small file for each, on a file system that a reboot
//! empties, as it empties the list of active devices. `detach` and `unmountdevice` are told nothing
//! but a name.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use flexvolume::kubelet_path::is_plain;
use flexvolume::options::{GROUP, UUID, VOLUME};
use host::{Error, Kind, LvName, LvUuid, VgName};
use serde_json::{Value, json};

use crate::volume::context::Node;
use crate::volume::identity::VolumeIdentity;

/// The name of a PersistentVolume, or of a pod's volume, that can be a file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttachedName<'a>(&'a str);

impl<'a> AttachedName<'a> {
    /// The name, if Kubernetes could have given it.
    ///
    /// # Errors
    /// `Invalid` when not.
    pub(crate) fn new(name: &'a str) -> Result<Self, Error> {
        if is_plain(name.as_bytes()) {
            return Ok(Self(name));
        }
        // Not repeated: whatever stands in its place may hold a secret.
        Err(Error::refused(
            Kind::Invalid,
            "what is given is not the name of a volume in Kubernetes",
        ))
    }
}

/// Remembers that this volume is attached under this name.
pub(crate) fn remember(
    node: &Node<'_>,
    name: &AttachedName<'_>,
    volume: &VolumeIdentity,
) -> Result<(), Error> {
    let folder = folder(node);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(Error::io("make", &folder))?;
    let text = json!({GROUP: volume.group.as_str(), VOLUME: volume.name.as_str(), UUID: volume.uuid.as_str()});
    let (path, new) = (
        path(node, name),
        folder.join(format!(".{}.{}", name.0, volume.uuid)),
    );
    fs::write(&new, text.to_string()).map_err(Error::io("write", &new))?;
    fs::rename(&new, &path).map_err(Error::io("rename into place", &path))
}

/// The volume that is attached under this name, as far as anybody remembers.
pub(crate) fn recall(
    node: &Node<'_>,
    name: &AttachedName<'_>,
) -> Result<Option<VolumeIdentity>, Error> {
    read(&path(node, name))
}

/// Forgets it.
pub(crate) fn forget(node: &Node<'_>, name: &AttachedName<'_>) -> Result<(), Error> {
    let path = path(node, name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Whether the volume is attached under another name, too, or by this driver under another of its
/// own.
pub(crate) fn has_another_name(
    node: &Node<'_>,
    name: &AttachedName<'_>,
    volume: &VolumeIdentity,
) -> Result<bool, Error> {
    let own = path(node, name);
    for driver in entries(&node.locks.join(ALL))?
        .into_iter()
        .filter(|path| path.is_dir())
    {
        for other in entries(&driver)? {
            let is_name = other
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| AttachedName::new(name).is_ok());
            if is_name
                && other != own
                && read(&other)?.is_some_and(|other| other.uuid == volume.uuid)
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    entries
        .map(|entry| {
            entry
                .map(|entry| entry.path())
                .map_err(Error::io("list", folder))
        })
        .collect()
}

/// In the folder for locks.
const ALL: &str = "attached";

/// Two drivers may have a volume of one name each.
fn folder(node: &Node<'_>) -> PathBuf {
    node.locks.join(ALL).join(node.driver.folder())
}

fn path(node: &Node<'_>, name: &AttachedName<'_>) -> PathBuf {
    folder(node).join(name.0)
}

/// What the file says; nothing if there is none.
fn read(path: &Path) -> Result<Option<VolumeIdentity>, Error> {
    match fs::read(path) {
        Ok(text) => parse(&text).map(Some).ok_or_else(|| {
            let message = format!(
                "{} can't be understood; remove it, and the volume stays as it is",
                path.display()
            );
            Error::refused(Kind::Invalid, message)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn parse(text: &[u8]) -> Option<VolumeIdentity> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let text = |key| value.get(key)?.as_str();
    Some(VolumeIdentity {
        group: VgName::new(text(GROUP)?).ok()?,
        name: LvName::new(text(VOLUME)?).ok()?,
        uuid: LvUuid::new(text(UUID)?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{AttachedName, forget, has_another_name, recall, remember};
    use crate::volume::context::Node;
    use crate::volume::identity::VolumeIdentity;
    use host::{LvName, LvUuid, System, VgName};

    fn volume(uuid: &str) -> VolumeIdentity {
        let (group, name) = (VgName::new("vg0").unwrap(), LvName::new("data").unwrap());
        VolumeIdentity {
            group,
            name,
            uuid: LvUuid::from_plain(uuid).unwrap(),
        }
    }

    #[test]
    fn what_is_attached_is_remembered_until_it_is_forgotten() {
        let scratch = tempfile::tempdir().unwrap();
        let system = System::current();
        let mut node = Node::current(&system);
        node.locks = scratch.path().into();
        let (one, other) = (
            AttachedName::new("pvc-1").unwrap(),
            AttachedName::new("pvc-2").unwrap(),
        );
        let (first, second) = (
            volume("ABCDEF1234567890abcdefghijklmnop"),
            volume("BBCDEF1234567890abcdefghijklmnop"),
        );
        assert_eq!(recall(&node, &one).unwrap(), None);
        for _ in 0..2 {
            remember(&node, &one, &first).unwrap();
            assert_eq!(recall(&node, &one).unwrap().as_ref(), Some(&first));
        }
        remember(&node, &other, &second).unwrap();
        assert!(!has_another_name(&node, &one, &first).unwrap());
        remember(&node, &other, &first).unwrap();
        assert!(has_another_name(&node, &one, &first).unwrap());
        for _ in 0..2 {
            forget(&node, &one).unwrap();
            assert_eq!(recall(&node, &one).unwrap(), None);
        }
        std::fs::write(scratch.path().join("attached/flexlvm.dev~lvm/pvc-2"), "{").unwrap();
        assert!(
            recall(&node, &other)
                .unwrap_err()
                .to_string()
                .contains("attached/flexlvm.dev~lvm/pvc-2")
        );
    }

    #[test]
    fn each_driver_has_names_of_its_own() {
        let scratch = tempfile::tempdir().unwrap();
        let system = System::current();
        let node = |driver: &str| {
            let mut node = Node::current(&system);
            (node.locks, node.driver) = (scratch.path().into(), driver.parse().unwrap());
            node
        };
        let (own, alias) = (node("flexlvm.dev/lvm"), node("kubernetes.io/lvm"));
        let (name, first) = (
            AttachedName::new("data").unwrap(),
            volume("ABCDEF1234567890abcdefghijklmnop"),
        );
        remember(&own, &name, &first).unwrap();
        assert_eq!(recall(&alias, &name).unwrap(), None);
        remember(&alias, &name, &volume("BBCDEF1234567890abcdefghijklmnop")).unwrap();
        assert!(!has_another_name(&own, &name, &first).unwrap());
        remember(&alias, &name, &first).unwrap();
        assert!(has_another_name(&own, &name, &first).unwrap());
        assert_eq!(recall(&own, &name).unwrap(), Some(first));
    }

    #[test]
    fn a_name_is_never_a_path() {
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            ".hidden",
            "-rf",
            "a b",
            "ä",
            &"x".repeat(254),
        ] {
            assert!(AttachedName::new(bad).is_err(), "{bad:?}");
        }
    }
}
