//! The observed installation of the driver on the node.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use flexvolume::{DriverName, DriverSettings, VolumeFolder};
use host::Error;
use host::mount::mountinfo;
use serde::de::DeserializeOwned;

use super::Target;
use super::files::{self, FileKind};

/// File of the driver's settings.
pub(super) const SETTINGS: &str = "driver.json";

/// File of the settings that kubelet has loaded the driver with; written after the driver was
/// presented to the kubelet.
pub(super) const SHOWN: &str = "shown.json";

/// File of the names under which the driver is installed; written before each installation.
pub(super) const NAMES: &str = "names.json";

/// The observed installation.
#[derive(Clone, Debug, Default)]
pub struct ObservedInstallation {
    /// The driver's settings; `None` if they are missing or invalid.
    pub settings: Option<DriverSettings>,
    /// The settings that kubelet last loaded the driver with.
    pub shown: Option<DriverSettings>,
    /// The state under each of the driver's names.
    pub drivers: Vec<(DriverName, InstalledDriver)>,
    /// The recorded names under which the driver was installed.
    pub names: BTreeSet<DriverName>,
    /// The state under former names whose folder still exists.
    pub former: Vec<(DriverName, InstalledDriver)>,
    /// The mounted volumes of all FlexVolume drivers.
    pub mounted: Vec<(VolumeFolder, PathBuf)>,
    /// Folders of other drivers.
    pub others: Vec<OtherDriver>,
}

/// State of the installation under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstalledDriver {
    /// Not installed.
    Missing,
    /// The agent's version of the driver.
    Current,
    /// Another version of FlexLVM's driver, or a damaged one.
    Outdated,
    /// Another vendor's driver.
    Foreign,
    /// Not a driver at all; the text names the expected file type.
    InTheWay(PathBuf, &'static str),
}

/// The folder of another driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherDriver {
    /// Name of the folder.
    pub folder: String,
    /// Whether it contains no executable that kubelet could run.
    pub broken: bool,
}

/// Observes the whole installation.
///
/// # Errors
/// If a file can't be read. An unreadable file never counts as missing.
pub(super) fn observe(target: &Target) -> Result<ObservedInstallation, Error> {
    let mut drivers = Vec::with_capacity(target.names.len());
    for name in &target.names {
        drivers.push((name.clone(), observe_driver(target, name)?));
    }
    let names = names(&target.state)?;
    let mut former = Vec::new();
    for name in names.iter().filter(|name| !target.names.contains(name)) {
        // A folder without a driver is worse than none: the kubelet may then load no driver at all.
        if files::kind(&target.plugins.join(name.folder()))? != FileKind::Nothing {
            former.push((name.clone(), observe_driver(target, name)?));
        }
    }
    let mounts = mountinfo::read(&target.mounts)?.into_iter();
    let mounted = mounts
        .filter_map(|mount| Some((VolumeFolder::from_path(&mount.point)?, mount.point)))
        .collect();
    Ok(ObservedInstallation {
        settings: settings(&target.state.join(SETTINGS))?,
        shown: settings(&target.state.join(SHOWN))?,
        drivers,
        names,
        former,
        mounted,
        others: others(target)?,
    })
}

/// Returns the recorded names under which the driver was installed; empty if the file is missing or
/// invalid.
///
/// # Errors
/// If the file can't be read.
pub(super) fn names(state: &Path) -> Result<BTreeSet<DriverName>, Error> {
    let names: Vec<String> = read_json(&state.join(NAMES))?.unwrap_or_default();
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Returns the driver's settings in this file; `None` if it is missing or invalid.
///
/// # Errors
/// If the file can't be read.
pub(super) fn settings(path: &Path) -> Result<Option<DriverSettings>, Error> {
    Ok(read(path)?.and_then(|text| DriverSettings::parse(&text).ok()))
}

/// Returns the content of a JSON file; `None` if it is missing or invalid.
///
/// # Errors
/// If the file can't be read.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    Ok(read(path)?.and_then(|text| serde_json::from_slice(&text).ok()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn observe_driver(target: &Target, name: &DriverName) -> Result<InstalledDriver, Error> {
    let folder = target.plugins.join(name.folder());
    match files::kind(&folder)? {
        FileKind::Nothing => return Ok(InstalledDriver::Missing),
        FileKind::Folder => {}
        FileKind::File | FileKind::Other => {
            return Ok(InstalledDriver::InTheWay(folder, "a folder"));
        }
    }
    let file = folder.join(name.driver());
    match files::kind(&file)? {
        FileKind::Nothing => return Ok(InstalledDriver::Missing),
        FileKind::File => {}
        FileKind::Folder | FileKind::Other => {
            return Ok(InstalledDriver::InTheWay(file, "a file"));
        }
    }
    if files::same(&target.driver, &file)? {
        return Ok(if files::is_executable(&file)? {
            InstalledDriver::Current
        } else {
            InstalledDriver::Outdated
        });
    }
    Ok(if is_ours(target, name, &file)? {
        InstalledDriver::Outdated
    } else {
        InstalledDriver::Foreign
    })
}

/// Returns whether the driver under this name is FlexLVM's.
///
/// No other vendor uses FlexLVM's own name. Under an alias, the driver is FlexLVM's if it equals
/// the one under the own name, which therefore is replaced last.
fn is_ours(target: &Target, name: &DriverName, file: &Path) -> Result<bool, Error> {
    let own = DriverName::own();
    let installed = target.plugins.join(own.folder()).join(own.driver());
    Ok(*name == own
        || (matches!(files::kind(&installed)?, FileKind::File) && files::same(&installed, file)?))
}

/// Returns the folders in which the kubelet looks for other drivers.
fn others(target: &Target) -> Result<Vec<OtherDriver>, Error> {
    let entries = match std::fs::read_dir(&target.plugins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", &target.plugins)(error)),
    };
    let mut others = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", &target.plugins))?;
        let folder = entry.file_name().to_string_lossy().into_owned();
        let is_ours = target.names.iter().any(|name| name.folder() == folder);
        if is_ours
            || folder.starts_with('.')
            || !matches!(files::kind(&entry.path())?, FileKind::Folder)
        {
            continue;
        }
        let program = entry
            .path()
            .join(folder.rsplit('~').next().unwrap_or_default());
        let broken = match files::kind(&program)? {
            FileKind::Nothing | FileKind::Folder => true,
            FileKind::File => !files::can_be_run(&program)?,
            // The link's target is not visible from the agent's container.
            FileKind::Other => false,
        };
        others.push(OtherDriver { folder, broken });
    }
    others.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(others)
}
