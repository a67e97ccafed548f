//! Installs FlexLVM on a cluster as admins do: the configuration for its version of Kubernetes, and
//! the samples of a StorageBackend and a StorageClass.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cluster::Cluster;
use crate::wait::{LIMIT, until};

/// The volume group of the sample backend.
pub const VOLUME_GROUP: &str = "flexlvm";

/// The StorageClass of the samples.
pub const CLASS: &str = "flexlvm";

/// The image archive that `image/build` creates.
pub const IMAGE: &str = "target/image/flexlvm.tar";

/// Returns the absolute path of a file of the repository.
#[must_use]
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

impl Cluster {
    /// Installs FlexLVM and waits until the sample backend is Ready on all nodes.
    ///
    /// Each node must have the image. Fails if kubectl prints a warning.
    pub async fn install(&self) -> Result<()> {
        self.api().install()?;
        for workload in ["deployment/flexlvm-controller", "daemonset/flexlvm-agent"] {
            let timeout = format!("--timeout={}s", LIMIT.as_secs());
            let status = [
                "-n",
                "flexlvm-system",
                "rollout",
                "status",
                &timeout,
                workload,
            ];
            self.api().kubectl(&status)?;
        }
        for sample in ["storagebackend", "storageclass"] {
            let sample = file(&format!("config/samples/{sample}.yaml"));
            self.api()
                .kubectl(&["apply", "-f", &sample.display().to_string()])?;
        }
        self.wait_until_served().await
    }

    /// Waits until the sample backend is Ready on all nodes.
    pub async fn wait_until_served(&self) -> Result<()> {
        let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.nodes}"#;
        let all = self.nodes().len();
        until("the backend is Ready on all nodes", LIMIT, async || {
            let state = self
                .api()
                .kubectl(&["get", "storagebackend", "flexlvm", "-o", ready])?;
            Ok((state == format!("True {all}/{all}")).then_some(()))
        })
        .await
    }
}
