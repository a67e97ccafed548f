//! Puts the driver into the kubelet's plugin folder, whole or not at all, and keeps it there. Started by the agent.
//!
//! The kubelet probes the folder with every change in it (`pkg/volume/flexvolume/probe.go`): it must never find a folder
//! without its driver or half a driver in it, and nothing is written when nothing has to change. Names that begin with a
//! dot are none of its business.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crds::condition::reason;
use host::{Error, Kind};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::folders::Folders;
use super::plan::Finding;

/// How long until a look without anything having been heard.
const LONGEST: Duration = Duration::from_mins(1);

/// Others may write several files.
const PAUSE: Duration = Duration::from_millis(200);

/// After an attempt that failed: whatever was in the way may go by itself.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Installs the driver and repairs it for ever; says how that went.
pub async fn run(driver: PathBuf, plugins: PathBuf, outcome: watch::Sender<Option<Finding>>) {
    let folders = Folders::watch(vec![plugins.clone(), plugins.join(driver::FOLDER)]);
    loop {
        let (from, to) = (driver.clone(), plugins.clone());
        let installed = spawn_blocking(move || install(&from, &to)).await;
        let installed = installed.unwrap_or_else(|error| Err(Error::refused(Kind::Failed, error.to_string())));
        // What a failed attempt wrote and removed must not wake us to the next one at once.
        let failed = installed.is_err();
        if let Ok(true) = installed {
            tracing::info!(plugins = %plugins.display(), "the driver is installed");
        }
        outcome.send_if_modified(|old| {
            let new = Some(finding(installed.map(drop), &plugins));
            let news = *old != new;
            *old = new;
            news
        });
        folders.renew();
        if failed {
            sleep(AFTER_FAILURE).await;
        }
        if timeout(LONGEST, folders.changed()).await.is_ok() {
            sleep(PAUSE).await;
        }
    }
}

fn finding(installed: Result<(), Error>, plugins: &Path) -> Finding {
    match installed {
        Ok(()) => {
            let message = format!("driver {} is in {}", driver::DRIVER, plugins.display());
            Finding { status: true, reason: reason::INSTALLED, message }
        }
        Err(error) => {
            let message = host::error::chain(&error);
            tracing::warn!(error = message, "the driver can't be installed");
            Finding { status: false, reason: reason::INSTALL_FAILED, message }
        }
    }
}

/// Makes the installed driver the same as `driver`; true when something had to be done.
///
/// # Errors
/// When it can't be read or written, or something else is in its place.
pub fn install(driver: &Path, plugins: &Path) -> Result<bool, Error> {
    let folder = plugins.join(driver::FOLDER);
    let installed = folder.join(driver::NAME);
    match kind(&folder)? {
        Thing::Nothing => {
            install_folder(driver, plugins, &folder)?;
            return Ok(true);
        }
        Thing::Folder => {}
        Thing::File | Thing::Other => return Err(in_the_way(&folder, "a folder")),
    }
    match kind(&installed)? {
        Thing::File if is_executable(&installed)? && same(driver, &installed)? => return Ok(false),
        Thing::Nothing | Thing::File => {}
        Thing::Folder | Thing::Other => return Err(in_the_way(&installed, "a file")),
    }
    let temporary = folder.join(format!(".{}.tmp", driver::NAME));
    copy(driver, &temporary)?;
    fs::rename(&temporary, &installed).map_err(Error::io("rename into place", &installed))?;
    sync(&folder)?;
    Ok(true)
}

/// Builds the folder under a name that the kubelet passes over, and renames it.
fn install_folder(driver: &Path, plugins: &Path, folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(plugins).map_err(Error::io("create", plugins))?;
    let hidden = plugins.join(format!(".{}", driver::FOLDER));
    match kind(&hidden)? {
        Thing::Nothing => fs::create_dir(&hidden).map_err(Error::io("create", &hidden))?,
        Thing::Folder => {}
        Thing::File | Thing::Other => return Err(in_the_way(&hidden, "a folder")),
    }
    copy(driver, &hidden.join(driver::NAME))?;
    fs::set_permissions(&hidden, Permissions::from_mode(0o755))
        .map_err(Error::io("set the permissions of", &hidden))?;
    sync(&hidden)?;
    fs::rename(&hidden, folder).map_err(Error::io("rename into place", folder))?;
    sync(plugins)
}

/// A whole, executable, durable copy; whatever was left there is replaced.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", to)(error)),
        _ => {}
    }
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    let mut copy = File::create_new(to).map_err(Error::io("create", to))?;
    io::copy(&mut source, &mut copy).map_err(Error::io("write", to))?;
    copy.set_permissions(Permissions::from_mode(0o755)).map_err(Error::io("set the permissions of", to))?;
    copy.sync_all().map_err(Error::io("flush", to))
}

fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("flush", folder))
}

/// What is at a path.
enum Thing {
    Nothing,
    File,
    Folder,
    /// A link, which the kubelet does not follow, or stranger things.
    Other,
}

fn kind(path: &Path) -> Result<Thing, Error> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(Thing::Folder),
        Ok(meta) if meta.is_file() => Ok(Thing::File),
        Ok(_) => Ok(Thing::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Thing::Nothing),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

fn in_the_way(path: &Path, expected: &str) -> Error {
    Error::refused(
        Kind::Invalid,
        format!("{} is not {expected}: remove it, and the driver is installed", path.display()),
    )
}

fn is_executable(path: &Path) -> Result<bool, Error> {
    let meta = fs::metadata(path).map_err(Error::io("look at", path))?;
    Ok(meta.permissions().mode() & 0o777 == 0o755)
}

/// Whether two files have the same content, read piece by piece: they are as large as a program.
fn same(a: &Path, b: &Path) -> Result<bool, Error> {
    let open = |path: &Path| {
        File::open(path).map(|file| BufReader::with_capacity(64 << 10, file)).map_err(Error::io("open", path))
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

#[cfg(test)]
mod tests;
