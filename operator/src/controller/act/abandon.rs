//! Steps for a volume whose node is lost.
//!
//! Each reads its preconditions from the API server first: a Node that a cache lacks may exist.

use crds::logical_volume::{ClaimReference, State};
use crds::{LogicalVolume, NodeStorage};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use placement::node_loss::{self, NodeLoss};
use serde_json::json;

use super::{Actor, IN_FLIGHT};
use crate::controller::plan::{Plan, Step};
use crate::kube::error::ApiError;

/// The loss of a node, according to the API server.
struct ObservedLoss {
    loss: NodeLoss,
    /// Whether the report of a node of this name lists the volume as missing.
    is_listed: bool,
}

impl Actor {
    /// Records since when the node is lost, or that it is not.
    pub(super) async fn set_node_lost(
        &self,
        name: &str,
        since: Option<Time>,
    ) -> Result<Plan, ApiError> {
        self.patch_spec(name, json!({"nodeLostTime": since})).await
    }

    /// Records that the volume is abandoned, if its node is lost according to the API server, and
    /// the LogicalVolume has not changed since it was read.
    pub(super) async fn abandon(&self, name: &str) -> Result<Plan, ApiError> {
        let Some(found) = self.live_logical_volume(name).await? else {
            return Ok(Step::Wait(IN_FLIGHT).into());
        };
        let is_decided = found.spec.state == State::Abandoned;
        // Another controller may have cleared the time, since the node was back.
        let is_lost = match self.loss(&found).await? {
            None => false,
            // Then the report is of the agent on the present node.
            Some(ObservedLoss { loss, is_listed }) => loss != NodeLoss::Replaced || is_listed,
        };
        if is_decided || found.spec.node_lost_time.is_none() || !is_lost {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        tracing::warn!(
            volume = name,
            node = found.spec.node,
            "the node is lost: releasing the claim of the volume"
        );
        self.patch_state(&found, json!({"state": State::Abandoned}))
            .await
    }

    /// Keeps a volume that is abandoned: its node is back, or its PersistentVolume is bound again.
    pub(super) async fn cancel_abandonment(
        &self,
        name: &str,
        claim: Option<ClaimReference>,
    ) -> Result<Plan, ApiError> {
        let Some(found) = self.live_logical_volume(name).await? else {
            return Ok(Step::Wait(IN_FLIGHT).into());
        };
        if found.spec.state != State::Abandoned {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        let claim = claim.as_ref().or(found.spec.current_claim.as_ref());
        let spec = json!({"state": State::Present, "nodeLostTime": null, "currentClaim": claim});
        self.patch_state(&found, spec).await
    }

    /// Deletes the claim of an abandoned volume, if it is bound to that volume or to none.
    pub(super) async fn release_claim(&self, name: &str) -> Result<Plan, ApiError> {
        let waits = Ok(Step::Wait(IN_FLIGHT).into());
        let Some(found) = self.live_logical_volume(name).await? else {
            return waits;
        };
        if found.spec.state != State::Abandoned {
            return waits;
        }
        let reference = found.spec.current_claim();
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &reference.namespace);
        let claim = claims.get_opt(&reference.name).await.map_err(ApiError::of(
            "get",
            "PersistentVolumeClaim",
            &reference.name,
        ))?;
        let Some(claim) = claim.filter(|claim| claim.uid().as_ref() == Some(&reference.uid)) else {
            return waits;
        };
        let bound = claim.spec.and_then(|spec| spec.volume_name);
        if bound.is_some_and(|bound| !bound.is_empty() && bound != name) {
            return waits;
        }
        let same = Preconditions {
            uid: Some(reference.uid.clone()),
            resource_version: None,
        };
        let deleted = claims
            .delete(
                &reference.name,
                &DeleteParams::default().preconditions(same),
            )
            .await;
        match deleted.map_err(ApiError::of(
            "delete",
            "PersistentVolumeClaim",
            &reference.name,
        )) {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(Step::Done.into()),
        }
    }

    /// Ends a LogicalVolume that an admin has deleted, and whose agent is gone: the volume is
    /// abandoned, or its node is lost.
    pub(super) async fn end_without_agent(&self, name: &str) -> Result<Plan, ApiError> {
        let Some(found) = self.live_logical_volume(name).await? else {
            return Ok(Step::Done.into());
        };
        if found.metadata.deletion_timestamp.is_none() {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        let is_abandoned = found.spec.state == State::Abandoned;
        let loss = self.loss(&found).await?;
        let is_without_agent = loss.is_some_and(|found| found.loss != NodeLoss::OutOfService);
        let is_claimed = self.exists(found.spec.current_claim()).await?
            || self.exists(&found.spec.claim).await?;
        if is_claimed || !(is_abandoned || is_without_agent) {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        self.finalize_deletion(name).await
    }

    /// Returns whether the node of a volume is lost, according to the API server.
    async fn loss(&self, logical_volume: &LogicalVolume) -> Result<Option<ObservedLoss>, ApiError> {
        let name = &logical_volume.spec.node;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes
            .get_opt(name)
            .await
            .map_err(ApiError::of("get", "Node", name))?;
        let storages: Api<NodeStorage> = Api::all(self.client.clone());
        let storage =
            storages
                .get_opt(name)
                .await
                .map_err(ApiError::of("get", "NodeStorage", name))?;
        let loss = NodeLoss::judge(logical_volume, node.as_ref(), storage.as_ref());
        let is_listed =
            storage.is_some_and(|storage| node_loss::lists_as_missing(&storage, logical_volume));
        Ok(loss.map(|loss| ObservedLoss { loss, is_listed }))
    }

    async fn live_logical_volume(&self, name: &str) -> Result<Option<LogicalVolume>, ApiError> {
        let found = self.logical_volumes().get_opt(name).await;
        found.map_err(ApiError::of("get", "LogicalVolume", name))
    }

    /// Changes the spec of a LogicalVolume, if it has not changed since it was read.
    async fn patch_state(
        &self,
        found: &LogicalVolume,
        spec: serde_json::Value,
    ) -> Result<Plan, ApiError> {
        let name = found.name_any();
        let metadata = json!({"uid": found.uid(), "resourceVersion": found.resource_version()});
        let patch = Patch::Merge(json!({"metadata": metadata, "spec": spec}));
        let patched = self
            .logical_volumes()
            .patch(&name, &PatchParams::default(), &patch)
            .await;
        patched.map_err(ApiError::of("patch", "LogicalVolume", &name))?;
        Ok(Step::Done.into())
    }
}
