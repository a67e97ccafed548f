//! Folders in which the driver was installed before the kubelet used another one.
//!
//! The driver is removed from them only when the kubelet has loaded it from the current folder and
//! no volume is mounted: until then the kubelet may be configured back.

use std::path::{Path, PathBuf};

use flexvolume::DriverName;
use host::{Error, atomic_file, root_path};

use super::DriverInstaller;
use super::files::{self, FileKind};
use super::location::Location;
use super::observed::{self, InstalledDriver, ObservedInstallation};

/// File of the folders in which the driver is or was installed, the last one last; written before
/// each installation.
const FOLDERS: &str = "folders.json";

/// Returns the recorded folders; empty if the record is missing or invalid.
///
/// # Errors
/// If the record can't be read.
pub(super) fn folders(state: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(observed::read_json(&state.join(FOLDERS))?.unwrap_or_default())
}

/// Records that the driver is installed in this folder, too.
///
/// # Errors
/// If the record can't be read or written.
pub(super) fn record(state: &Path, folder: &Path) -> Result<(), Error> {
    let known = folders(state)?;
    if known.last().is_some_and(|last| last == folder) {
        return Ok(());
    }
    let mut folders: Vec<PathBuf> = known.into_iter().filter(|known| known != folder).collect();
    folders.push(folder.to_owned());
    write(state, &folders)
}

/// Removes the driver from all recorded folders but the current one, unless a volume is mounted.
///
/// # Errors
/// If a file can't be read or removed.
pub(super) fn clean(installer: &DriverInstaller, location: &Location) -> Result<(), Error> {
    let folders = folders(&installer.state)?;
    if folders.iter().all(|folder| *folder == location.folder) {
        return Ok(());
    }
    for folder in folders.iter().filter(|one| **one != location.folder) {
        let resolved = root_path::resolve(&location.root, folder)?;
        let plugins = root_path::below(&location.root, &resolved);
        if plugins == location.plugins {
            continue;
        }
        let target = installer.target(&plugins);
        let Some(names) = plan(&observed::observe(&target)?) else {
            return Ok(());
        };
        for name in names {
            if files::kind(&plugins.join(name.folder()))? == FileKind::Folder {
                files::remove(&plugins, &name)?;
            }
        }
    }
    write(&installer.state, std::slice::from_ref(&location.folder))
}

/// Returns the names whose driver to remove, the own one last, because it identifies the others;
/// `None` while a volume is mounted under one of them.
fn plan(seen: &ObservedInstallation) -> Option<Vec<DriverName>> {
    let all = || seen.drivers.iter().chain(&seen.former);
    let is_mounted = seen
        .mounted
        .iter()
        .any(|(folder, _)| all().any(|(name, _)| *name == folder.driver));
    if is_mounted {
        return None;
    }
    let ours = all().filter(|(_, there)| {
        !matches!(
            there,
            InstalledDriver::Foreign | InstalledDriver::InTheWay(..)
        )
    });
    let mut names: Vec<DriverName> = ours.map(|(name, _)| name.clone()).collect();
    names.sort_by_key(|name| *name == DriverName::own());
    Some(names)
}

fn write(state: &Path, folders: &[PathBuf]) -> Result<(), Error> {
    let folders: Vec<_> = folders
        .iter()
        .map(|folder| folder.to_string_lossy())
        .collect();
    let text = serde_json::json!(folders).to_string();
    atomic_file::write(state, FOLDERS, text.as_bytes())
}
