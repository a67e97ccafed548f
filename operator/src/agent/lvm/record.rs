//! The newest state of each volume group that an agent of this node has observed:
//! `metadata/UUID.json` in FlexLVM's folder on the node.
//!
//! On the node and not in the API, since an etcd that is restored from a backup would bring back an
//! older state.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use host::lvm::Vg;
use host::{Error, LvUuid, atomic_file};
use serde::{Deserialize, Serialize};

/// The recorded state of one volume group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Name of the volume group; informational.
    pub name: String,
    /// LVM's counter of metadata changes.
    pub seqno: u64,
    /// Hash of the uuids and sizes of its logical volumes: `vgcfgrestore` may return to the same
    /// seqno with other volumes.
    pub volumes: u64,
}

impl From<&Vg> for GroupRecord {
    fn from(vg: &Vg) -> Self {
        let mut volumes = String::new();
        for lv in &vg.lvs {
            volumes.push_str(lv.uuid.as_str());
            volumes.push_str(&lv.size.0.to_string());
        }
        Self {
            name: vg.name.clone(),
            seqno: vg.seqno,
            volumes: crds::hash(&volumes),
        }
    }
}

/// Returns the path of a volume group's record.
#[must_use]
pub fn path(state: &Path, group: &LvUuid) -> PathBuf {
    folder(state).join(file_name(group))
}

/// Returns the record of a volume group; `None` if there is none.
///
/// # Errors
/// If the file can't be read or parsed.
pub fn read(state: &Path, group: &LvUuid) -> Result<Option<GroupRecord>, Error> {
    let path = path(state, group);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Error::io("read", &path))?,
    };
    let record = serde_json::from_slice(&text)
        .map_err(|error| Error::failed(format!("{}: {error}", path.display())))?;
    Ok(Some(record))
}

/// Returns all records, by the uuids of their volume groups.
///
/// # Errors
/// If the folder can't be read. A record that can't be read is left out, with its error.
pub fn read_all(state: &Path) -> Result<(BTreeMap<LvUuid, GroupRecord>, Vec<Error>), Error> {
    let folder = folder(state);
    let mut records = BTreeMap::new();
    let mut unreadable = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((records, unreadable)),
        entries => entries.map_err(Error::io("read", &folder))?,
    };
    for entry in entries {
        let name = entry.map_err(Error::io("read", &folder))?.file_name();
        let uuid = name.to_str().and_then(|name| name.strip_suffix(".json"));
        let Some(Ok(group)) = uuid.map(LvUuid::new) else {
            continue; // an unfinished file
        };
        match read(state, &group) {
            Ok(Some(record)) => {
                records.insert(group, record);
            }
            Ok(None) => {}
            Err(error) => unreadable.push(error),
        }
    }
    Ok((records, unreadable))
}

/// Replaces the record of a volume group; it is durable when this returns.
///
/// # Errors
/// If the file can't be written: then the former record remains.
pub fn write(state: &Path, group: &LvUuid, record: &GroupRecord) -> Result<(), Error> {
    let text = serde_json::to_vec(record).map_err(|error| Error::failed(error.to_string()))?;
    atomic_file::write(&folder(state), &file_name(group), &text)
}

fn folder(state: &Path) -> PathBuf {
    state.join("metadata")
}

fn file_name(group: &LvUuid) -> String {
    format!("{group}.json")
}

#[cfg(test)]
mod tests {
    use super::{GroupRecord, path, read, read_all, write};
    use std::collections::BTreeMap;

    #[test]
    fn record_is_replaced_and_can_be_removed() {
        let state = tempfile::tempdir().unwrap();
        assert!(read_all(state.path()).unwrap().0.is_empty());
        let group = host::random::lv_uuid().unwrap();
        assert_eq!(read(state.path(), &group).unwrap(), None);
        for seqno in [1, 2] {
            let record = GroupRecord {
                name: "vg0".to_owned(),
                seqno,
                volumes: u64::MAX,
            };
            write(state.path(), &group, &record).unwrap();
            assert_eq!(read(state.path(), &group).unwrap(), Some(record.clone()));
            let (records, unreadable) = read_all(state.path()).unwrap();
            assert_eq!(records, BTreeMap::from([(group.clone(), record)]));
            assert!(unreadable.is_empty());
        }
        std::fs::write(state.path().join("metadata/.x.json.tmp"), "").unwrap();
        std::fs::write(path(state.path(), &group), "{").unwrap();
        assert!(read(state.path(), &group).is_err());
        let (records, unreadable) = read_all(state.path()).unwrap();
        assert_eq!((records.len(), unreadable.len()), (0, 1));
        std::fs::remove_file(path(state.path(), &group)).unwrap();
        assert_eq!(read(state.path(), &group).unwrap(), None);
    }
}
