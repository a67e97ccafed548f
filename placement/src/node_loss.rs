//! Whether the node of a volume is lost. Pure.
//!
//! A Node is identified by its uid: another one of the same name may have other disks, or the same.

use std::fmt;

use crds::condition::{self, READY, REMOVED, reason};
use crds::node_storage::DeviationKind;
use crds::{LogicalVolume, NodeStorage};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;

use crate::filter;

/// Taint that an admin sets on a node that is shut down and does not come back soon. Kubernetes
/// then deletes its pods without waiting for its kubelet.
pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Annotation of a claim: `true` lets the controller delete the claim once its pod, of a
/// StatefulSet, was evicted from a cordoned node.
pub const RELEASE_ON_DRAIN: &str = "flexlvm.dev/release-on-drain";

/// How a node was lost.
///
/// Each is the statement of an admin or of a cloud's controller, or is verified by an agent. A node
/// that is only not Ready is not lost: it can come back with its pods still running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeLoss {
    /// The Node object does not exist.
    Deleted,
    /// The node is not Ready and has the taint [`OUT_OF_SERVICE`].
    OutOfService,
    /// Another Node has its name, and the agent there does not find the logical volume.
    Replaced,
}

impl NodeLoss {
    /// Returns whether the node of a volume is lost.
    #[must_use]
    pub fn judge(
        logical_volume: &LogicalVolume,
        node: Option<&Node>,
        storage: Option<&NodeStorage>,
    ) -> Option<Self> {
        let Some(node) = node else {
            return Some(Self::Deleted);
        };
        if is_out_of_service(node) {
            return Some(Self::OutOfService);
        }
        let is_replaced = is_other_node(logical_volume, node)
            && storage.is_some_and(|storage| is_report_of(storage, node))
            && is_reported_missing(logical_volume);
        is_replaced.then_some(Self::Replaced)
    }
}

/// How the node was lost, as the end of a sentence about it.
impl fmt::Display for NodeLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "is gone",
            Self::OutOfService => "is out of service",
            Self::Replaced => "was replaced by another one without the volume",
        })
    }
}

/// Returns whether the node is not Ready and has the taint [`OUT_OF_SERVICE`].
///
/// Kubernetes, too, ignores the taint while the node is Ready.
#[must_use]
pub fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let mut taints = taints.into_iter().flatten();
    !filter::is_up(node) && taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Returns whether the agent found the logical volume on another Node than this one.
fn is_other_node(logical_volume: &LogicalVolume, node: &Node) -> bool {
    let status = logical_volume.status.as_ref();
    match (
        status.and_then(|status| status.node_uid.as_ref()),
        node.metadata.uid.as_ref(),
    ) {
        (Some(found_on), Some(uid)) => found_on != uid,
        // An agent of an earlier version has found it.
        _ => false,
    }
}

/// Returns whether the agent found the logical volume on this Node, as far as it has reported.
#[must_use]
pub fn is_found_on(logical_volume: &LogicalVolume, node: &Node) -> bool {
    let status = logical_volume.status.as_ref();
    status.is_some_and(|status| status.node_uid.is_some() && status.node_uid == node.metadata.uid)
        && !is_reported_missing(logical_volume)
}

/// Returns whether the agent of this very Node has written the report.
#[must_use]
pub fn is_report_of(storage: &NodeStorage, node: &Node) -> bool {
    let owners = storage.metadata.owner_references.iter().flatten();
    owners
        .into_iter()
        .any(|owner| owner.kind == "Node" && Some(&owner.uid) == node.metadata.uid.as_ref())
}

/// Returns whether an agent does not find the logical volume, or its volume group.
#[must_use]
pub fn is_reported_missing(logical_volume: &LogicalVolume) -> bool {
    let Some(status) = &logical_volume.status else {
        return false;
    };
    let missing = [reason::LOGICAL_VOLUME_MISSING, reason::VOLUME_GROUP_MISSING];
    condition::is_true(&status.conditions, REMOVED)
        || [READY, REMOVED].into_iter().any(|type_| {
            condition::get(&status.conditions, type_).is_some_and(|condition| {
                condition.status != "True" && missing.contains(&condition.reason.as_str())
            })
        })
}

