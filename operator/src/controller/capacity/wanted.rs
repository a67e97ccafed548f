//! Computes the capacities to publish: how much a claim finds on each node that its backend
//! selects, for each class whose claims wait for the scheduler.
//!
//! Pure. The reservations are locked meanwhile.
//!
//! A class with a fault serves no claim. Without capacities the scheduler would report on each pod
//! that nodes lack free storage, which is false. So such a class gets more capacity than any claim
//! requests: the scheduler selects a node, the controller rejects the claim with the reason, and
//! the pod's Event is that provisioning failed.

use std::collections::BTreeMap;

use crds::StorageBackend;
use host::Bytes;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;
use placement::class::{self, Class};
use placement::fit::free_space_for;
use placement::request::Candidate;
use placement::reservations::Reservations;

use super::object::{self, Capacity};
use crate::kube::names;

/// Capacity of classes that serve no claim.
const AMPLE: Bytes = Bytes(1 << 60);

/// Returns the capacities to publish, by the names of their objects. `is_lasting` returns true if
/// the fault of a class is old enough to be published.
#[must_use]
pub fn wanted(
    classes: &[impl AsRef<StorageClass>],
    backends: &[impl AsRef<StorageBackend>],
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
    mut is_lasting: impl FnMut(&str) -> bool,
) -> BTreeMap<String, Capacity> {
    let mut wanted = BTreeMap::new();
    for (class, backend) in faulty(classes, backends) {
        if is_lasting(&class) {
            wanted.extend(ample(&class, backend, candidates));
        }
    }
    for backend in backends
        .iter()
        .map(AsRef::as_ref)
        .filter(|backend| provides_volumes(backend))
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
                let total = if largest == Bytes(0) {
                    Bytes(0)
                } else {
                    node_space.total
                };
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

/// Returns the names of the classes whose claims wait for the scheduler and are all rejected, each
/// with its backend if that exists.
fn faulty<'a>(
    classes: &[impl AsRef<StorageClass>],
    backends: &'a [impl AsRef<StorageBackend>],
) -> Vec<(String, Option<&'a StorageBackend>)> {
    let mut faulty = Vec::new();
    for class in classes.iter().map(AsRef::as_ref) {
        if class.provisioner != crds::GROUP || !class::waits_for_consumer(class) {
            continue;
        }
        let named = class::backend_of(class);
        let backend = backends
            .iter()
            .map(AsRef::as_ref)
            .find(|backend| named == Some(&backend.name_any()));
        let is_accepted = backend.is_some_and(|backend| {
            provides_volumes(backend)
                && class::read(class, backend.spec.filesystem.as_ref()).is_ok()
        });
        if !is_accepted {
            faulty.push((class.name_any(), backend));
        }
    }
    faulty
}

/// Returns ample capacity of a class on each node that its backend selects; on every node if there
/// is no backend.
fn ample(
    class: &str,
    backend: Option<&StorageBackend>,
    candidates: &[Candidate<'_>],
) -> BTreeMap<String, Capacity> {
    let mut ample = BTreeMap::new();
    for candidate in candidates {
        let labels = candidate.node.labels();
        let is_selected = backend.is_none_or(|backend| backend.spec.node_selector.matches(labels));
        let Some(host) = labels.get(names::HOSTNAME_LABEL).filter(|_| is_selected) else {
            continue;
        };
        let capacity = Capacity {
            class: class.to_owned(),
            host: host.clone(),
            largest: AMPLE,
            total: AMPLE,
        };
        ample.insert(object::name(class, &candidate.node.name_any()), capacity);
    }
    ample
}

/// Returns true if the backend provides volumes at all.
fn provides_volumes(backend: &StorageBackend) -> bool {
    backend.metadata.deletion_timestamp.is_none() && backend.spec.validate().is_ok()
}

/// Returns the class and its name, if it is FlexLVM's, names this backend, and waits for the
/// scheduler.
fn waiting_class(class: &StorageClass, backend: &StorageBackend) -> Option<(String, Class)> {
    if class.provisioner != crds::GROUP || class::backend_of(class) != Some(&backend.name_any()) {
        return None;
    }
    let rules = class::read(class, backend.spec.filesystem.as_ref()).ok()?;
    rules.waits_for_consumer.then(|| (class.name_any(), rules))
}

/// Free space for volumes of a backend on one node.
struct NodeSpace {
    host: String,
    largest: Bytes,
    total: Bytes,
}

/// Returns the free space on a node that the backend selects and that can provide volumes.
///
/// Cordoned nodes count too: the scheduler filters them itself.
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
    Some(NodeSpace {
        host: host.clone(),
        largest: volumes.first().copied().unwrap_or_default(),
        total: volumes.into_iter().sum(),
    })
}

/// Returns the largest claim that fits if a volume may have the size `largest`; 0 if not even the
/// smallest does.
///
/// The backend's `volumeSize.maximum` does not count: it is not about free storage. The controller
/// rejects a larger claim with that reason, once the scheduler has selected a node.
fn largest_claim(largest: Bytes, class: &Class, backend: &StorageBackend) -> Bytes {
    let Ok(limits) = backend.spec.limits() else {
        return Bytes(0);
    };
    let smallest = limits.minimum.max(class.filesystem.type_.smallest_volume());
    if Bytes(smallest) > largest {
        Bytes(0)
    } else {
        largest
    }
}

#[cfg(test)]
mod tests;
