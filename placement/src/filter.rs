//! Which nodes come into question for a volume, whatever is free there. Pure.

use k8s_openapi::api::core::v1::{Node, TopologySelectorTerm};
use kube::ResourceExt as _;

use crate::rejection::Rejection;
use crate::request::PlacementRequest;

/// Label of a node that the affinity of our volumes names; its value may differ from the node's
/// name.
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// The condition by which a Node says that its kubelet is there.
pub const NODE_READY: &str = "Ready";

/// Whether the volume may be on this node.
///
/// # Errors
/// Why it may not.
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

/// Whether the node's own condition says nothing against it: one without any is so new that it has
/// none yet.
fn is_up(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .all(|condition| condition.type_ != NODE_READY || condition.status == "True")
}

/// True when one of the terms allows the node. No terms allow every node.
fn allowed_by_topology(terms: &[TopologySelectorTerm], node: &Node) -> bool {
    let holds = |term: &TopologySelectorTerm| {
        term.match_label_expressions
            .iter()
            .flatten()
            .all(|expression| {
                node.labels()
                    .get(&expression.key)
                    .is_some_and(|value| expression.values.contains(value))
            })
    };
    terms.is_empty() || terms.iter().any(holds)
}
