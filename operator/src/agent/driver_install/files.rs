//! The driver's files: there completely or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flexvolume::DriverName;
use host::atomic_file::{copy, delete, sync_folder};
use host::{Error, Kind};

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Nothing,
    File,
    Folder,
    /// A link, which the kubelet does not follow, or stranger things.
    Other,
}

pub(super) fn kind(path: &Path) -> Result<FileKind, Error> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(FileKind::Folder),
        Ok(meta) if meta.is_file() => Ok(FileKind::File),
        Ok(_) => Ok(FileKind::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileKind::Nothing),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// Renames a copy of `driver` into place.
pub(super) fn install(driver: &Path, plugins: &Path, name: &DriverName) -> Result<(), Error> {
    let folder = plugins.join(name.folder());
    if kind(&folder)? == FileKind::Nothing {
        return install_folder(driver, plugins, name);
    }
    let (temporary, installed) = (
        folder.join(self::temporary(name)),
        folder.join(name.driver()),
    );
    copy(driver, &temporary)?;
    fs::rename(&temporary, &installed).map_err(Error::io("rename into place", &installed))?;
    sync_folder(&folder)
}

/// Builds the folder under a name that the kubelet passes over, and renames it.
fn install_folder(driver: &Path, plugins: &Path, name: &DriverName) -> Result<(), Error> {
    fs::create_dir_all(plugins).map_err(Error::io("create", plugins))?;
    let (hidden, folder) = (
        plugins.join(format!(".{}", name.folder())),
        plugins.join(name.folder()),
    );
    match kind(&hidden)? {
        FileKind::Nothing => fs::create_dir(&hidden).map_err(Error::io("create", &hidden))?,
        FileKind::Folder => {}
        FileKind::File | FileKind::Other => {
            let message = format!(
                "{} is not a folder: remove it, and the driver is installed",
                hidden.display()
            );
            return Err(Error::refused(Kind::Invalid, message));
        }
    }
    copy(driver, &hidden.join(name.driver()))?;
    fs::set_permissions(&hidden, Permissions::from_mode(0o755))
        .map_err(Error::io("set the permissions of", &hidden))?;
    sync_folder(&hidden)?;
    fs::rename(&hidden, &folder).map_err(Error::io("rename into place", &folder))?;
    sync_folder(plugins)
}

/// Deletes the driver and its folder, in which nothing else may be: the driver goes first, and the
/// kubelet with it.
pub(super) fn remove(plugins: &Path, name: &DriverName) -> Result<(), Error> {
    let folder = plugins.join(name.folder());
    let own = [name.driver().to_owned(), temporary(name)];
    for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
        let entry = entry.map_err(Error::io("read", &folder))?.file_name();
        if !own.iter().any(|own| entry.to_str() == Some(own)) {
            let message = format!(
                "{} is not FlexLVM's: remove it, and the driver's former folder goes",
                folder.join(entry).display()
            );
            return Err(Error::refused(Kind::Invalid, message));
        }
    }
    for file in own.iter().rev() {
        delete(&folder.join(file))?;
    }
    fs::remove_dir(&folder).map_err(Error::io("remove", &folder))?;
    sync_folder(plugins)
}

/// The name of what is not yet the driver, which the kubelet passes over.
fn temporary(name: &DriverName) -> String {
    format!(".{}.tmp", name.driver())
}

/// Copies the driver of this name to below `kept`, where nothing is ever overwritten.
pub(super) fn keep(plugins: &Path, name: &DriverName, kept: &Path) -> Result<(), Error> {
    let (from, folder) = (
        plugins.join(name.folder()).join(name.driver()),
        kept.join(name.folder()),
    );
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let to = |count: u32| match count {
        0 => folder.join(name.driver()),
        _ => folder.join(format!("{}.{count}", name.driver())),
    };
    for count in 0..u32::MAX {
        let to: PathBuf = to(count);
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
    Err(Error::refused(
        Kind::Failed,
        format!("{} has no free name left", folder.display()),
    ))
}

/// Whether a file has the permissions that ours get.
pub(super) fn is_executable(path: &Path) -> Result<bool, Error> {
    Ok(mode(path)? & 0o777 == 0o755)
}

/// Whether root could run it.
pub(super) fn can_be_run(path: &Path) -> Result<bool, Error> {
    Ok(mode(path)? & 0o111 != 0)
}

fn mode(path: &Path) -> Result<u32, Error> {
    Ok(fs::metadata(path)
        .map_err(Error::io("look at", path))?
        .permissions()
        .mode())
}

/// Whether two files have the same content, read piece by piece: they are as large as a program.
pub(super) fn same(a: &Path, b: &Path) -> Result<bool, Error> {
    let open = |path: &Path| {
        File::open(path)
            .map(|file| BufReader::with_capacity(64 << 10, file))
            .map_err(Error::io("open", path))
    };
    let (mut left, mut right) = (open(a)?, open(b)?);
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
