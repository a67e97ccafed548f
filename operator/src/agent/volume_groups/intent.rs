//! The record of a volume group that an agent is about to create: `volume-groups/NAME.json` in
//! FlexLVM's folder on the node.
//!
//! It lets a restarted agent recognize the physical volumes of an interrupted attempt by their
//! uuids, which are chosen before the volumes are created.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use host::{Error, LvUuid, VgName, atomic_file};
use serde::{Deserialize, Serialize};

/// The recorded intent for one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Devices of the group.
    pub devices: Vec<IntentDevice>,
}

/// A device that becomes a physical volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentDevice {
    /// Path from the StorageBackend; informational.
    pub path: String,
    /// LVM uuid chosen for the physical volume.
    pub uuid: String,
}

impl Intent {
    /// Returns whether the intent contains a physical volume with this uuid.
    #[must_use]
    pub fn has(&self, uuid: &LvUuid) -> bool {
        self.devices
            .iter()
            .any(|device| device.uuid == uuid.as_str())
    }
}

/// Returns the recorded intent for a group; an empty one if there is none.
///
/// # Errors
/// If the file can't be read or parsed.
pub fn read(state: &Path, group: &VgName) -> Result<Intent, Error> {
    let path = file(state, group);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Intent::default()),
        text => serde_json::from_slice(&text.map_err(Error::io("read", &path))?)
            .map_err(|error| Error::failed(format!("{}: {error}", path.display()))),
    }
}

/// Records an intent; it is durable when this returns.
///
/// # Errors
/// If the file can't be written.
pub fn write(state: &Path, group: &VgName, intent: &Intent) -> Result<(), Error> {
    let text = serde_json::to_vec(intent).map_err(|error| Error::failed(error.to_string()))?;
    atomic_file::write(&folder(state), &format!("{group}.json"), &text)
}

/// Removes the record of a group.
///
/// # Errors
/// If the file can't be removed.
pub fn remove(state: &Path, group: &VgName) -> Result<(), Error> {
    let path = file(state, group);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Takes the lock that serializes creation of volume groups on this node; held until the file is
/// closed.
///
/// # Errors
/// `Busy` if another agent holds it.
pub fn lock(state: &Path) -> Result<File, Error> {
    let folder = folder(state);
    let path = folder.join(".lock");
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&folder)
        .map_err(Error::io("create", &folder))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::busy(
            "another agent of this node is creating a volume group",
        )),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
    }
}

fn folder(state: &Path) -> PathBuf {
    state.join("volume-groups")
}

fn file(state: &Path, group: &VgName) -> PathBuf {
    folder(state).join(format!("{group}.json"))
}

#[cfg(test)]
mod tests {
    use super::{Intent, IntentDevice, lock, read, remove, write};
    use host::{Kind, VgName};

    #[test]
    fn intent_is_recorded_until_it_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let (group, uuid) = (
            VgName::new("vg0").unwrap(),
            host::random::lv_uuid().unwrap(),
        );
        assert_eq!(read(state.path(), &group).unwrap(), Intent::default());
        let intent = Intent {
            devices: vec![IntentDevice {
                path: "/dev/x".to_owned(),
                uuid: uuid.to_string(),
            }],
        };
        write(state.path(), &group, &intent).unwrap();
        let begun = read(state.path(), &group).unwrap();
        assert!(begun.has(&uuid) && !begun.has(&host::random::lv_uuid().unwrap()));
        std::fs::write(state.path().join("volume-groups/vg0.json"), "{").unwrap();
        assert_eq!(read(state.path(), &group).unwrap_err().kind(), Kind::Failed);
        remove(state.path(), &group).unwrap();
        remove(state.path(), &group).unwrap();
        assert_eq!(read(state.path(), &group).unwrap(), Intent::default());
    }

    #[test]
    fn lock_admits_one_agent() {
        let state = tempfile::tempdir().unwrap();
        let held = lock(state.path()).unwrap();
        assert_eq!(lock(state.path()).unwrap_err().kind(), Kind::Busy);
        drop(held);
        lock(state.path()).unwrap();
    }
}
