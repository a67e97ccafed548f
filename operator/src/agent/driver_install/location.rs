//! Where the agent installs the driver: in the folder that an admin sets, else in the one that the
//! kubelet names, else in the last one.

use std::path::{Path, PathBuf};

use flexvolume::load_stamp::{self, LoadStamp};
use host::{Error, root_path};

use crate::agent::kubelet::process::{self, KubeletProcess};
use crate::agent::kubelet::{self, DEFAULT_PLUGIN_DIR};

/// The place of the installation, and what is known about the kubelet.
#[derive(Debug)]
pub(super) struct Location {
    /// The plugin folder, as the kubelet sees it.
    pub(super) folder: PathBuf,
    /// The same folder without symbolic links, as the agent sees it.
    pub(super) plugins: PathBuf,
    /// The kubelet's root folder, as the agent sees it.
    pub(super) root: PathBuf,
    /// What is known about the kubelet.
    pub(super) kubelet: ObservedKubelet,
}

/// What is known about the kubelet of the node.
#[derive(Debug)]
pub(super) enum ObservedKubelet {
    /// It is not running, or part of an unknown program.
    NotFound,
    /// It is running, but its configuration can't be read.
    Unreadable(u32, Error),
    /// It uses the folder of this location.
    Reads(u32),
    /// It uses this other folder.
    ReadsOther(u32, PathBuf),
}

impl ObservedKubelet {
    /// Returns the kubelet's PID.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::NotFound => None,
            Self::Unreadable(pid, _) | Self::Reads(pid) | Self::ReadsOther(pid, _) => Some(*pid),
        }
    }
}

impl Location {
    /// Returns a folder of the kubelet, as the agent sees it.
    pub(super) fn below_root(&self, path: &Path) -> PathBuf {
        root_path::below(&self.root, path)
    }

    /// Returns a message with paths as the kubelet sees them.
    pub(super) fn on_node(&self, message: &str) -> String {
        let root = self.root.display().to_string();
        message.replace(&format!("{}/", root.trim_end_matches('/')), "/")
    }
}

/// Determines the place of the installation; `None` if it is unknown.
///
/// `set` is the folder that an admin sets, `last` the folder of the last installation. With
/// `guess`, the kubelet's default is the last resort.
///
/// # Errors
/// If the node's processes or the folder can't be examined.
pub(super) fn locate(
    proc: &Path,
    set: Option<&Path>,
    last: Option<&Path>,
    guess: bool,
) -> Result<Option<Location>, Error> {
    let process = process::find(proc)?;
    let root = process
        .as_ref()
        .map_or_else(|| proc.join("1/root"), |process| process.root.clone());
    let named = process.as_ref().map(|process| named_folder(process, last));
    let folder = match (set, &named, last) {
        (Some(set), _, _) => set,
        (None, Some(Ok(named)), _) => named,
        (None, _, Some(last)) => last,
        (None, _, None) if guess => Path::new(DEFAULT_PLUGIN_DIR),
        (None, _, None) => return Ok(None),
    };
    let folder = folder.to_owned();
    let resolved = root_path::resolve(&root, &folder)?;
    Ok(Some(Location {
        kubelet: observed(process, named, &root, &resolved)?,
        plugins: root_path::below(&root, &resolved),
        folder,
        root,
    }))
}

/// Returns the folder that the kubelet uses.
///
/// It reads its configuration at its start only: if it has loaded the driver from the folder of the
/// last installation, it keeps that folder, even if the configuration names another one now.
fn named_folder(kubelet: &KubeletProcess, last: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(last) = last
        && is_loaded_from(kubelet, last)
    {
        return Ok(last.to_owned());
    }
    kubelet::plugin_dir(kubelet)
}

/// Returns whether the kubelet has left a load stamp for a driver in this folder.
fn is_loaded_from(kubelet: &KubeletProcess, folder: &Path) -> bool {
    let stamps = root_path::below(&kubelet.root, Path::new(load_stamp::FOLDER));
    let Ok(text) = std::fs::read(stamps.join(LoadStamp::file_name(kubelet.pid))) else {
        return false;
    };
    let (Ok(stamp), Ok(resolved)) = (
        LoadStamp::parse(&text),
        root_path::resolve(&kubelet.root, folder),
    ) else {
        return false;
    };
    stamp.program.ancestors().nth(2) == Some(&*resolved)
}

fn observed(
    process: Option<KubeletProcess>,
    named: Option<Result<PathBuf, Error>>,
    root: &Path,
    resolved: &Path,
) -> Result<ObservedKubelet, Error> {
    let (Some(process), Some(named)) = (process, named) else {
        return Ok(ObservedKubelet::NotFound);
    };
    Ok(match named {
        Err(error) => ObservedKubelet::Unreadable(process.pid, error),
        Ok(named) if root_path::resolve(root, &named)? == resolved => {
            ObservedKubelet::Reads(process.pid)
        }
        Ok(named) => ObservedKubelet::ReadsOther(process.pid, named),
    })
}
