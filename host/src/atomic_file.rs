//! Files that are there completely or not at all, and outlast a power cut.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::Error;

/// Writes a file that all may read.
///
/// # Errors
/// When that fails: then the file is as it was before.
pub fn write(folder: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let (temporary, path) = (folder.join(format!(".{name}.tmp")), folder.join(name));
    let mut file = create(&temporary)?;
    file.write_all(content)
        .map_err(Error::io("write", &temporary))?;
    finish(&file, &temporary, 0o644)?;
    fs::rename(&temporary, &path).map_err(Error::io("rename into place", &path))?;
    sync_folder(folder)
}

/// Makes a complete, executable, durable copy; replaces an existing file.
///
/// # Errors
/// When that fails: then a part of it may be left there.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    let mut copy = create(to)?;
    io::copy(&mut source, &mut copy).map_err(Error::io("write", to))?;
    finish(&copy, to, 0o755)
}

/// Deletes a file, if it is there.
///
/// # Errors
/// When it is there still.
pub fn delete(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn create(path: &Path) -> Result<File, Error> {
    delete(path)?;
    File::create_new(path).map_err(Error::io("create", path))
}

fn finish(file: &File, path: &Path, mode: u32) -> Result<(), Error> {
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(Error::io("set the permissions of", path))?;
    file.sync_all().map_err(Error::io("flush", path))
}

/// Has the entries of a folder outlast a power cut.
///
/// # Errors
/// When they may not.
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("flush", folder))
}
