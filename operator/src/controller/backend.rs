//! The status of StorageBackends: which of the selected nodes can serve them, and why the others can't.

use std::sync::Arc;
use std::time::Duration;

use crds::condition::{self, reason};
use crds::storage_backend::StorageBackendStatus;
use crds::{StorageBackend, quantity};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::ledger::Ledger;
use super::place::{Candidate, Unfit, space};
use super::world::World;
use crate::error::ApiError;
use crate::names;

/// Changes that come together are written together.
const SETTLE: Duration = Duration::from_millis(500);

/// After a write that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Keeps the status of every backend current, for ever.
pub async fn run(client: Client, world: Arc<World>) {
    loop {
        let mut failed = false;
        for backend in world.backends.state() {
            if let Err(error) = update(&client, &world, &backend).await
                && !error.is_not_found()
            {
                tracing::warn!(
                    backend = backend.name_any(),
                    error = host::error::chain(&error),
                    "its status could not be written"
                );
                failed = true;
            }
        }
        if failed {
            let _ = tokio::time::timeout(AGAIN, world.backends_changed.notified()).await;
        } else {
            world.backends_changed.notified().await;
        }
        tokio::time::sleep(SETTLE).await;
    }
}

async fn update(client: &Client, world: &World, backend: &StorageBackend) -> Result<(), ApiError> {
    let candidates = world.candidates();
    let status = judge(backend, &World::borrow(&candidates), &world.ledger(), &Time(Timestamp::now()));
    if backend.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let name = backend.name_any();
    let patch = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "status": status});
    let backends: Api<StorageBackend> = Api::all(client.clone());
    let params = PatchParams::apply(names::CONTROLLER).force();
    let patched = backends.patch_status(&name, &params, &Patch::Apply(patch)).await;
    patched.map(|_| ()).map_err(ApiError::of("patch the status of", "StorageBackend", &name))
}

/// The status of a backend on these nodes.
fn judge(backend: &StorageBackend, candidates: &[Candidate<'_>], ledger: &Ledger, now: &Time) -> StorageBackendStatus {
    let mut status = backend.status.clone().unwrap_or_default();
    let generation = backend.metadata.generation;
    let selected = candidates.iter().filter(|candidate| backend.spec.node_selector.matches(candidate.node.labels()));
    let judged: Vec<(String, Result<_, Unfit>)> = selected
        .map(|candidate| (candidate.node.name_any(), space(&backend.spec.volume_group, *candidate, ledger)))
        // Left to itself, a selector of nothing means every node that runs an agent; a control plane's nodes may not.
        .filter(|(_, space)| {
            backend.spec.node_selector != crds::selector::NodeSelector::default()
                || !matches!(space, Err(Unfit::NoReport))
        })
        .collect();
    let mut faults: Vec<String> = judged
        .iter()
        .filter_map(|(node, space)| space.as_ref().err().map(|unfit| format!("node {node} {unfit}")))
        .collect();
    faults.sort();
    let total = judged.len();
    let serving = total - faults.len();
    let size: u64 = judged.iter().filter_map(|(_, space)| space.as_ref().ok()).map(|space| space.size).sum();
    let (ready, reason, message) = match backend.spec.node_selector.fault() {
        Some(fault) => (false, reason::INVALID_SPEC, fault),
        None if total == 0 => (false, reason::NO_NODES, "no selected node has reported yet".to_owned()),
        None if faults.is_empty() => {
            (true, reason::READY, format!("{serving} nodes with {} in all", quantity::human(size)))
        }
        None => (false, reason::SOME_NODES_UNREADY, faults.join("; ")),
    };
    status.observed_generation = generation;
    status.nodes = Some(format!("{serving}/{total}"));
    condition::set(&mut status.conditions, condition::READY, ready, reason, &message, generation, now);
    status
}
