//! Which nodes changed in what decides whether they are lost: their volumes are planned again.

use std::collections::HashMap;
use std::sync::PoisonError;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use placement::{filter, node_loss};

use super::ClusterState;

/// What decides whether a node is lost, by the node's name.
pub(super) type NodeMarks = HashMap<String, NodeMark>;

/// What decides whether a node is lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NodeMark {
    uid: Option<String>,
    is_up: bool,
    is_out_of_service: bool,
}

impl NodeMark {
    fn of(node: &Node) -> Self {
        Self {
            uid: node.uid(),
            is_up: filter::is_up(node),
            is_out_of_service: node_loss::is_out_of_service(node),
        }
    }
}

impl ClusterState {
    /// Handles a change of a node: waiting volumes may proceed, and its own volumes may be lost, or
    /// back.
    pub(super) fn node_changed(&self, event: &Event<Node>) {
        self.placement_input_changed(event);
        let changed = self.update_marks(event);
        if changed.is_empty() {
            return;
        }
        for volume in self.logical_volumes.state() {
            if changed.contains(&volume.spec.node) {
                self.queue.enqueue(&volume.name_any());
            }
        }
    }

    /// Records the nodes as they are now; returns the names of those that changed.
    fn update_marks(&self, event: &Event<Node>) -> Vec<String> {
        let mut marks = self
            .node_marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(node) => {
                let mark = NodeMark::of(node);
                let name = node.name_any();
                if marks.get(&name) == Some(&mark) {
                    return Vec::new();
                }
                marks.insert(name.clone(), mark);
                vec![name]
            }
            Event::Delete(node) => {
                marks.remove(&node.name_any());
                vec![node.name_any()]
            }
            Event::Init | Event::InitApply(_) => Vec::new(),
            Event::InitDone => {
                let nodes = self.nodes.state();
                let now: NodeMarks = nodes
                    .iter()
                    .map(|node| (node.name_any(), NodeMark::of(node)))
                    .collect();
                let all = now.keys().chain(marks.keys());
                let changed = all.filter(|name| now.get(*name) != marks.get(*name));
                let changed = changed.cloned().collect();
                *marks = now;
                changed
            }
        }
    }
}
