//! Unmounts orphaned pod mounts: the pod is gone, and its volume is still mounted in the pod's
//! folder, so that the logical volume can be neither removed nor deactivated.
//!
//! The kubelet loses track of a mount if the pod is deleted while the kubelet is down, and old
//! kubelets also if a volume was mounted but could not be expanded. Where volumes are attached, the
//! node-wide mount is lost with the last pod's, and is unmounted, too. The agent unmounts only what
//! `plan` allows, observed in two consecutive scans, and never by force.

pub mod plan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flexvolume::DriverName;
use host::Exec;
use host::mount::{mountinfo, umount_program};
use host::stack::processes;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::sleep;

use super::blocking::blocking;
use super::error::AgentError;
use crate::kube::error::ApiError;
use crate::kube::names;
use plan::{Candidate, PreviousScan};

/// Interval between two scans: longer than the kubelet needs to tear a pod down.
pub const EVERY: Duration = Duration::from_mins(3);

/// Scans the node for orphaned mounts and unmounts them.
pub struct OrphanedMounts {
    /// The API server.
    pub client: Client,
    /// Name of the Node object.
    pub node: String,
    /// All names of FlexLVM's driver, former ones included.
    pub drivers: Vec<DriverName>,
    /// Runs the node's programs.
    pub exec: Arc<dyn Exec>,
    /// The node's `/proc`.
    pub proc: PathBuf,
    /// Interval between two scans.
    pub every: Duration,
}

impl OrphanedMounts {
    /// Scans at each interval; never returns.
    pub async fn run(self) {
        let mut previous = PreviousScan::default();
        loop {
            sleep(self.every).await;
            let seen = match self.scan().await {
                Ok(seen) => seen,
                Err(error) => {
                    let error = host::error::chain(&error);
                    tracing::warn!(
                        error,
                        "can't determine orphaned mounts; retrying at the next scan"
                    );
                    Vec::new()
                }
            };
            for candidate in previous.confirm(seen) {
                self.clear(candidate).await;
            }
        }
    }

    /// Returns the mounts that are orphaned in this scan.
    ///
    /// Costs one read of the mount table unless there are candidates.
    async fn scan(&self) -> Result<Vec<Candidate>, AgentError> {
        let mounts = mountinfo::read(&self.table())?;
        let candidates = plan::candidates(&mounts, &self.drivers);
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let proc = self.proc.clone();
        let held = blocking(move || {
            let pods = candidates.iter().filter_map(|one| one.folder.pod.clone());
            let devices = candidates.iter().map(|one| one.device).collect();
            Ok((
                processes::find(&proc, &pods.collect(), &devices)?,
                candidates,
            ))
        })
        .await;
        let (processes, candidates) = held?;
        let candidates = plan::unused(candidates, &processes);
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let pods = self.pods().await?;
        let for_all = candidates.iter().any(|one| one.folder.pod.is_none());
        let in_use = if for_all {
            self.volumes_in_use().await?
        } else {
            Vec::new()
        };
        Ok(plan::orphaned(candidates, &pods, &in_use, |root, uid| {
            self.has_folder(root, uid)
        }))
    }

    /// Returns the volumes that kubelet has mounted node-wide or is about to: it publishes them
    /// before it mounts one.
    async fn volumes_in_use(&self) -> Result<Vec<String>, ApiError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let node = api
            .get(&self.node)
            .await
            .map_err(ApiError::of("get", "Node", &self.node))?;
        Ok(node
            .status
            .and_then(|status| status.volumes_in_use)
            .unwrap_or_default())
    }

    /// Returns the uids of all pods of this node in the API server, terminated ones included.
    async fn pods(&self) -> Result<BTreeSet<String>, ApiError> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let of_this_node = ListParams::default().fields(&format!("spec.nodeName={}", self.node));
        let pods = api
            .list_metadata(&of_this_node)
            .await
            .map_err(ApiError::of("list", "Pods of node", &self.node))?;
        let mut uids = BTreeSet::new();
        for pod in pods {
            // The kubelet names a static pod's folders by the hash of its file; its mirror pod in
            // the API has another uid.
            let of_file = [names::STATIC_POD_HASH, names::STATIC_POD_MIRROR];
            uids.extend(
                of_file
                    .iter()
                    .filter_map(|key| pod.annotations().get(*key).cloned()),
            );
            uids.extend(pod.uid());
        }
        Ok(uids)
    }

    /// Returns whether the kubelet, with this root folder, has a folder for the pod.
    fn has_folder(&self, root: &Path, uid: &str) -> bool {
        let plain = uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let below = root.strip_prefix("/").unwrap_or(root);
        plain
            && self
                .proc
                .join("1/root")
                .join(below)
                .join("pods")
                .join(uid)
                .is_dir()
    }

    /// Unmounts, and removes the empty folder, so that kubelet can remove those above it.
    async fn clear(&self, candidate: Candidate) {
        let exec = self.exec.clone();
        let table = self.table();
        let path = candidate.point.display().to_string();
        let pod = candidate
            .folder
            .pod
            .clone()
            .unwrap_or_else(|| "any".to_owned());
        let source = candidate.source.display().to_string();
        match blocking(move || {
            umount_program::unmount(&*exec, &table, candidate.id, &candidate.point)
        })
        .await
        {
            Ok(()) => {
                tracing::info!(
                    path,
                    pod,
                    source,
                    "unmounted an orphaned mount: the pod is gone, and kubelet no longer tracks its volume"
                );
            }
            Err(error) => {
                let error = host::error::chain(&error);
                tracing::warn!(
                    path,
                    pod,
                    source,
                    error,
                    "can't unmount an orphaned mount; retrying"
                );
            }
        }
    }

    fn table(&self) -> PathBuf {
        self.proc.join("1/mountinfo")
    }
}
