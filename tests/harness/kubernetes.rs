//! Finds the Kubernetes programs, which `tests/cluster/prepare` puts into the cache folder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Environment variable that selects a version: `1.20` or `1.37`.
const SELECT: &str = "KUBERNETES";

/// The oldest version that FlexLVM supports, from Debian 12's source package.
const OLDEST: &str = "1.20.2";

/// The Go module that pins the newest version.
const TODAYS_MODULE: &str = include_str!("../cluster/kubernetes-1.37/kubernetes/go.mod");

/// A folder with Kubernetes programs.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    folder: PathBuf,
}

impl Kubernetes {
    /// Finds the programs of a cluster: in `$KUBERNETES_BIN`, or the version in the cache folder
    /// that `$KUBERNETES` selects.
    ///
    /// Defaults to the newest version.
    pub fn find() -> Result<Self> {
        let folder = match env::var_os("KUBERNETES_BIN") {
            Some(folder) => folder.into(),
            None => cache_folder()?.join(format!("kubernetes-{}", selected_version()?)),
        };
        Self::in_folder(
            folder,
            &[
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kubectl",
            ],
        )
    }

    /// Finds an API server, which may be of another version: in `$KUBEBUILDER_ASSETS`, with an etcd
    /// next to it, or else like [`Self::find`].
    pub fn find_api_server() -> Result<Self> {
        match env::var_os("KUBEBUILDER_ASSETS") {
            Some(folder) => Self::in_folder(folder.into(), &["etcd", "kube-apiserver"]),
            None => Self::find(),
        }
    }

    fn in_folder(folder: PathBuf, needed: &[&str]) -> Result<Self> {
        let found = Self { folder };
        for program in needed {
            let path = found.program(program);
            anyhow::ensure!(
                path.is_file(),
                "{} is missing: run `tests/cluster/prepare cluster`, or set KUBERNETES_BIN",
                path.display()
            );
        }
        Ok(found)
    }

    /// The folder of the programs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the etcd for this API server: the one next to it, or Debian's.
    #[must_use]
    pub fn etcd(&self) -> PathBuf {
        let beside = self.program("etcd");
        if beside.is_file() {
            beside
        } else {
            PathBuf::from("/usr/bin/etcd")
        }
    }

    /// Returns the version, as in `v1.20.2`.
    pub fn version(&self) -> Result<String> {
        let output = Command::new(self.program("kube-apiserver"))
            .arg("--version")
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text
            .trim()
            .rsplit(' ')
            .next()
            .context("no version")?
            .to_owned())
    }

    /// Returns the minor version, 20 of `v1.20.2`.
    pub fn minor_version(&self) -> Result<u32> {
        let version = self.version()?;
        let minor = version
            .split('.')
            .nth(1)
            .with_context(|| format!("cannot parse the version {version}"))?;
        Ok(minor.parse()?)
    }
}

/// Returns the full version that `$KUBERNETES` selects.
fn selected_version() -> Result<String> {
    match env::var(SELECT).as_deref() {
        Ok("1.20") => Ok(OLDEST.to_owned()),
        Ok("1.37" | "") | Err(env::VarError::NotPresent) => todays_version(TODAYS_MODULE),
        other => bail!("{SELECT} is {other:?}: use 1.20 or 1.37"),
    }
}

/// Returns the version of Kubernetes that a `go.mod` requires, without the `v`.
fn todays_version(module: &str) -> Result<String> {
    let requirement = module.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        line.strip_prefix("k8s.io/kubernetes v")
    });
    let version = requirement.context("go.mod does not require k8s.io/kubernetes")?;
    Ok(version.split(' ').next().unwrap_or(version).to_owned())
}

/// Returns the folder of files that are built once and used by every run.
pub fn cache_folder() -> Result<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("FLEXLVM_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("flexlvm")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/flexlvm")))
        .context("no cache folder: set FLEXLVM_CACHE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn todays_version_is_the_one_that_the_module_requires() {
        let of = |module: &str| todays_version(module).unwrap();
        assert_eq!(
            of("require (\n\tk8s.io/kubernetes v1.37.2 // why\n)\n"),
            "1.37.2"
        );
        assert_eq!(of("require k8s.io/kubernetes v1.37.10\n"), "1.37.10");
        assert!(of(TODAYS_MODULE).starts_with("1.37."));
    }
}
