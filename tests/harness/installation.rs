//! FlexLVM on a cluster, installed as its users do it: the configuration for this version of
//! Kubernetes, and the samples of a backend and a class.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::cluster::Cluster;
use crate::wait::until;

/// The volume group that the sample backend names.
pub const VOLUME_GROUP: &str = "flexlvm";

/// The class of the samples.
pub const CLASS: &str = "flexlvm";

/// The image archive that `image/build` leaves.
pub const IMAGE: &str = "target/image/flexlvm.tar";

/// Time within which workloads start on a loaded machine.
const LIMIT: Duration = Duration::from_secs(300);

/// The path of a file of the repository.
#[must_use]
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

impl Cluster {
    /// Installs FlexLVM, whose image every node must have, and returns once the sample backend is
    /// Ready on all nodes. Fails if kubectl prints a warning.
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
