//! Releases the claims of pods that were evicted from a cordoned node, if an annotation of the
//! claim allows that: workloads that replicate their data themselves then start on another node.
//! [`plan`] decides.
//!
//! An evicted pod of a StatefulSet is created again, and waits for the node of its claim. Pods are
//! listed only while a claim with the annotation is on a cordoned node, so they are not watched.

pub mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use placement::node_loss;
use tokio::time::sleep;

use super::plan::about_claim;
use super::state::ClusterState;
use crate::kube::error::ApiError;
use crate::kube::events::Recorder;
use crate::kube::names::event;
use plan::{DrainedClaim, is_cordoned, is_evicted, may_be_released};

/// Interval at which the controller looks for claims on cordoned nodes; without one, that costs no
/// request.
const INTERVAL: Duration = Duration::from_secs(5);

/// Releases claims; never returns.
pub async fn run(client: Client, state: Arc<ClusterState>, recorder: Arc<Recorder>) {
    loop {
        sleep(INTERVAL).await;
        let mut namespaces: BTreeMap<String, Vec<DrainedClaim>> = BTreeMap::new();
        for drained in candidates(&state) {
            namespaces
                .entry(drained.namespace.clone())
                .or_default()
                .push(drained);
        }
        for (namespace, claims) in namespaces {
            if let Err(error) = release(&client, &recorder, &namespace, &claims).await {
                tracing::warn!(
                    namespace,
                    error = host::error::chain(&error),
                    "can't release the claims of evicted pods; retrying"
                );
            }
        }
    }
}

/// Returns the claims with the annotation whose volume is on a cordoned node.
fn candidates(state: &ClusterState) -> Vec<DrainedClaim> {
    let mut candidates = Vec::new();
    for claim in state.claims.state() {
        if !may_be_released(&claim) {
            continue;
        }
        let name = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.as_ref());
        let Some(volume) = name.and_then(|name| state.logical_volumes.get(&ObjectRef::new(name)))
        else {
            continue;
        };
        let node = state.nodes.get(&ObjectRef::new(&volume.spec.node));
        let is_bound = claim.uid().as_ref() == Some(&volume.spec.current_claim().uid);
        if is_bound && node.is_some_and(|node| is_cordoned(&node)) {
            candidates.push(DrainedClaim {
                namespace: claim.namespace().unwrap_or_default(),
                name: claim.name_any(),
                uid: claim.uid().unwrap_or_default(),
                node: volume.spec.node.clone(),
            });
        }
    }
    candidates
}

/// Deletes the claims of a namespace whose pods were evicted.
async fn release(
    client: &Client,
    recorder: &Recorder,
    namespace: &str,
    drained: &[DrainedClaim],
) -> Result<(), ApiError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default()).await;
    let pods = pods.map_err(ApiError::of("list", "Pod", namespace))?.items;
    for drained in drained {
        if is_evicted(&drained.name, &pods)
            && let Some(claim) = still_drained(client, drained).await?
        {
            delete(client, drained).await?;
            let message = format!(
                "node {} is cordoned and the pod with the claim was evicted, so the claim is deleted (annotation {}): \
                 created again, it gets an empty volume on another node",
                drained.node,
                node_loss::RELEASE_ON_DRAIN
            );
            let notice = about_claim(&claim, event::CLAIM_RELEASED, message);
            recorder.publish(&notice).await?;
        }
    }
    Ok(())
}

/// Returns the claim, if according to the API server its annotation and the node still allow its
/// release.
async fn still_drained(
    client: &Client,
    drained: &DrainedClaim,
) -> Result<Option<PersistentVolumeClaim>, ApiError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes.get_opt(&drained.node).await;
    let node = node.map_err(ApiError::of("get", "Node", &drained.node))?;
    if !node.is_some_and(|node| is_cordoned(&node)) {
        return Ok(None);
    }
    let found = claims(client, drained).get_opt(&drained.name).await;
    let found = found.map_err(ApiError::of("get", "PersistentVolumeClaim", &drained.name))?;
    Ok(found.filter(|claim| claim.uid().as_ref() == Some(&drained.uid) && may_be_released(claim)))
}

async fn delete(client: &Client, drained: &DrainedClaim) -> Result<(), ApiError> {
    let same = Preconditions {
        uid: Some(drained.uid.clone()),
        resource_version: None,
    };
    let deleted = claims(client, drained)
        .delete(&drained.name, &DeleteParams::default().preconditions(same))
        .await;
    match deleted.map_err(ApiError::of(
        "delete",
        "PersistentVolumeClaim",
        &drained.name,
    )) {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

fn claims(client: &Client, drained: &DrainedClaim) -> Api<PersistentVolumeClaim> {
    Api::namespaced(client.clone(), &drained.namespace)
}
