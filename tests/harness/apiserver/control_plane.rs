//! Kubernetes' controller manager and scheduler, next to an API server.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::ApiServer;
use super::settings::SERVICE_ACCOUNT_KEY;
use crate::workplace::{Program, Workplace};

/// Folders of the controller manager's host: for FlexVolume drivers, and for FlexLVM's settings.
#[derive(Clone, Debug)]
pub struct DriverFolders {
    /// The value of `--flex-volume-plugin-dir`.
    pub plugins: PathBuf,
    /// Mounted as `/var/lib/flexlvm`.
    pub state: PathBuf,
}

impl DriverFolders {
    pub(crate) fn create(workplace: &Workplace) -> Result<Self> {
        let folders = Self {
            plugins: workplace.path("controllers-plugins"),
            state: workplace.path("controllers-state"),
        };
        std::fs::create_dir(&folders.plugins)?;
        std::fs::create_dir(&folders.state)?;
        Ok(folders)
    }
}

impl ApiServer {
    /// Starts the controller manager.
    ///
    /// It binds claims to volumes, raises the capacity of expanded ones, attaches volumes, removes
    /// finalizers, namespaces and objects without an owner. Its host has an empty folder for
    /// FlexVolume drivers and an empty `/var/lib/flexlvm`.
    pub(crate) fn start_controllers(&self, drivers: &DriverFolders) -> Result<Program> {
        // The controller manager needs nothing else in /var/lib, and other processes must not use
        // these settings.
        let mut within = Command::new("unshare");
        within.args(["--mount", "sh", "-ec"]).arg(
            "mount -t tmpfs tmpfs /var/lib; mkdir /var/lib/flexlvm; mount --bind \"$0\" /var/lib/flexlvm; exec \"$@\"",
        );
        within.arg(&drivers.state);
        let flags = [
            format!("--service-account-private-key-file={SERVICE_ACCOUNT_KEY}"),
            "--root-ca-file=certificates/apiserver.crt".to_owned(),
            format!("--flex-volume-plugin-dir={}", drivers.plugins.display()),
        ];
        self.start_beside("kube-controller-manager", Some(within), &flags)
    }

    /// Starts the scheduler.
    pub fn start_scheduler(&self) -> Result<Program> {
        self.start_beside("kube-scheduler", None, &[])
    }

    fn start_beside(
        &self,
        name: &str,
        within: Option<Command>,
        flags: &[String],
    ) -> Result<Program> {
        let program = self.kubernetes.program(name);
        anyhow::ensure!(program.is_file(), "{} is missing", program.display());
        let mut command = match within {
            None => Command::new(program),
            Some(mut within) => {
                within.arg(program);
                within
            }
        };
        command
            .arg(format!(
                "--kubeconfig={}",
                self.access.kubeconfig().display()
            ))
            .args(["--leader-elect=false", "--secure-port=0"])
            // Up to 1.23 they also listen on a fixed port without TLS, which another process may
            // hold.
            .args((self.kubernetes.minor_version()? < 24).then_some("--port=0"))
            .args(flags);
        self.workplace.start(name, &mut command)
    }
}
