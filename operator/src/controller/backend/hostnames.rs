//! Detects nodes that share a hostname label, by which PersistentVolumes name their node. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use placement::filter::HOSTNAME_LABEL;
use placement::request::Candidate;

use super::bounded;

/// Returns the message about a node of the backend whose label another node of the cluster has, too.
///
/// The scheduler then starts pods of a volume on either of them, and the other one doesn't have the
/// volume.
#[must_use]
pub(super) fn conflict(
    candidates: &[Candidate<'_>],
    is_selected: impl Fn(&Node) -> bool,
) -> Option<String> {
    let mut nodes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for candidate in candidates {
        if let Some(hostname) = candidate.node.labels().get(HOSTNAME_LABEL) {
            nodes
                .entry(hostname)
                .or_default()
                .insert(candidate.node.name_any());
        }
    }
    let selected: BTreeSet<String> = candidates
        .iter()
        .filter(|candidate| is_selected(candidate.node))
        .map(|candidate| candidate.node.name_any())
        .collect();
    let (hostname, names) = nodes
        .into_iter()
        .find(|(_, names)| names.len() > 1 && !names.is_disjoint(&selected))?;
    let names: Vec<String> = names.into_iter().collect();
    Some(format!(
        "nodes {} have the same label {HOSTNAME_LABEL}={hostname}, by which PersistentVolumes name their node: a pod may start \
         where its volume is not; give each node its own value",
        bounded::join(&names, " and ")
    ))
}

#[cfg(test)]
mod tests {
    use super::conflict;
    use k8s_openapi::api::core::v1::Node;
    use kube::ResourceExt as _;
    use placement::request::Candidate;
    use serde_json::json;

    fn node(name: &str, hostname: &str) -> Node {
        let labels = json!({"kubernetes.io/hostname": hostname});
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    }

    /// Returns the conflict among these nodes, for a backend that selects those named.
    fn conflict_of(nodes: &[Node], selected: &[&str]) -> Option<String> {
        let candidates: Vec<Candidate<'_>> = nodes
            .iter()
            .map(|node| Candidate {
                node,
                storage: None,
                silent_for: None,
            })
            .collect();
        conflict(&candidates, |node| {
            selected.contains(&node.name_any().as_str())
        })
    }

    #[test]
    fn shared_label_of_a_selected_node_is_reported() {
        let mut nodes = vec![node("a", "x"), node("b", "y"), node("c", "x")];
        for selected in [&["a"][..], &["c", "b"]] {
            let message = conflict_of(&nodes, selected).unwrap();
            assert!(
                message.starts_with(
                    "nodes a and c have the same label kubernetes.io/hostname=x, by which"
                ),
                "{message}"
            );
        }
        assert_eq!(conflict_of(&nodes, &["b"]), None);
        nodes.pop();
        assert_eq!(conflict_of(&nodes, &["a", "b"]), None);
    }
}
