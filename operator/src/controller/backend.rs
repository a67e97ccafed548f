//! The status of StorageBackends: which of the selected nodes can provide volumes, and why the
//! others can't.

mod bounded;
mod devices;
mod finalizer;
mod held_back;
mod hostnames;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crds::condition::{self, reason};
use crds::selector::NodeSelector;
use crds::storage_backend::StorageBackendStatus;
use crds::{LogicalVolume, StorageBackend, ValidationError, quantity};
use host::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use placement::allocation::Reservation;
use placement::fit::free_space_for;
use placement::free_space::FreeSpace;
use placement::rejection::Rejection;
use placement::request::Candidate;
use placement::reservations::Reservations;
use placement::{class, filter};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::state::ClusterState;
use crate::kube::error::ApiError;
use crate::kube::names;

/// Delay before a status update, so that changes in quick succession cause one write.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// Minimum time between writes that only update numbers, so that a new volume costs no extra write.
///
/// Also the wait after a failed write.
const NUMBERS_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps the status of every backend current.
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
                .is_some_and(|written| written.elapsed() < NUMBERS_INTERVAL);
            match update(&client, &state, &backend, recently).await {
                Ok(BackendOutcome::Same) => {}
                Ok(BackendOutcome::Later) => later = true,
                Ok(BackendOutcome::Written) => drop(written.insert(name, Instant::now())),
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    tracing::warn!(
                        backend = name,
                        error = host::error::chain(&error),
                        "failed to update the status of a StorageBackend"
                    );
                    later = true;
                }
            }
        }
        if later {
            let _ = timeout(NUMBERS_INTERVAL, changes.changed()).await;
        } else if changes.changed().await.is_err() {
            return; // the watches have ended
        }
        sleep(DEBOUNCE).await;
    }
}

/// Outcome of one status update.
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
    let blocker = if backend.metadata.deletion_timestamp.is_some() {
        Some((reason::BEING_DELETED, finalizer::waits_for(&volumes)))
    } else {
        validate(backend, &state.backends.state(), &candidates)
            .err()
            .map(|error| (reason::INVALID_SPEC, error.to_string()))
    };
    let mut status = build_status(backend, blocker, &candidates, &state.reservations(), &now);
    finalizer::update(client, backend, !volumes.is_empty()).await?;
    let reserved: Bytes = volumes.iter().map(|lv| reserved(lv)).sum();
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

/// Validates the spec of a backend, by itself and together with all backends.
fn validate(
    backend: &StorageBackend,
    all: &[Arc<StorageBackend>],
    candidates: &[Candidate<'_>],
) -> Result<(), ValidationError> {
    backend.spec.validate()?;
    if let Some(default) = &backend.spec.filesystem {
        class::validate_default(default)?;
    }
    held_back::check(backend, all, candidates)?;
    devices::check(backend, all, candidates)
}

/// Returns the space reserved for a volume: its size in a thin pool, otherwise its space in the
/// volume group.
fn reserved(logical_volume: &LogicalVolume) -> Bytes {
    let reservation = Reservation::from_volume(logical_volume);
    match &reservation.pool {
        Some(pool) => pool.size,
        None => reservation.allocation().total,
    }
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

/// Returns the status of a backend on these nodes, without the sums over its volumes. `blocker` is
/// the reason why the backend provides no volumes at all.
fn build_status(
    backend: &StorageBackend,
    blocker: Option<(&'static str, String)>,
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
    now: &Time,
) -> StorageBackendStatus {
    let mut status = backend.status.clone().unwrap_or_default();
    let spec = &backend.spec;
    let generation = backend.metadata.generation;
    // Without a selector the backend applies to the nodes that run an agent; control plane nodes
    // may run none.
    let has_selector = spec.node_selector != NodeSelector::default();
    let mut spaces = Vec::new();
    let mut faults = Vec::new();
    for candidate in candidates {
        if !spec.node_selector.matches(candidate.node.labels()) {
            continue;
        }
        match usable_space(backend, *candidate, reservations) {
            Ok(space) => spaces.push(space),
            Err(Rejection::NoReport) if !has_selector => {}
            Err(rejection) => faults.push(format!("{} {rejection}", candidate.node.name_any())),
        }
    }
    faults.sort();
    let able = spaces.len();
    let total = able + faults.len();
    let (reason, message) = blocker.unwrap_or_else(|| {
        let conflict =
            hostnames::conflict(candidates, |node| spec.node_selector.matches(node.labels()));
        readiness(able, &faults, conflict)
    });
    status.observed_generation = generation;
    status.nodes = Some(format!("{able}/{total}"));
    status.capacity = Some(sum(&spaces, |space| space.size));
    status.free = Some(sum(&spaces, |space| space.free));
    status.held_back = Some(sum(&spaces, |space| space.held_back));
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

/// Returns the sum of one part of the nodes' free space.
fn sum(spaces: &[FreeSpace], part: fn(&FreeSpace) -> Bytes) -> Quantity {
    quantity::format(spaces.iter().map(part).sum::<Bytes>())
}

/// Returns the free space on a node that is up.
///
/// A node that is down has reported its space before, and can't provide it now.
fn usable_space(
    backend: &StorageBackend,
    candidate: Candidate<'_>,
    reservations: &Reservations,
) -> Result<FreeSpace, Rejection> {
    let is_up = filter::is_up(candidate.node);
    match free_space_for(backend, candidate, reservations) {
        // The agent of a node that is down is silent, too.
        Ok(_) | Err(Rejection::AgentSilent(_)) if !is_up => Err(Rejection::NodeDown),
        result => result,
    }
}

/// Returns reason and message of the condition `Ready` for the number of nodes that can provide
/// volumes, the faults of the others, and a conflict between nodes.
fn readiness(able: usize, faults: &[String], conflict: Option<String>) -> (&'static str, String) {
    if let Some(conflict) = conflict {
        let all: Vec<String> = std::iter::once(conflict)
            .chain(faults.iter().cloned())
            .collect();
        return (reason::DUPLICATE_HOSTNAME, bounded::join(&all, ", "));
    }
    if able == 0 && faults.is_empty() {
        let message = "no selected node has reported yet".to_owned();
        return (reason::NO_NODES, message);
    }
    if faults.is_empty() {
        let message = format!("all selected nodes can provide volumes ({able})");
        return (reason::READY, message);
    }
    (reason::SOME_NODES_UNREADY, bounded::join(faults, ", "))
}
