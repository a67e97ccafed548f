//! Where the Kubernetes programs are. `make prepare` puts them into the cache folder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// A folder with Kubernetes programs.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    folder: PathBuf,
}

impl Kubernetes {
    /// All of Kubernetes, for a cluster: `$KUBERNETES_BIN`, or what `make prepare` left in the
    /// cache folder.
    pub fn find() -> Result<Self> {
        let folder = match env::var_os("KUBERNETES_BIN") {
            Some(folder) => folder.into(),
            None => cache_folder()?.join("kubernetes-1.20.2"),
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

    /// An API server, perhaps of another version: `$KUBEBUILDER_ASSETS` (with an etcd beside it) or
    /// else the same.
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
                "{} is missing: run `make prepare`, or set KUBERNETES_BIN",
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

    /// The path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The etcd that goes with this API server: the one beside it, or Debian's.
    #[must_use]
    pub fn etcd(&self) -> PathBuf {
        let beside = self.program("etcd");
        if beside.is_file() {
            beside
        } else {
            PathBuf::from("/usr/bin/etcd")
        }
    }

    /// The version, as in `v1.20.2`.
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

    /// The second number of the version.
    pub fn minor_version(&self) -> Result<u32> {
        let version = self.version()?;
        let minor = version
            .split('.')
            .nth(1)
            .with_context(|| format!("what version is {version}?"))?;
        Ok(minor.parse()?)
    }
}

/// The folder for what is made once and used by every run.
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
