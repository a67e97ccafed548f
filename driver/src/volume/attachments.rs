//! Records which volumes are attached to this node, for `detach` and `unmountdevice`, which get
//! nothing but a name.
//!
//! Each volume has a small file on a file system that a reboot clears, as a reboot also deactivates
//! all devices.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use flexvolume::kubelet_path::is_plain;
use flexvolume::options::{GROUP, UUID, VOLUME};
use host::{Error as HostError, LvName, LvUuid, VgName};
use serde_json::{Value, json};

use crate::error::Error;
use crate::volume::context::Node;
use crate::volume::identity::VolumeIdentity;

/// The name of a PersistentVolume, or of a pod's inline volume, that is valid as a file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttachedName<'a>(&'a str);

impl<'a> AttachedName<'a> {
    /// Returns the name if Kubernetes could have assigned it.
    ///
    /// # Errors
    /// When Kubernetes could not have assigned it.
    pub(crate) fn new(name: &'a str) -> Result<Self, Error> {
        if is_plain(name.as_bytes()) {
            return Ok(Self(name));
        }
        // Not repeated: an invalid argument may hold a secret.
        Err(Error::Failed(
            "the argument is not the name of a volume in Kubernetes".to_owned(),
        ))
    }
}

/// Records that this volume is attached under this name.
pub(crate) fn record(
    node: &Node<'_>,
    name: &AttachedName<'_>,
    volume: &VolumeIdentity,
) -> Result<(), Error> {
    let folder = folder(node);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(HostError::io("make", &folder))?;
    let text = json!({
        GROUP: volume.group.as_str(),
        VOLUME: volume.name.as_str(),
        UUID: volume.uuid.as_str(),
    });
    let path = path(node, name);
    // Without the name, which may be almost as long as the name of a file can be. Calls for one
    // volume are serialized, so no other call has this file.
    let new = folder.join(format!(".{}", volume.uuid));
    fs::write(&new, text.to_string()).map_err(HostError::io("write", &new))?;
    fs::rename(&new, &path).map_err(HostError::io("rename into place", &path))?;
    Ok(())
}

/// Returns the volume that is recorded under this name.
pub(crate) fn lookup(
    node: &Node<'_>,
    name: &AttachedName<'_>,
) -> Result<Option<VolumeIdentity>, Error> {
    read(&path(node, name))
}

/// Removes the record.
pub(crate) fn remove(node: &Node<'_>, name: &AttachedName<'_>) -> Result<(), Error> {
    let path = path(node, name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HostError::io("remove", &path)(error).into())
        }
        _ => Ok(()),
    }
}

/// Returns true when the volume is also attached under another volume name, or under another name
/// of the driver.
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
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(HostError::io("list", folder))? {
        paths.push(entry.map_err(HostError::io("list", folder))?.path());
    }
    Ok(paths)
}

/// Subdirectory of the lock directory.
const ALL: &str = "attached";

/// Returns the directory of this driver name: two drivers may each have a volume of the same name.
fn folder(node: &Node<'_>) -> PathBuf {
    node.locks.join(ALL).join(node.driver.folder())
}

fn path(node: &Node<'_>, name: &AttachedName<'_>) -> PathBuf {
    folder(node).join(name.0)
}

/// Reads a record; returns `None` if there is none.
fn read(path: &Path) -> Result<Option<VolumeIdentity>, Error> {
    match fs::read(path) {
        Ok(text) => parse(&text).map(Some).ok_or_else(|| {
            let message = format!(
                "{} is invalid; remove it, which leaves the volume unchanged",
                path.display()
            );
            Error::Failed(message)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::io("read", path)(error).into()),
    }
}

fn parse(text: &[u8]) -> Option<VolumeIdentity> {
    let value: Value = serde_json::from_slice(text).ok()?;
    Some(VolumeIdentity {
        group: VgName::new(value.get(GROUP)?.as_str()?).ok()?,
        name: LvName::new(value.get(VOLUME)?.as_str()?).ok()?,
        uuid: LvUuid::new(value.get(UUID)?.as_str()?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{AttachedName, has_another_name, lookup, record, remove};
    use crate::volume::context::Node;
    use crate::volume::identity::VolumeIdentity;
    use host::{LvName, LvUuid, System, VgName};

    fn volume(uuid: &str) -> VolumeIdentity {
        VolumeIdentity {
            group: VgName::new("vg0").unwrap(),
            name: LvName::new("data").unwrap(),
            uuid: LvUuid::from_plain(uuid).unwrap(),
        }
    }

    #[test]
    fn records_persist_until_they_are_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let system = System::current();
        let mut node = Node::current(&system);
        node.locks = scratch.path().into();
        let one = AttachedName::new("pvc-1").unwrap();
        let other = AttachedName::new("pvc-2").unwrap();
        let first = volume("ABCDEF1234567890abcdefghijklmnop");
        let second = volume("BBCDEF1234567890abcdefghijklmnop");
        assert_eq!(lookup(&node, &one).unwrap(), None);
        for _ in 0..2 {
            record(&node, &one, &first).unwrap();
            assert_eq!(lookup(&node, &one).unwrap().as_ref(), Some(&first));
        }
        record(&node, &other, &second).unwrap();
        assert!(!has_another_name(&node, &one, &first).unwrap());
        record(&node, &other, &first).unwrap();
        assert!(has_another_name(&node, &one, &first).unwrap());
        for _ in 0..2 {
            remove(&node, &one).unwrap();
            assert_eq!(lookup(&node, &one).unwrap(), None);
        }
        std::fs::write(scratch.path().join("attached/flexlvm.dev~lvm/pvc-2"), "{").unwrap();
        assert!(
            lookup(&node, &other)
                .unwrap_err()
                .to_string()
                .contains("attached/flexlvm.dev~lvm/pvc-2")
        );
    }

    #[test]
    fn longest_name_of_kubernetes_is_recorded() {
        let scratch = tempfile::tempdir().unwrap();
        let system = System::current();
        let mut node = Node::current(&system);
        node.locks = scratch.path().into();
        let longest = "x".repeat(253);
        let name = AttachedName::new(&longest).unwrap();
        let first = volume("ABCDEF1234567890abcdefghijklmnop");
        record(&node, &name, &first).unwrap();
        assert_eq!(lookup(&node, &name).unwrap(), Some(first));
    }

    #[test]
    fn each_driver_name_has_its_own_records() {
        let scratch = tempfile::tempdir().unwrap();
        let system = System::current();
        let node = |driver: &str| {
            let mut node = Node::current(&system);
            node.locks = scratch.path().into();
            node.driver = driver.parse().unwrap();
            node
        };
        let own = node("flexlvm.dev/lvm");
        let alias = node("kubernetes.io/lvm");
        let name = AttachedName::new("data").unwrap();
        let first = volume("ABCDEF1234567890abcdefghijklmnop");
        record(&own, &name, &first).unwrap();
        assert_eq!(lookup(&alias, &name).unwrap(), None);
        record(&alias, &name, &volume("BBCDEF1234567890abcdefghijklmnop")).unwrap();
        assert!(!has_another_name(&own, &name, &first).unwrap());
        record(&alias, &name, &first).unwrap();
        assert!(has_another_name(&own, &name, &first).unwrap());
        assert_eq!(lookup(&own, &name).unwrap(), Some(first));
    }

    #[test]
    fn attached_name_is_never_a_path() {
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
