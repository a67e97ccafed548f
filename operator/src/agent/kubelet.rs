//! The node's kubelet: its process, and the folder in which it looks for FlexVolume drivers.
//!
//! In reading order:
//!
//! - [`process`]: which of the node's processes is the kubelet.
//! - [`flags`]: the flags of its command line. Pure.
//! - [`embedded`]: the flags of a kubelet that is part of another program.
//! - [`config`]: its configuration files.

pub mod config;
pub mod embedded;
pub mod flags;
pub mod process;

use std::path::{Path, PathBuf};

use host::Error;

use process::{KubeletProcess, KubeletProgram};

/// The kubelet's plugin folder unless its flags or its configuration name another
/// (`DefaultVolumePluginDir` in `pkg/kubelet/apis/config/v1beta1/defaults.go`).
pub const DEFAULT_PLUGIN_DIR: &str = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec";

/// Returns the folder in which the kubelet looks for drivers, as the kubelet sees it.
///
/// A flag has precedence over the configuration (`cmd/kubelet/app/server.go`). The kubelet reads
/// both at its start only, so a configuration that was changed since is not in effect yet.
///
/// # Errors
/// If a configuration file can't be read.
pub fn plugin_dir(kubelet: &KubeletProcess) -> Result<PathBuf, Error> {
    let flags = match kubelet.program {
        KubeletProgram::Kubelet => flags::parse(&kubelet.arguments),
        KubeletProgram::K3s => embedded::k3s_flags(&kubelet.root, &kubelet.arguments)?,
        KubeletProgram::Kubelite => embedded::kubelite_flags(&kubelet.root, &kubelet.arguments)?,
        KubeletProgram::MicroShift => embedded::microshift_flags(),
    };
    let folder = match flags.volume_plugin_dir.as_deref().unwrap_or_default() {
        "" => config::plugin_dir(kubelet, &flags)?,
        folder => Some(kubelet.directory.join(folder)),
    };
    Ok(folder.unwrap_or_else(|| Path::new(DEFAULT_PLUGIN_DIR).to_owned()))
}

#[cfg(test)]
mod tests;
