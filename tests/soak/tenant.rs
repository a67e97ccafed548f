//! The tenant of the soak: creates, changes and deletes its claims and pods.

use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::cluster::POD_IMAGE;
use harness::wait::until;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::environment::NAMESPACE;
use crate::model::Claim;

/// Where a pod's volume is mounted.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) node: u8,
    pub(crate) folder: String,
}

/// The tenant's view of the API.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    claims: Api<PersistentVolumeClaim>,
    pods: Api<Pod>,
}

impl Tenant {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            claims: Api::namespaced(client.clone(), NAMESPACE),
            pods: Api::namespaced(client, NAMESPACE),
        }
    }

    /// Creates a claim and returns the name of its volume.
    pub(crate) async fn create_claim(&self, claim: &Claim) -> Result<String> {
        let object = json!({"metadata": {"name": claim.name()}, "spec": {
            "storageClassName": claim.class.to_string(), "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": format!("{}Mi", claim.size_mib)}}}});
        let created = self
            .claims
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        Ok(format!("pvc-{}", created.uid().context("it has a uid")?))
    }

    /// Creates the latest pod of a claim, without waiting.
    pub(crate) async fn create_pod(&self, claim: &Claim) -> Result<()> {
        let source = json!({"claimName": claim.name()});
        let container = json!({"name": "app", "image": POD_IMAGE, "command": ["sleep", "infinity"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
        let pod = json!({"metadata": {"name": claim.pod()}, "spec": {
            "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
            "volumes": [{"name": "data", "persistentVolumeClaim": source}],
            "containers": [container]}});
        self.pods
            .create(&PostParams::default(), &serde_json::from_value(pod)?)
            .await?;
        Ok(())
    }

    /// Deletes the latest pod of a claim, without waiting.
    pub(crate) async fn delete_pod(&self, claim: &Claim) -> Result<()> {
        let deleted = self
            .pods
            .delete(&claim.pod(), &DeleteParams::default())
            .await;
        match deleted {
            // It was deleted before.
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    /// Deletes a claim, without waiting.
    pub(crate) async fn delete_claim(&self, claim: &Claim) -> Result<()> {
        self.claims
            .delete(&claim.name(), &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Raises the request of a claim to its size in the model.
    ///
    /// A server refuses that for a claim that is not bound yet; returns false then.
    pub(crate) async fn grow(&self, claim: &Claim) -> Result<bool> {
        let size = format!("{}Mi", claim.size_mib);
        let patch = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
        let patched = self
            .claims
            .patch(&claim.name(), &PatchParams::default(), &patch)
            .await;
        match patched {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_invalid() => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns where a running pod has its volume; `None` if it does not run.
    pub(crate) async fn mount(&self, claim: &Claim) -> Result<Option<Mount>> {
        let Some(pod) = self.pods.get_opt(&claim.pod()).await? else {
            return Ok(None);
        };
        let is_running = pod
            .status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
            .any(|container| container.ready);
        let bound = self.claims.get_opt(&claim.name()).await?;
        let volume = bound.and_then(|claim| claim.spec?.volume_name);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let (true, Some(volume), Some(node), Some(uid)) = (is_running, volume, node, pod.uid())
        else {
            return Ok(None);
        };
        Ok(Some(Mount {
            node: node_number(&node)?,
            folder: format!("/var/lib/kubelet/pods/{uid}/volumes/flexlvm.dev~lvm/{volume}"),
        }))
    }

    /// Deletes all pods and waits until their nodes have released them.
    pub(crate) async fn end_pods(&self, limit: Duration) -> Result<()> {
        let all = ListParams::default();
        self.pods
            .delete_collection(&DeleteParams::default(), &all)
            .await?;
        until("all pods are gone", limit, async || {
            Ok(self.pods.list(&all).await?.items.is_empty().then_some(()))
        })
        .await
    }
}

/// Returns the number of a node from its name.
pub(crate) fn node_number(name: &str) -> Result<u8> {
    name.trim_start_matches("node")
        .parse()
        .with_context(|| format!("{name} is not a node of this cluster"))
}
