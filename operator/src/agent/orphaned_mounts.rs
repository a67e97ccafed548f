//! Clears mounts that the kubelet has forgotten: the pod is gone, and its volume is still mounted
//! in the pod's folder, so that the logical volume can neither be removed nor deactivated.
//!
//! A kubelet forgets when a pod goes while it is away, or, the old ones, when a volume was mounted
//! and could not be grown. Where volumes are attached, the mount for all pods of the node is
//! forgotten with the last pod's: it goes, too. What is cleared is what `plan` allows, seen at two
//! looks in a row, and never by force.

pub mod plan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flexvolume::DriverName;
use host::mount::{holders, mountinfo, umount_program};
use host::{Error, Exec};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::sleep;

use super::blocking::blocking;
use crate::kube::error::ApiError;
use crate::kube::names;
use plan::{Candidate, Sightings};

/// Between two looks: longer than a kubelet needs to take a pod down.
pub const EVERY: Duration = Duration::from_mins(3);

/// What a look needs.
pub struct OrphanedMounts {
    /// The API server.
    pub client: Client,
    /// The name of the Node object.
    pub node: String,
    /// The names of our driver.
    pub drivers: Vec<DriverName>,
    /// Runs the node's programs.
    pub exec: Arc<dyn Exec>,
    /// The node's `/proc`.
    pub proc: PathBuf,
    /// The time between two looks.
    pub every: Duration,
}

#[derive(Debug, thiserror::Error)]
enum OrphanError {
    #[error(transparent)]
    Node(#[from] Error),
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl OrphanedMounts {
    /// Looks for ever.
    pub async fn run(self) {
        let mut looks = Sightings::default();
        loop {
            sleep(self.every).await;
            let seen = match self.look().await {
                Ok(seen) => seen,
                Err(error) => {
                    let error = host::error::chain(&error);
                    tracing::warn!(error, "nobody can tell which mounts are forgotten, for now");
                    Vec::new()
                }
            };
            for candidate in looks.again(seen) {
                self.clear(candidate).await;
            }
        }
    }

    /// The mounts that look forgotten right now. Costs a look at the mount table, unless there is
    /// reason for more.
    async fn look(&self) -> Result<Vec<Candidate>, OrphanError> {
        let mounts = mountinfo::read(&self.table())?;
        let candidates = plan::candidates(&mounts, &self.drivers);
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let proc = self.proc.clone();
        let held = blocking(move || {
            let pods = candidates.iter().filter_map(|one| one.folder.pod.clone());
            let devices = candidates.iter().map(|one| one.device).collect();
            Ok((holders::find(&proc, &pods.collect(), &devices)?, candidates))
        })
        .await;
        let (processes, candidates) = held?;
        let candidates = plan::unheld(candidates, &processes);
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

    /// The volumes that the kubelet has mounted for all pods, or is about to: it says so before it
    /// mounts one.
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

    /// The uids of all pods of this node, ended ones too, as the API server has them now.
    async fn pods(&self) -> Result<BTreeSet<String>, ApiError> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let of_this_node = ListParams::default().fields(&format!("spec.nodeName={}", self.node));
        let pods = api
            .list_metadata(&of_this_node)
            .await
            .map_err(ApiError::of("list", "Pods of node", &self.node))?;
        let mut uids = BTreeSet::new();
        for pod in pods {
            // A static pod has folders by the hash of its file, and a mirror in the API with a uid
            // of its own.
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

    /// Whether a kubelet with this root has a folder for the pod.
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

    /// Unmounts, and removes the empty folder, so that the kubelet can remove those above it.
    async fn clear(&self, candidate: Candidate) {
        let (exec, table, path) = (
            self.exec.clone(),
            self.table(),
            candidate.point.display().to_string(),
        );
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
                    "unmounted: the pod is gone, and the kubelet has forgotten its volume"
                );
            }
            Err(error) => {
                let error = host::error::chain(&error);
                tracing::warn!(
                    path,
                    pod,
                    source,
                    error,
                    "a forgotten mount can't be cleared; it is tried again"
                );
            }
        }
    }

    fn table(&self) -> PathBuf {
        self.proc.join("1/mountinfo")
    }
}
