//! What is installed on the node.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use flexvolume::{DriverName, DriverSettings, VolumeFolder};
use host::Error;
use host::mount::mountinfo;

use super::Target;
use super::files::{self, FileKind};

/// The file of the driver's settings.
pub(super) const SETTINGS: &str = "driver.json";

/// The file of the settings that the kubelet was told of: written after the driver was shown to it
/// with them.
pub(super) const SHOWN: &str = "shown.json";

/// The file of the names under which the driver was installed: written before it is.
pub(super) const NAMES: &str = "names.json";

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct ObservedInstallation {
    /// The driver's settings; `None` when they are not there, or nobody can understand them.
    pub settings: Option<DriverSettings>,
    /// The settings that the kubelet was told of last.
    pub shown: Option<DriverSettings>,
    /// What is installed under each of the driver's names.
    pub drivers: Vec<(DriverName, InstalledDriver)>,
    /// The names under which the driver was installed.
    pub names: BTreeSet<DriverName>,
    /// What has a folder under those of them that the driver is no longer to have.
    pub former: Vec<(DriverName, InstalledDriver)>,
    /// The volumes that are mounted, of all FlexVolume drivers.
    pub mounted: Vec<(VolumeFolder, PathBuf)>,
    /// Folders of other drivers.
    pub others: Vec<OtherDriver>,
}

/// What is installed under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstalledDriver {
    /// Nothing.
    Missing,
    /// The driver that is to be there.
    Current,
    /// Another version of it, or a damaged one.
    Outdated,
    /// Somebody else's.
    Foreign,
    /// Something that is no driver at all: what it is not.
    InTheWay(PathBuf, &'static str),
}

/// A folder that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherDriver {
    /// Its name.
    pub folder: String,
    /// Whether there is no program in it that the kubelet could run.
    pub broken: bool,
}

/// Looks at everything.
///
/// # Errors
/// When something can't be read. What can't be read is not the same as nothing.
pub(super) fn observe(target: &Target) -> Result<ObservedInstallation, Error> {
    let mut drivers = Vec::with_capacity(target.names.len());
    for name in &target.names {
        drivers.push((name.clone(), observe_driver(target, name)?));
    }
    let names = names(&target.state)?;
    let mut former = Vec::new();
    for name in names.iter().filter(|name| !target.names.contains(name)) {
        // A folder without a driver is worse than none: a kubelet may then load none at all.
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

/// The names under which the driver was installed, as far as anybody remembers.
///
/// # Errors
/// When the file can't be read.
pub(super) fn names(state: &Path) -> Result<BTreeSet<DriverName>, Error> {
    let text = read(&state.join(NAMES))?;
    let names: Vec<String> = text
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

fn settings(path: &Path) -> Result<Option<DriverSettings>, Error> {
    Ok(read(path)?.and_then(|text| DriverSettings::parse(&text).ok()))
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

/// Nobody else has our name. Under another name it is ours if it is the same as the one under our
/// name, which for this is replaced last.
fn is_ours(target: &Target, name: &DriverName, file: &Path) -> Result<bool, Error> {
    let own = DriverName::own();
    let installed = target.plugins.join(own.folder()).join(own.driver());
    Ok(*name == own
        || (matches!(files::kind(&installed)?, FileKind::File) && files::same(&installed, file)?))
}

/// The folders in which the kubelet looks for other drivers.
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
            // Where a link leads is not seen from here.
            FileKind::Other => false,
        };
        others.push(OtherDriver { folder, broken });
    }
    others.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(others)
}
