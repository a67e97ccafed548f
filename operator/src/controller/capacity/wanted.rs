//! What is to be published: for each class of ours whose claims wait for the scheduler, and each
//! node that serves its backend, how much a claim finds there. Pure. The reservations are locked
//! meanwhile.

use std::collections::BTreeMap;

use crds::StorageBackend;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;
use placement::fit::free_space_for;
use placement::request::Candidate;
use placement::reservations::Reservations;

use super::object::{self, Capacity};
use crate::controller::class::{self, Class};
use crate::kube::names;

/// The capacities to publish, by the names of their objects.
#[must_use]
pub fn wanted(
    classes: &[impl AsRef<StorageClass>],
    backends: &[impl AsRef<StorageBackend>],
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
) -> BTreeMap<String, Capacity> {
    let mut wanted = BTreeMap::new();
    for backend in backends
        .iter()
        .map(AsRef::as_ref)
        .filter(|backend| serves(backend))
    {
        let classes: Vec<(String, Class)> = classes
            .iter()
            .filter_map(|class| waiting_class(class.as_ref(), backend))
            .collect();
        if classes.is_empty() {
            continue;
        }
        for candidate in candidates {
            let Some(node_space) = node_space(backend, *candidate, reservations) else {
                continue;
            };
            for (class, rules) in &classes {
                let largest = largest_claim(node_space.largest, rules, backend);
                let total = if largest == 0 { 0 } else { node_space.total };
                let capacity = Capacity {
                    class: class.clone(),
                    host: node_space.host.clone(),
                    largest,
                    total,
                };
                wanted.insert(object::name(class, &candidate.node.name_any()), capacity);
            }
        }
    }
    wanted
}

/// Whether claims of the backend's classes are served at all.
fn serves(backend: &StorageBackend) -> bool {
    backend.metadata.deletion_timestamp.is_none() && backend.spec.fault().is_none()
}

/// The class and its name, when it is ours, names this backend, and leaves the choice of node to
/// the scheduler.
fn waiting_class(class: &StorageClass, backend: &StorageBackend) -> Option<(String, Class)> {
    if class.provisioner != crds::GROUP || class::backend_of(class) != Some(&backend.name_any()) {
        return None;
    }
    let rules = class::read(class, backend.spec.filesystem.as_ref()).ok()?;
    rules.waits_for_consumer.then(|| (class.name_any(), rules))
}

/// Room for volumes of a backend on one node.
struct NodeSpace {
    host: String,
    largest: u64,
    total: u64,
}

/// The room on a node that the backend selects and that can serve it. A cordoned node is none of
/// our business here: the scheduler knows.
fn node_space(
    backend: &StorageBackend,
    candidate: Candidate<'_>,
    reservations: &Reservations,
) -> Option<NodeSpace> {
    let labels = candidate.node.labels();
    let host = labels
        .get(names::HOSTNAME_LABEL)
        .filter(|_| backend.spec.node_selector.matches(labels))?;
    let space = free_space_for(backend, candidate, reservations).ok()?;
    let volumes = space.largest_volumes(&backend.spec);
    let total = volumes
        .iter()
        .fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
    Some(NodeSpace {
        host: host.clone(),
        largest: volumes.first().copied().unwrap_or(0),
        total,
    })
}

/// The largest claim that is served where a volume may have so many bytes; 0 when not even the
/// smallest is.
fn largest_claim(largest: u64, class: &Class, backend: &StorageBackend) -> u64 {
    let Ok((minimum, maximum)) = backend.spec.limits() else {
        return 0;
    };
    let smallest = minimum.max(class.filesystem.type_.smallest_volume());
    if smallest > largest.min(maximum) {
        0
    } else {
        largest.min(maximum)
    }
}

#[cfg(test)]
mod tests;
