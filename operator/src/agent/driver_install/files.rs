//! Atomic, durable file operations: a file is complete or absent, also after a power failure.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flexvolume::DriverName;
use host::Error;
use host::atomic_file::{copy, delete, sync_folder};

/// Type of the object at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Nothing,
    File,
    Folder,
    /// A symbolic link, which the kubelet does not follow, or a special file.
    Other,
}

pub(super) fn kind(path: &Path) -> Result<FileKind, Error> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(FileKind::Folder),
        Ok(meta) if meta.is_file() => Ok(FileKind::File),
        Ok(_) => Ok(FileKind::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileKind::Nothing),
        Err(error) => Err(Error::io("examine", path)(error)),
    }
}

/// Renames a copy of `driver` into place.
pub(super) fn install(driver: &Path, plugins: &Path, name: &DriverName) -> Result<(), Error> {
    let folder = plugins.join(name.folder());
    if kind(&folder)? == FileKind::Nothing {
        return install_folder(driver, plugins, name);
    }
    let temporary = folder.join(self::temporary(name));
    let installed = folder.join(name.driver());
    copy(driver, &temporary)?;
    fs::rename(&temporary, &installed).map_err(Error::io("rename into place", &installed))?;
    sync_folder(&folder)
}

/// Builds the folder under a name that kubelet ignores, and renames it.
fn install_folder(driver: &Path, plugins: &Path, name: &DriverName) -> Result<(), Error> {
    fs::create_dir_all(plugins).map_err(Error::io("create", plugins))?;
    let hidden = plugins.join(format!(".{}", name.folder()));
    let folder = plugins.join(name.folder());
    match kind(&hidden)? {
        FileKind::Nothing => fs::create_dir(&hidden).map_err(Error::io("create", &hidden))?,
        FileKind::Folder => {}
        FileKind::File | FileKind::Other => {
            let message = format!(
                "{} is not a folder: remove it, then the agent installs the driver",
                hidden.display()
            );
            return Err(Error::failed(message));
        }
    }
    copy(driver, &hidden.join(name.driver()))?;
    fs::set_permissions(&hidden, Permissions::from_mode(0o755))
        .map_err(Error::io("set the permissions of", &hidden))?;
    sync_folder(&hidden)?;
    fs::rename(&hidden, &folder).map_err(Error::io("rename into place", &folder))?;
    sync_folder(plugins)
}

/// Deletes the driver and its folder, which must contain nothing else.
///
/// The driver is deleted first, which makes the kubelet unload it before the folder goes.
pub(super) fn remove(plugins: &Path, name: &DriverName) -> Result<(), Error> {
    let folder = plugins.join(name.folder());
    let own = [name.driver().to_owned(), temporary(name)];
    for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
        let entry = entry.map_err(Error::io("read", &folder))?.file_name();
        if !own.iter().any(|own| entry.to_str() == Some(own)) {
            let message = format!(
                "{} was not created by FlexLVM: remove it, then the agent deletes the driver's former folder",
                folder.join(entry).display()
            );
            return Err(Error::failed(message));
        }
    }
    for file in own.iter().rev() {
        delete(&folder.join(file))?;
    }
    fs::remove_dir(&folder).map_err(Error::io("remove", &folder))?;
    sync_folder(plugins)
}

/// Returns the name of an incomplete copy of the driver, which the kubelet ignores.
fn temporary(name: &DriverName) -> String {
    format!(".{}.tmp", name.driver())
}

/// Copies the installed driver of this name to a folder below `kept`, in which no file is ever
/// overwritten.
pub(super) fn keep(plugins: &Path, name: &DriverName, kept: &Path) -> Result<(), Error> {
    let from = plugins.join(name.folder()).join(name.driver());
    let folder = kept.join(name.folder());
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    for count in 0..u32::MAX {
        let to: PathBuf = match count {
            0 => folder.join(name.driver()),
            _ => folder.join(format!("{}.{count}", name.driver())),
        };
        match kind(&to)? {
            FileKind::File if same(&from, &to)? => return Ok(()),
            FileKind::Nothing => {
                let temporary = folder.join(".tmp");
                copy(&from, &temporary)?;
                fs::rename(&temporary, &to).map_err(Error::io("rename into place", &to))?;
                return sync_folder(&folder);
            }
            FileKind::File | FileKind::Folder | FileKind::Other => {}
        }
    }
    Err(Error::failed(format!(
        "{} contains too many kept drivers; remove some",
        folder.display()
    )))
}

/// Returns whether a file has the permissions of an installed driver (0755).
pub(super) fn is_executable(path: &Path) -> Result<bool, Error> {
    Ok(mode(path)? & 0o777 == 0o755)
}

/// Returns whether root can execute the file.
pub(super) fn can_be_run(path: &Path) -> Result<bool, Error> {
    Ok(mode(path)? & 0o111 != 0)
}

fn mode(path: &Path) -> Result<u32, Error> {
    Ok(fs::metadata(path)
        .map_err(Error::io("examine", path))?
        .permissions()
        .mode())
}

/// Returns whether two files have the same content; compares in chunks, since drivers are several
/// MiB.
pub(super) fn same(a: &Path, b: &Path) -> Result<bool, Error> {
    let mut left = open(a)?;
    let mut right = open(b)?;
    loop {
        let x = left.fill_buf().map_err(Error::io("read", a))?;
        let y = right.fill_buf().map_err(Error::io("read", b))?;
        let length = x.len().min(y.len());
        if x.get(..length) != y.get(..length) || (length == 0 && x.len() != y.len()) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        left.consume(length);
        right.consume(length);
    }
}

fn open(path: &Path) -> Result<BufReader<File>, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    Ok(BufReader::with_capacity(64 << 10, file))
}
