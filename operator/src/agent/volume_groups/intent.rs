//! What an agent is about to make a volume group of, written down before it begins:
//! `volume-groups/NAME.json` in the node's folder of FlexLVM. Whoever comes after it knows the
//! physical volumes that it left by their uuids, which are chosen before they are made.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use host::{Error, Kind, LvUuid, VgName, atomic_file};
use serde::{Deserialize, Serialize};

/// What was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The devices.
    pub devices: Vec<IntentDevice>,
}

/// A device that is to become a physical volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentDevice {
    /// Its path, as a backend names it; for people.
    pub path: String,
    /// The uuid that it gets.
    pub uuid: String,
}

impl Intent {
    /// Whether a physical volume of this uuid was to be made.
    #[must_use]
    pub fn has(&self, uuid: &LvUuid) -> bool {
        self.devices
            .iter()
            .any(|device| device.uuid == uuid.as_str())
    }
}

/// What was begun for a group.
///
/// # Errors
/// When that can't be read.
pub fn read(state: &Path, group: &VgName) -> Result<Intent, Error> {
    let path = file(state, group);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Intent::default()),
        text => serde_json::from_slice(&text.map_err(Error::io("read", &path))?)
            .map_err(|error| Error::refused(Kind::Invalid, format!("{}: {error}", path.display()))),
    }
}

/// Writes down what is about to be done; it is on the disk when this returns.
///
/// # Errors
/// When it can't be written.
pub fn write(state: &Path, group: &VgName, intent: &Intent) -> Result<(), Error> {
    let text = serde_json::to_vec(intent)
        .map_err(|error| Error::refused(Kind::Failed, error.to_string()))?;
    atomic_file::write(&folder(state), &format!("{group}.json"), &text)
}

/// Forgets what is done.
///
/// # Errors
/// When the file can't be removed.
pub fn forget(state: &Path, group: &VgName) -> Result<(), Error> {
    let path = file(state, group);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Keeps other agents of this node from making volume groups while the file is open.
///
/// # Errors
/// `Busy` when another one does.
pub fn lock(state: &Path) -> Result<File, Error> {
    let (folder, path) = (folder(state), folder(state).join(".lock"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&folder)
        .map_err(Error::io("make", &folder))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::refused(
            Kind::Busy,
            "another agent of this node is making a volume group",
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
    use super::{Intent, IntentDevice, forget, lock, read, write};
    use host::{Kind, LvUuid, VgName};

    #[test]
    fn what_was_begun_is_known_until_it_is_done() {
        let state = tempfile::tempdir().unwrap();
        let (group, uuid) = (VgName::new("vg0").unwrap(), LvUuid::random().unwrap());
        assert_eq!(read(state.path(), &group).unwrap(), Intent::default());
        let intent = Intent {
            devices: vec![IntentDevice {
                path: "/dev/x".to_owned(),
                uuid: uuid.to_string(),
            }],
        };
        write(state.path(), &group, &intent).unwrap();
        let begun = read(state.path(), &group).unwrap();
        assert!(begun.has(&uuid) && !begun.has(&LvUuid::random().unwrap()));
        std::fs::write(state.path().join("volume-groups/vg0.json"), "{").unwrap();
        assert_eq!(
            read(state.path(), &group).unwrap_err().kind(),
            Kind::Invalid
        );
        forget(state.path(), &group).unwrap();
        forget(state.path(), &group).unwrap();
        assert_eq!(read(state.path(), &group).unwrap(), Intent::default());
    }

    #[test]
    fn one_agent_at_a_time() {
        let state = tempfile::tempdir().unwrap();
        let held = lock(state.path()).unwrap();
        assert_eq!(lock(state.path()).unwrap_err().kind(), Kind::Busy);
        drop(held);
        lock(state.path()).unwrap();
    }
}
