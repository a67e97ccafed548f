//! Filters the nodes for a volume, independent of their free space. Pure.

use k8s_openapi::api::core::v1::{Node, TopologySelectorTerm};
use kube::ResourceExt as _;

use crate::rejection::Rejection;
use crate::request::PlacementRequest;

/// Node label that the affinity of FlexLVM's PersistentVolumes names; its value may differ from the
/// node's name.
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// Node condition that is true while the kubelet reports.
pub const NODE_READY: &str = "Ready";

/// Checks whether the node may hold the volume.
///
/// # Errors
/// The reason why it may not.
pub fn check(request: &PlacementRequest<'_>, node: &Node) -> Result<(), Rejection> {
    if !request.backend.spec.node_selector.matches(node.labels()) {
        return Err(Rejection::NotSelected);
    }
    if request.selected.is_none() && !allowed_by_topology(request.topologies, node) {
        return Err(Rejection::NotAllowed);
    }
    if request.selected.is_none()
        && node
            .spec
            .as_ref()
            .is_some_and(|spec| spec.unschedulable == Some(true))
    {
        return Err(Rejection::Cordoned);
    }
    if request.selected.is_none() && !is_up(node) {
        return Err(Rejection::NodeDown);
    }
    if !node.labels().contains_key(HOSTNAME_LABEL) {
        return Err(Rejection::NoHostname);
    }
    Ok(())
}

/// Returns false if the node's Ready condition is not true.
///
/// A node without that condition counts as up: it has just been created.
#[must_use]
pub fn is_up(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .all(|condition| condition.type_ != NODE_READY || condition.status == "True")
}

/// Returns true if one of the terms allows the node. Without terms every node is allowed.
fn allowed_by_topology(terms: &[TopologySelectorTerm], node: &Node) -> bool {
    if terms.is_empty() {
        return true;
    }
    terms.iter().any(|term| {
        term.match_label_expressions
            .iter()
            .flatten()
            .all(|expression| {
                node.labels()
                    .get(&expression.key)
                    .is_some_and(|value| expression.values.contains(value))
            })
    })
}
