//! Whether the kubelet has loaded the installed copy of the driver, by the load stamps that the
//! driver's `init` leaves; and whether that copy can be executed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flexvolume::load_stamp::{self, FileIdentity, LoadStamp};
use host::{Cmd, Error, Exec, Kind, atomic_file};
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use super::Target;
use super::location::Location;
use super::observed;
use crate::agent::kubelet::process;

/// A call-out that no driver has: it only shows that the driver can be executed, and leaves no
/// load stamp.
const CALL_OUT: &str = "selftest";

/// Time limit of that call.
const TIME: Duration = Duration::from_secs(10);

/// Result of an attempt to execute one copy of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    file: FileIdentity,
    /// Why it can't be executed.
    pub(super) fault: Option<String>,
}

/// Returns the folder of the load stamps, as the agent sees it.
pub(super) fn stamps(location: &Location) -> PathBuf {
    location.below_root(Path::new(load_stamp::FOLDER))
}

/// Returns whether the kubelet has loaded the installed copy of the driver under its own name, with
/// the settings in effect. Removes the stamps of processes that have ended.
///
/// If no kubelet is found, the stamp of any running process counts: it may be part of a program
/// that the agent doesn't know.
///
/// # Errors
/// If the installation or the stamps can't be read.
pub(super) fn is_loaded(proc: &Path, target: &Target, location: &Location) -> Result<bool, Error> {
    let folder = stamps(location);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io("read", &folder)(error)),
    };
    let installed = installed_file(target)?;
    let settings = observed::settings(&target.state.join(observed::SETTINGS))?;
    let mut is_loaded = false;
    for entry in entries {
        let entry = entry.map_err(Error::io("read", &folder))?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(LoadStamp::process) else {
            continue;
        };
        if !process::is_running(proc, pid) {
            atomic_file::delete(&entry.path())?;
            continue;
        }
        let text = fs::read(entry.path()).map_err(Error::io("read", entry.path()))?;
        let Ok(stamp) = LoadStamp::parse(&text) else {
            continue;
        };
        let is_kubelet = location.kubelet.pid().is_none_or(|kubelet| kubelet == pid);
        let is_current =
            Some(stamp.file) == installed && Some(&stamp.settings) == settings.as_ref();
        is_loaded = is_loaded || (is_kubelet && is_current);
    }
    Ok(is_loaded)
}

/// Returns whether the plugin folder is on a file system without permission to execute.
pub(super) fn is_noexec(target: &Target) -> bool {
    rustix::fs::statvfs(&target.plugins)
        .is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// Executes the installed copy, unless `last` is the result for it.
///
/// # Errors
/// If the installation can't be read.
pub(super) fn try_to_execute(
    exec: &dyn Exec,
    target: &Target,
    last: Option<Trial>,
) -> Result<Option<Trial>, Error> {
    let Some(file) = installed_file(target)? else {
        return Ok(None);
    };
    if last.as_ref().is_some_and(|last| last.file == file) {
        return Ok(last);
    }
    let program = target.own_program().display().to_string();
    // Starts the program at a path: the node's other programs are looked up by name.
    let cmd = Cmd::new("nice")
        .args(["-n", "0", &program, CALL_OUT])
        .timeout(TIME);
    let fault = match exec.exec(&cmd) {
        Ok(output) if output.success() => None,
        Ok(output) => Some(host::error::chain(&output.failed(&cmd, Kind::Failed))),
        Err(error) => Some(host::error::chain(&error)),
    };
    Ok(Some(Trial { file, fault }))
}

/// Returns the identity of the driver's file under its own name; `None` if there is none.
fn installed_file(target: &Target) -> Result<Option<FileIdentity>, Error> {
    let program = target.own_program();
    match FileIdentity::read(&program) {
        Ok(file) => Ok(Some(file)),
        Err(error)
            if error.kind() == ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io("examine", &program)(error)),
    }
}
