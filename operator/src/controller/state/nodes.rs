//! The nodes with the reports of their agents, and which agents are silent.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crds::{LogicalVolume, NodeStorage};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use placement::request;
use tokio::time::sleep;

use super::ClusterState;
use super::agents::AgentReports;

/// Interval at which the controller looks for agents that became silent: it costs no request.
const SILENCE_INTERVAL: Duration = Duration::from_secs(5);

/// A node with its agent's report.
#[derive(Clone, Debug)]
pub struct ObservedNode {
    /// The node.
    pub node: Arc<Node>,
    /// The report of its agent; `None` before the first one.
    pub storage: Option<Arc<NodeStorage>>,
    /// Time without a report, if the agent is silent.
    pub silent_for: Option<Duration>,
}

impl ClusterState {
    /// Returns every node with its report.
    #[must_use]
    pub fn candidates(&self) -> Vec<ObservedNode> {
        let mut candidates = Vec::new();
        let silent = self.lock_silent();
        for node in self.nodes.state() {
            let name = node.name_any();
            candidates.push(ObservedNode {
                node,
                storage: self.storages.get(&ObjectRef::new(&name)),
                silent_for: silent.get(&name).copied(),
            });
        }
        candidates
    }

    /// Borrows the result of [`ClusterState::candidates`] as candidates for a placement.
    #[must_use]
    pub fn borrow(candidates: &[ObservedNode]) -> Vec<request::Candidate<'_>> {
        candidates
            .iter()
            .map(|observed| request::Candidate {
                node: &observed.node,
                storage: observed.storage.as_deref(),
                silent_for: observed.silent_for,
            })
            .collect()
    }

    /// Keeps the silent agents current; never returns.
    pub(super) async fn follow_agents(self: Arc<Self>) {
        loop {
            sleep(SILENCE_INTERVAL).await;
            self.update_silent(Instant::now());
        }
    }

    /// Computes which agents are silent. If that has changed, waiting claims and published capacity
    /// depend on it.
    fn update_silent(&self, now: Instant) {
        let silent = self.lock_agents().silent(now);
        let old = mem::replace(&mut *self.lock_silent(), silent.clone());
        let mut is_changed = old.len() != silent.len();
        for node in silent.keys().filter(|node| !old.contains_key(*node)) {
            is_changed = true;
            tracing::warn!(
                node,
                "the agent no longer reports: the node gets no new volumes"
            );
        }
        if is_changed {
            self.space_changed.send_replace(());
            self.enqueue_waiting();
        }
    }

    /// Records that the agent of a node has reported; returns true if it was silent before.
    pub(super) fn agent_reported(&self, node: &str) -> bool {
        let was_silent = self.lock_silent().remove(node).is_some();
        if was_silent {
            tracing::info!(node, "the agent reports again");
        }
        was_silent
    }

    /// Records the answer of an agent to a new LogicalVolume, if it is one.
    pub(super) fn observe_answer(&self, logical_volume: &LogicalVolume) {
        let is_answer = self
            .lock_agents()
            .observe_volume(logical_volume, Instant::now());
        if is_answer && self.agent_reported(&logical_volume.spec.node) {
            self.space_changed.send_replace(());
            self.enqueue_waiting();
        }
    }

    pub(super) fn lock_agents(&self) -> MutexGuard<'_, AgentReports> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_silent(&self) -> MutexGuard<'_, HashMap<String, Duration>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
