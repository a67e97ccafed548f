//! The plugin folder in the kubelet's configuration: one file (`--config`), and drop-in files
//! (`--config-dir`, from Kubernetes 1.28 on) that are merged over it in order.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use host::{Error, root_path};
use serde::{Deserialize, Deserializer};

use super::flags::KubeletFlags;
use super::process::KubeletProcess;

/// The part of a KubeletConfiguration that counts here.
#[derive(Debug, Default, Deserialize)]
struct KubeletConfiguration {
    /// `None` if the key is absent. Null or empty resets it to the default.
    #[serde(
        rename = "volumePluginDir",
        default,
        deserialize_with = "null_as_empty"
    )]
    volume_plugin_dir: Option<String>,
}

fn null_as_empty<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let value: Option<String> = Option::deserialize(value)?;
    Ok(Some(value.unwrap_or_default()))
}

/// Returns the plugin folder that the configuration names, as the kubelet sees it.
///
/// # Errors
/// If a file can't be read or parsed.
pub(super) fn plugin_dir(
    kubelet: &KubeletProcess,
    flags: &KubeletFlags,
) -> Result<Option<PathBuf>, Error> {
    let mut folder = None;
    if let Some(file) = &flags.config {
        let file = kubelet.directory.join(file);
        // The kubelet resolves relative paths in this file from its folder
        // (`pkg/kubelet/kubeletconfig/configfiles`), and those in drop-in files not at all.
        let base = file.parent().unwrap_or(&kubelet.directory);
        if let Some(value) = read(&kubelet.root, &file)?.volume_plugin_dir {
            folder = join_if_set(base, &value);
        }
    }
    if let Some(drop_ins) = &flags.config_dir {
        let mut files = Vec::new();
        list(&kubelet.root, &kubelet.directory.join(drop_ins), &mut files)?;
        for file in files {
            if let Some(value) = read(&kubelet.root, &file)?.volume_plugin_dir {
                folder = join_if_set(&kubelet.directory, &value);
            }
        }
    }
    Ok(folder)
}

/// Returns the value as a path relative to `base`; `None` if it is empty, which means the default.
fn join_if_set(base: &Path, value: &str) -> Option<PathBuf> {
    if value.is_empty() {
        None
    } else {
        Some(base.join(value))
    }
}

/// Lists the drop-in files below a folder in the order of [`fs::read_dir`]'s sorted names, as Go's
/// `filepath.WalkDir` does.
fn list(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let entries = match fs::read_dir(real_path(root, folder)?) {
        Ok(entries) => entries,
        // k3s has a default folder that may not exist.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    let mut entries = entries
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::io("read", folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = folder.join(entry.file_name());
        let kind = entry.file_type().map_err(Error::io("examine", &path))?;
        if kind.is_dir() {
            list(root, &path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads a configuration file, which is YAML or JSON.
fn read(root: &Path, file: &Path) -> Result<KubeletConfiguration, Error> {
    let text = read_text(root, file)?;
    serde_saphyr::from_str(&text).map_err(|error| {
        let message = format!(
            "the kubelet's configuration {} can't be parsed: {error}",
            file.display()
        );
        Error::failed(message)
    })
}

/// Reads a text file of a process with this root folder.
pub(super) fn read_text(root: &Path, file: &Path) -> Result<String, Error> {
    fs::read_to_string(real_path(root, file)?).map_err(Error::io("read", file))
}

/// Returns a path of a process with this root folder, as the agent sees it.
pub(super) fn real_path(root: &Path, path: &Path) -> Result<PathBuf, Error> {
    Ok(root_path::below(root, &root_path::resolve(root, path)?))
}
