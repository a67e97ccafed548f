//! Decides whether a claim on a cordoned node is released. Pure.

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use placement::node_loss::RELEASE_ON_DRAIN;

/// A claim whose volume is on a cordoned node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainedClaim {
    /// Namespace of the claim.
    pub namespace: String,
    /// Name of the claim.
    pub name: String,
    /// UID of the claim.
    pub uid: String,
    /// Name of the node.
    pub node: String,
}

/// Returns whether the claim has the annotation, and is not being deleted yet.
#[must_use]
pub fn may_be_released(claim: &PersistentVolumeClaim) -> bool {
    let allows = claim.annotations().get(RELEASE_ON_DRAIN);
    allows.is_some_and(|value| value == "true") && claim.metadata.deletion_timestamp.is_none()
}

/// Returns whether the scheduler places no new pods on the node.
#[must_use]
pub fn is_cordoned(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    spec.is_some_and(|spec| spec.unschedulable == Some(true))
}

/// Returns whether the pod that used the claim was evicted: a pod of a StatefulSet waits for a
/// node, and no pod on a node uses the claim.
///
/// Without a waiting pod the claim is not needed on another node: the StatefulSet was scaled down.
#[must_use]
pub fn is_evicted(claim: &str, pods: &[Pod]) -> bool {
    let mut waits = false;
    for pod in pods.iter().filter(|pod| uses(pod, claim)) {
        if is_on_node(pod) {
            return false;
        }
        waits |= is_of_stateful_set(pod) && pod.metadata.deletion_timestamp.is_none();
    }
    waits
}

fn uses(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let mut volumes = volumes.into_iter().flatten();
    volumes.any(|volume| {
        let source = volume.persistent_volume_claim.as_ref();
        source.is_some_and(|source| source.claim_name == claim)
    })
}

fn is_on_node(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.is_some_and(|node| !node.is_empty())
}

fn is_of_stateful_set(pod: &Pod) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.kind == "StatefulSet" && owner.controller == Some(true))
}

#[cfg(test)]
mod tests {
    use super::{is_evicted, may_be_released};
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    fn pod(claim: &str, node: Value, owner: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "db-0", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": owner, "name": "db", "uid": "1", "controller": true}]},
            "spec": {"nodeName": node, "containers": [], "volumes": [{"name": "data",
                "persistentVolumeClaim": {"claimName": claim}}]}}))
        .unwrap()
    }

    #[test]
    fn claim_is_evicted_if_only_waiting_pods_of_a_stateful_set_use_it() {
        let waiting = pod("data-db-0", json!(null), "StatefulSet");
        let running = pod("data-db-0", json!("n1"), "StatefulSet");
        let other = pod("data-db-1", json!("n1"), "StatefulSet");
        let of_deployment = pod("data-db-0", json!(null), "ReplicaSet");
        for (pods, expected) in [
            (vec![waiting.clone(), other.clone()], true),
            (vec![waiting.clone(), running.clone()], false),
            (vec![running], false),
            (vec![other], false),
            (vec![of_deployment], false),
            (vec![], false),
        ] {
            assert_eq!(is_evicted("data-db-0", &pods), expected, "{pods:?}");
        }
    }

    #[test]
    fn only_the_annotation_true_allows_a_release() {
        for (annotations, deleted, expected) in [
            (
                json!({"flexlvm.dev/release-on-drain": "true"}),
                json!(null),
                true,
            ),
            (
                json!({"flexlvm.dev/release-on-drain": "false"}),
                json!(null),
                false,
            ),
            (json!({}), json!(null), false),
            (
                json!({"flexlvm.dev/release-on-drain": "true"}),
                json!("2026-01-01T00:00:00Z"),
                false,
            ),
        ] {
            let claim = serde_json::from_value(json!({"metadata": {"name": "data",
                "annotations": annotations, "deletionTimestamp": deleted}}));
            assert_eq!(may_be_released(&claim.unwrap()), expected, "{annotations}");
        }
    }
}
