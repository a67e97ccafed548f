//! Short facts about objects of Kubernetes and FlexLVM. Pure.

use crds::{LogicalVolume, NodeStorage, StorageBackend, quantity};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::ResourceExt as _;

/// Returns the conditions of a LogicalVolume.
#[must_use]
pub fn volume_conditions(volume: &LogicalVolume) -> &[Condition] {
    let status = volume.status.as_ref();
    status.map_or(&[], |status| &status.conditions)
}

/// Returns the conditions of a NodeStorage.
#[must_use]
pub fn storage_conditions(storage: &NodeStorage) -> &[Condition] {
    let status = storage.status.as_ref();
    status.map_or(&[], |status| &status.conditions)
}

/// Returns the conditions of a StorageBackend.
#[must_use]
pub fn backend_conditions(backend: &StorageBackend) -> &[Condition] {
    let status = backend.status.as_ref();
    status.map_or(&[], |status| &status.conditions)
}

/// Returns a quantity in a readable unit, as in `9.5 GiB`.
#[must_use]
pub fn human(quantity: &Quantity) -> String {
    match quantity::parse(quantity) {
        Ok(bytes) => quantity::human(bytes),
        Err(_) => quantity.0.clone(),
    }
}

/// Returns a number with its noun, as in `1 fault`, `2 faults`.
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Returns the age of an object in seconds; 0 if its creation time is unknown.
#[must_use]
pub fn age(metadata: &ObjectMeta, now: Timestamp) -> i64 {
    let created = metadata.creation_timestamp.as_ref();
    created.map_or(0, |created| now.duration_since(created.0).as_secs())
}

/// Returns the phase of a claim; empty if it has none yet.
#[must_use]
pub fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    let status = claim.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    phase.unwrap_or_default()
}

/// Returns the name of the volume that a claim is bound to, or is about to be bound to.
#[must_use]
pub fn bound_volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    let spec = claim.spec.as_ref()?;
    spec.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// Returns the phase of a PersistentVolume.
#[must_use]
pub fn volume_phase(volume: &PersistentVolume) -> &str {
    let status = volume.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    phase.unwrap_or_default()
}

/// Returns an option that a PersistentVolume passes to the driver.
#[must_use]
pub fn option<'a>(volume: &'a PersistentVolume, key: &str) -> Option<&'a str> {
    let source = volume.spec.as_ref()?.flex_volume.as_ref()?;
    source.options.as_ref()?.get(key).map(String::as_str)
}

/// Returns the hostname labels that the affinity of a PersistentVolume allows.
#[must_use]
pub fn affinity_hosts(volume: &PersistentVolume) -> Vec<&str> {
    let affinity = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    let terms = required
        .into_iter()
        .flat_map(|required| &required.node_selector_terms);
    terms
        .flat_map(|term| term.match_expressions.iter().flatten())
        .filter(|expression| expression.key == placement::filter::HOSTNAME_LABEL)
        .flat_map(|expression| expression.values.iter().flatten())
        .map(String::as_str)
        .collect()
}

/// Returns the names of the claims that a pod uses.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let claim = volume.persistent_volume_claim.as_ref()?;
        Some(claim.claim_name.as_str())
    })
}

/// Returns the phase of a pod.
#[must_use]
pub fn pod_phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    phase.unwrap_or_default()
}

/// Returns the node that a pod is bound to.
#[must_use]
pub fn pod_node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Returns true if a pod's condition `Ready` is true.
#[must_use]
pub fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Returns why a pod's first waiting container waits, as in `ImagePullBackOff`.
#[must_use]
pub fn pod_waits_for(pod: &Pod) -> Option<&str> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find_map(|status| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        waiting.reason.as_deref()
    })
}

/// Returns the value of a node's hostname label.
#[must_use]
pub fn hostname(node: &Node) -> Option<&str> {
    let labels = node.labels();
    labels
        .get(placement::filter::HOSTNAME_LABEL)
        .map(String::as_str)
}

/// Returns true if the node is cordoned.
#[must_use]
pub fn is_cordoned(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    spec.and_then(|spec| spec.unschedulable) == Some(true)
}
