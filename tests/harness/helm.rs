//! Helm, which `tests/cluster/prepare api` builds.

use std::process::Command;

use anyhow::{Context, Result};

use crate::apiserver::ApiServer;
use crate::kubernetes::cache_folder;

impl ApiServer {
    /// Runs `helm` as administrator and returns its stdout; an error contains its stderr.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let program = cache_folder()?.join("helm/helm");
        anyhow::ensure!(
            program.is_file(),
            "{} is missing: run `tests/cluster/prepare api`",
            program.display()
        );
        // Not the user's own settings, repositories and plugins.
        let home = self.workplace().path("helm");
        let output = Command::new(program)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .args(arguments)
            .output()
            .context("cannot run helm")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "helm {}: {complaint}",
            arguments.join(" ")
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