/// Returns whether the report of a node lists the logical volume as missing.
#[must_use]
pub fn lists_as_missing(storage: &NodeStorage, logical_volume: &LogicalVolume) -> bool {
    let deviations = storage.status.iter().flat_map(|status| &status.deviations);
    let name = logical_volume.name_any();
    deviations.into_iter().any(|deviation| {
        deviation.kind == DeviationKind::Missing
            && deviation.name == name
            && deviation.volume_group == logical_volume.spec.volume_group
    })
}

#[cfg(test)]
mod tests {
    use super::{NodeLoss, OUT_OF_SERVICE, is_found_on};
    use crds::{LogicalVolume, NodeStorage};
    use k8s_openapi::api::core::v1::Node;
    use serde_json::{Value, json};

    fn node(uid: &str, ready: &str, taints: &Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1", "uid": uid},
            "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap()
    }

    /// Returns the report of the agent on the Node with this uid.
    fn storage(owner: &str) -> NodeStorage {
        serde_json::from_value(
            json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage",
            "metadata": {"name": "n1", "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": owner}]},
            "spec": {}, "status": {}}),
        )
        .unwrap()
    }

    /// Returns a volume that was found on the Node with this uid, with this reason of `Ready`.
    fn volume(node_uid: Option<&str>, reason: &str) -> LogicalVolume {
        let status = if reason == "Ready" { "True" } else { "False" };
        serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": "pvc-1"},
            "spec": {"node": "n1", "backend": "b", "volumeGroup": "vg0", "size": "1Gi", "storageClass": "s",
                "claim": {"namespace": "d", "name": "c", "uid": "1"}, "reclaimPolicy": "Delete",
                "keyDigest": "0", "filesystem": {"type": "ext4"}},
            "status": {"nodeUid": node_uid, "conditions": [{"type": "Ready", "status": status,
                "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .unwrap()
    }

    #[test]
    fn node_is_lost_if_it_is_deleted_or_out_of_service_and_not_if_it_is_only_not_ready() {
        let volume = volume(Some("1"), "Ready");
        let judge = |node: Option<&Node>| NodeLoss::judge(&volume, node, Some(&storage("1")));
        let taints = json!([{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]);
        assert_eq!(judge(None), Some(NodeLoss::Deleted));
        for (ready, taints, lost) in [
            ("True", json!([]), None),
            ("Unknown", json!([]), None),
            (
                "False",
                json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]),
                None,
            ),
            ("True", taints.clone(), None),
            ("Unknown", taints, Some(NodeLoss::OutOfService)),
        ] {
            assert_eq!(
                judge(Some(&node("1", ready, &taints))),
                lost,
                "{ready} {taints}"
            );
        }
    }

    #[test]
    fn other_node_of_the_name_replaces_it_only_if_its_agent_misses_the_volume() {
        let other = node("2", "True", &json!([]));
        for (found_on, reason, reporter, lost) in [
            (
                Some("1"),
                "LogicalVolumeMissing",
                "2",
                Some(NodeLoss::Replaced),
            ),
            (
                Some("1"),
                "VolumeGroupMissing",
                "2",
                Some(NodeLoss::Replaced),
            ),
            // Its disks are the same, or the former agent has reported, or none yet.
            (Some("1"), "Ready", "2", None),
            (Some("1"), "Failed", "2", None),
            (Some("1"), "LogicalVolumeMissing", "1", None),
            // The same Node lost a disk, or an agent of an earlier version found the volume.
            (Some("2"), "LogicalVolumeMissing", "2", None),
            (None, "LogicalVolumeMissing", "2", None),
        ] {
            let volume = volume(found_on, reason);
            assert_eq!(
                NodeLoss::judge(&volume, Some(&other), Some(&storage(reporter))),
                lost,
                "{found_on:?} {reason} {reporter}"
            );
        }
        let missing = volume(Some("1"), "LogicalVolumeMissing");
        assert_eq!(NodeLoss::judge(&missing, Some(&other), None), None);
    }

    #[test]
    fn volume_is_found_on_the_node_that_its_agent_names() {
        let returned = node("2", "True", &json!([]));
        assert!(is_found_on(&volume(Some("2"), "Abandoned"), &returned));
        assert!(!is_found_on(&volume(Some("1"), "Ready"), &returned));
        assert!(!is_found_on(
            &volume(Some("2"), "LogicalVolumeMissing"),
            &returned
        ));
        assert!(!is_found_on(&volume(None, "Ready"), &returned));
    }
}
