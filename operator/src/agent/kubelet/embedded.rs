//! The flags of a kubelet that is part of another program, which takes them from its own arguments
//! and files.

use std::path::{Path, PathBuf};

use host::Error;
use serde::Deserialize;

use super::config::{read_text, real_path};
use super::flags::{self, KubeletFlags};

/// k3s's configuration file, unless `--config` names another.
const K3S_CONFIG: &str = "/etc/rancher/k3s/config.yaml";

/// The kubelet's drop-in files that k3s writes, with those of the admin.
const K3S_DROP_INS: &str = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d";

/// The kubelet's configuration that MicroShift writes.
const MICROSHIFT_CONFIG: &str = "/var/lib/microshift/resources/kubelet/config/config.yaml";

/// The part of k3s's configuration that counts here. The key is repeated with `+` in drop-in files.
#[derive(Debug, Default, Deserialize)]
struct K3sConfiguration {
    #[serde(rename = "kubelet-arg", default)]
    kubelet_arguments: OneOrMany,
    #[serde(rename = "kubelet-arg+", default)]
    more_kubelet_arguments: OneOrMany,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl From<OneOrMany> for Vec<String> {
    fn from(values: OneOrMany) -> Self {
        match values {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        }
    }
}

/// Returns the flags that k3s passes to its kubelet: those of its configuration files, then those of
/// its own arguments, as far as they are visible.
pub(super) fn k3s_flags(root: &Path, arguments: &[String]) -> Result<KubeletFlags, Error> {
    let file = flags::values(arguments, "config")
        .pop()
        .unwrap_or_else(|| K3S_CONFIG.to_owned());
    let mut own = Vec::new();
    for path in k3s_files(root, Path::new(&file))? {
        let text = read_text(root, &path)?;
        let config: K3sConfiguration = serde_saphyr::from_str(&text).map_err(|error| {
            let message = format!("{} can't be parsed: {error}", path.display());
            Error::failed(message)
        })?;
        own.extend(Vec::from(config.kubelet_arguments));
        own.extend(Vec::from(config.more_kubelet_arguments));
    }
    own.extend(flags::values(arguments, "kubelet-arg"));
    let lines: Vec<String> = own.iter().map(|flag| format!("--{flag}")).collect();
    let mut flags = flags::parse(&lines);
    flags
        .config_dir
        .get_or_insert_with(|| K3S_DROP_INS.to_owned());
    Ok(flags)
}

/// Returns k3s's configuration file and the drop-in files next to it, as far as they exist.
fn k3s_files(root: &Path, file: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    if real_path(root, file)?.is_file() {
        files.push(file.to_owned());
    }
    let mut folder = file.as_os_str().to_owned();
    folder.push(".d");
    let folder = Path::new(&folder);
    let Ok(entries) = std::fs::read_dir(real_path(root, folder)?) else {
        return Ok(files);
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let path = folder.join(name);
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml")) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Returns the flags in the file that MicroK8s names for its kubelet.
pub(super) fn kubelite_flags(root: &Path, arguments: &[String]) -> Result<KubeletFlags, Error> {
    let Some(file) = flags::values(arguments, "kubelet-args-file").pop() else {
        return Ok(KubeletFlags::default());
    };
    let text = read_text(root, Path::new(&file))?;
    let words: Vec<String> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|word| word.replace('"', ""))
        .collect();
    let flags = flags::parse(&words);
    let values = [&flags.volume_plugin_dir, &flags.config, &flags.config_dir];
    if values
        .into_iter()
        .flatten()
        .any(|value| value.contains('$'))
    {
        let message = format!(
            "{file} names the kubelet's plugin folder or configuration by a variable, which the agent does not resolve: \
             set the agent's --plugin-dir (FLEXLVM_PLUGIN_DIR)"
        );
        return Err(Error::failed(message));
    }
    Ok(flags)
}

/// Returns the flags of MicroShift's kubelet, which has a configuration of MicroShift's.
pub(super) fn microshift_flags() -> KubeletFlags {
    KubeletFlags {
        config: Some(MICROSHIFT_CONFIG.to_owned()),
        ..KubeletFlags::default()
    }
}
