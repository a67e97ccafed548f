//! The status of StorageBackends: which of the selected nodes can serve them, and why the others
//! can't.

mod devices;
mod finalizer;
mod held_back;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crds::condition::{self, reason};
use crds::selector::NodeSelector;
use crds::storage_backend::StorageBackendStatus;
use crds::{LogicalVolume, StorageBackend, quantity};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use placement::allocation::Reservation;
use placement::fit::free_space_for;
use placement::free_space::FreeSpace;
use placement::rejection::Rejection;
use placement::request::Candidate;
use placement::reservations::Reservations;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::class;
use super::state::ClusterState;
use crate::kube::error::ApiError;
use crate::kube::names;

/// Changes that come together are written together.
const SETTLE: Duration = Duration::from_millis(500);

/// Numbers alone are for people: they are brought up to date this often at most, so that a volume
/// costs no write of its own here. The same wait follows a write that failed.
const LEISURE: Duration = Duration::from_secs(10);

/// Keeps the status of every backend current, for ever.
pub async fn run(client: Client, state: Arc<ClusterState>) {
    let mut written: HashMap<String, Instant> = HashMap::new();
    let mut changes = state.space_changed.subscribe();
    loop {
        changes.mark_unchanged();
        let mut later = false;
        for backend in state.backends.state() {
            let name = backend.name_any();
            let recently = written
                .get(&name)
                .is_some_and(|written| written.elapsed() < LEISURE);
            match update(&client, &state, &backend, recently).await {
                Ok(BackendOutcome::Same) => {}
                Ok(BackendOutcome::Later) => later = true,
                Ok(BackendOutcome::Written) => drop(written.insert(name, Instant::now())),
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    tracing::warn!(
                        backend = name,
                        error = host::error::chain(&error),
                        "its status could not be written"
                    );
                    later = true;
                }
            }
        }
        if later {
            let _ = timeout(LEISURE, changes.changed()).await;
        } else if changes.changed().await.is_err() {
            return; // the world has ended
        }
        sleep(SETTLE).await;
    }
}

/// What became of one update.
enum BackendOutcome {
    Same,
    Later,
    Written,
}

async fn update(
    client: &Client,
    state: &ClusterState,
    backend: &StorageBackend,
    recently: bool,
) -> Result<BackendOutcome, ApiError> {
    let candidates = state.candidates();
    let now = Time(Timestamp::now());
    let name = backend.name_any();
    let volumes = state
        .logical_volumes
        .state_filter(|lv| lv.spec.backend == name);
    let candidates = ClusterState::borrow(&candidates);
    let trouble = if backend.metadata.deletion_timestamp.is_some() {
        Some((reason::BEING_DELETED, finalizer::waits_for(&volumes)))
    } else {
        let contradiction = || {
            let others = state.backends.state();
            let reserves = held_back::contradiction(backend, &others, &candidates);
            reserves.or_else(|| devices::contradiction(backend, &others, &candidates))
        };
        let default = || {
            backend
                .spec
                .filesystem
                .as_ref()
                .and_then(class::default_fault)
        };
        backend
            .spec
            .fault()
            .or_else(default)
            .or_else(contradiction)
            .map(|fault| (reason::INVALID_SPEC, fault))
    };
    let mut status = build_status(backend, trouble, &candidates, &state.reservations(), &now);
    finalizer::keep(client, backend, !volumes.is_empty()).await?;
    let reserved = volumes
        .iter()
        .map(|lv| reserved(lv))
        .fold(0, u64::saturating_add);
    status.reserved = Some(quantity::format(reserved));
    status.volumes = i64::try_from(volumes.len()).ok();
    let old = backend.status.clone().unwrap_or_default();
    if old == status {
        return Ok(BackendOutcome::Same);
    }
    if recently && without_numbers(&old) == without_numbers(&status) {
        return Ok(BackendOutcome::Later);
    }
    let patch =
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "status": status});
    let backends: Api<StorageBackend> = Api::all(client.clone());
    let params = PatchParams::apply(names::CONTROLLER).force();
    let patched = backends
        .patch_status(&name, &params, &Patch::Apply(patch))
        .await;
    patched.map_err(ApiError::of("patch the status of", "StorageBackend", &name))?;
    Ok(BackendOutcome::Written)
}

/// What a volume was promised: of a thin pool its size, of a volume group what it takes.
fn reserved(logical_volume: &LogicalVolume) -> u64 {
    let reservation = Reservation::from_volume(logical_volume);
    reservation
        .pool
        .as_ref()
        .map_or_else(|| reservation.allocation().bytes, |pool| pool.bytes)
}

fn without_numbers(status: &StorageBackendStatus) -> StorageBackendStatus {
    let StorageBackendStatus {
        observed_generation,
        conditions,
        nodes,
        ..
    } = status.clone();
    StorageBackendStatus {
        observed_generation,
        conditions,
        nodes,
        ..StorageBackendStatus::default()
    }
}

/// The status of a backend on these nodes, but for what its volumes add up to; `trouble` is what
/// makes it serve nobody.
fn build_status(
    backend: &StorageBackend,
    trouble: Option<(&'static str, String)>,
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
    now: &Time,
) -> StorageBackendStatus {
    let mut status = backend.status.clone().unwrap_or_default();
    let (spec, generation) = (&backend.spec, backend.metadata.generation);
    // Left out, the selector means every node that runs an agent; a control plane's nodes may not.
    let is_meant = |space: &Result<_, Rejection>| {
        spec.node_selector != NodeSelector::default() || !matches!(space, Err(Rejection::NoReport))
    };
    let selected = candidates
        .iter()
        .filter(|candidate| spec.node_selector.matches(candidate.node.labels()));
    let judged = selected.map(|candidate| {
        (
            candidate.node.name_any(),
            free_space_for(backend, *candidate, reservations),
        )
    });
    let (serving, failing): (Vec<_>, Vec<_>) = judged
        .filter(|(_, space)| is_meant(space))
        .partition(|(_, s)| s.is_ok());
    let spaces: Vec<FreeSpace> = serving
        .into_iter()
        .filter_map(|(_, space)| space.ok())
        .collect();
    let fault = |(node, space): (String, Result<_, Rejection>)| {
        space
            .err()
            .map(|rejection| format!("node {node} {rejection}"))
    };
    let mut faults: Vec<String> = failing.into_iter().filter_map(fault).collect();
    faults.sort();
    let (able, total) = (spaces.len(), spaces.len() + faults.len());
    let (reason, message) = trouble.unwrap_or_else(|| readiness(able, &faults));
    let sum = |part: fn(&FreeSpace) -> u64| {
        Some(quantity::format(
            spaces.iter().map(part).fold(0, u64::saturating_add),
        ))
    };
    status.observed_generation = generation;
    status.nodes = Some(format!("{able}/{total}"));
    status.capacity = sum(|space| space.size);
    status.free = sum(|space| space.free);
    status.held_back = sum(|space| space.reserve);
    condition::set(
        &mut status.conditions,
        condition::READY,
        reason == reason::READY,
        reason,
        &message,
        generation,
        now,
    );
    status
}

/// The reason of the condition `Ready`, and its message, where so many nodes can serve the backend
/// and others can't.
fn readiness(able: usize, faults: &[String]) -> (&'static str, String) {
    if able == 0 && faults.is_empty() {
        let message = "no selected node has reported yet".to_owned();
        return (reason::NO_NODES, message);
    }
    if faults.is_empty() {
        let message = format!("all selected nodes can serve it ({able})");
        return (reason::READY, message);
    }
    (reason::SOME_NODES_UNREADY, faults.join("; "))
}
