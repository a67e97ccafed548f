//! Checks of StorageBackends. Pure.

use crds::StorageBackend;
use crds::condition::{self, READY, reason};
use storage_model::Bytes;

use super::check::{Check, Fault, Probe};
use super::facts::Facts;
use crate::objects::{age, backend_conditions};
use crate::snapshot::kind::Kind;

/// Seconds after a change within which the controller writes the status of a backend.
const STATUS_SECONDS: i64 = 60;

pub(super) const CHECKS: &[Check] = &[
    Check::fault(
        "backend-invalid",
        "a StorageBackend contradicts itself, so it provides no volumes",
        "kubectl edit OBJECT: correct the field",
        Probe::Rule(invalid),
    ),
    Check::fault(
        "backend-conflict",
        "StorageBackends contradict each other",
        "kubectl edit OBJECT: correct the field that the message names, in one of them",
        Probe::Rule(conflicts),
    ),
    Check::fault(
        "backend-without-nodes",
        "a StorageBackend selects no node",
        "kubectl get nodes --show-labels; correct spec.nodeSelector, or label a node",
        Probe::Rule(without_nodes),
    ),
    Check::warning(
        "backend-being-deleted",
        "a StorageBackend waits for its volumes before it is deleted",
        "kubectl flexlvm tree --backend NAME lists the claims; delete them, or create the backend again afterwards",
        Probe::Rule(being_deleted),
    ),
    Check::warning(
        "backend-full",
        "a StorageBackend has no space on any of its nodes",
        "kubectl flexlvm status shows the nodes; remove claims, or vgextend a volume group",
        Probe::Rule(full),
    ),
    Check::warning(
        "backend-not-observed",
        "the controller has not written the status of a StorageBackend",
        "kubectl -n flexlvm-system logs deployment/flexlvm-controller",
        Probe::Rule(not_observed),
    ),
];

/// Returns the faults of backends that exist and are not being deleted.
fn each(facts: &Facts<'_>, fault: impl Fn(&str, &StorageBackend) -> Option<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, backend) in &facts.snapshot.backends {
        if backend.metadata.deletion_timestamp.is_some() {
            continue;
        }
        if let Some(detail) = fault(name, backend) {
            faults.push(Fault::new(
                format!("storagebackend.flexlvm.dev/{name}"),
                detail,
            ));
        }
    }
    faults
}

fn invalid(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |_, backend| {
        backend.spec.validate().err().map(|error| error.to_string())
    })
}

/// Finds what the controller reports of backends that are valid by themselves.
fn conflicts(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |_, backend| {
        let ready = condition::get(backend_conditions(backend), READY)?;
        let is_conflict = ready.status != "True" && ready.reason == reason::INVALID_SPEC;
        let is_valid = backend.spec.validate().is_ok();
        (is_conflict && is_valid).then(|| ready.message.clone())
    })
}

fn without_nodes(facts: &Facts<'_>) -> Vec<Fault> {
    if !facts.snapshot.is_readable(Kind::Nodes) {
        return Vec::new();
    }
    each(facts, |_, backend| {
        let mut nodes = facts.snapshot.nodes.values();
        if nodes.any(|node| facts.serves(backend, node)) {
            return None;
        }
        let nodes = facts.snapshot.nodes.len();
        Some(format!(
            "none of {nodes} nodes is selected and has an agent"
        ))
    })
}

fn being_deleted(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, backend) in &facts.snapshot.backends {
        if backend.metadata.deletion_timestamp.is_none() {
            continue;
        }
        let volumes = facts.snapshot.logical_volumes.values();
        let volumes = volumes
            .filter(|volume| volume.spec.backend == *name)
            .count();
        let detail = format!("it has {volumes} volumes");
        faults.push(Fault::new(
            format!("storagebackend.flexlvm.dev/{name}"),
            detail,
        ));
    }
    faults
}

/// Finds backends whose usable nodes have too little space for even the smallest volume.
fn full(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |name, backend| {
        let mut usable = 0;
        let mut free = Bytes(0);
        for place in &facts.places {
            if place.backend.metadata.name.as_deref() != Some(name) {
                continue;
            }
            if let Ok(space) = &place.space {
                usable += 1;
                let volumes = space.largest_volumes(&backend.spec);
                free = free.max(volumes.first().copied().unwrap_or_default());
            }
        }
        let minimum = backend.spec.limits().map_or(0, |limits| limits.minimum);
        let filesystem = backend.spec.filesystem.as_ref();
        let type_ = filesystem
            .map(|filesystem| filesystem.type_)
            .unwrap_or_default();
        let smallest = Bytes(minimum.max(type_.smallest_volume()));
        (usable > 0 && free < smallest).then(|| {
            format!(
                "the largest volume that fits on its {usable} usable nodes has {}, the smallest needs {}",
                crds::quantity::human(free),
                crds::quantity::human(smallest)
            )
        })
    })
}

fn not_observed(facts: &Facts<'_>) -> Vec<Fault> {
    let has_controller = facts.snapshot.ready_controllers() > Some(0);
    if !has_controller {
        return Vec::new();
    }
    each(facts, |_, backend| {
        let status = backend.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation);
        let is_old = age(&backend.metadata, facts.snapshot.now) > STATUS_SECONDS;
        (is_old && observed < backend.metadata.generation).then(|| {
            format!(
                "its status is of generation {}, its spec of {}",
                observed.unwrap_or_default(),
                backend.metadata.generation.unwrap_or_default()
            )
        })
    })
}
