//! A snapshot, with what several checks derive from it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crds::StorageBackend;
use crds::condition::{self, KUBELET_READY, READY};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use placement::filter;
use placement::fit::free_space_for;
use placement::free_space::FreeSpace;
use placement::rejection::Rejection;
use placement::reservations::Reservations;

use crate::explain::waiting::{Cause, WaitingClaim};
use crate::objects::{pod_node, storage_conditions};
use crate::snapshot::kind::Kind;
use crate::snapshot::{NAMESPACE, Snapshot};

/// A snapshot with derived facts.
pub struct Facts<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The reservations of all volumes.
    pub reservations: Reservations,
    /// What each backend finds on each node that it selects and that can report.
    pub places: Vec<Place<'a>>,
    /// Volume groups that can't be used, and that a backend or a volume needs.
    pub unusable_groups: Vec<UnusableGroup>,
    /// Why claims have no LogicalVolume, by their keys.
    pub causes: BTreeMap<&'a str, Cause>,
}

/// A backend on a node that it selects.
pub struct Place<'a> {
    /// The backend.
    pub backend: &'a StorageBackend,
    /// The node.
    pub node: &'a Node,
    /// The space for the backend's volumes, or why the node can't hold one.
    pub space: Result<FreeSpace, Rejection>,
}

/// A volume group that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableGroup {
    /// The node.
    pub node: String,
    /// The volume group.
    pub group: String,
    /// The agent's reason.
    pub reason: String,
}

impl<'a> Facts<'a> {
    /// Derives the facts.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut facts = Self {
            snapshot,
            reservations: snapshot.reservations(),
            places: Vec::new(),
            unusable_groups: Vec::new(),
            causes: BTreeMap::new(),
        };
        for (key, claim) in &snapshot.claims {
            if let Some(waiting) = WaitingClaim::new(snapshot, claim) {
                let cause = waiting.cause(&facts.reservations);
                facts.causes.insert(key, cause);
            }
        }
        facts.places = facts.places();
        facts.unusable_groups = facts.unusable_groups();
        facts
    }

    fn places(&self) -> Vec<Place<'a>> {
        let mut places = Vec::new();
        for backend in self.snapshot.backends.values() {
            let is_valid = backend.spec.validate().is_ok();
            if backend.metadata.deletion_timestamp.is_some() || !is_valid {
                continue;
            }
            for candidate in self.snapshot.candidates() {
                let name = candidate.node.name_any();
                if self.serves(backend, candidate.node) && !self.is_lost(&name) {
                    places.push(Place {
                        backend,
                        node: candidate.node,
                        space: free_space_for(backend, candidate, &self.reservations),
                    });
                }
            }
        }
        places
    }

    /// Returns true if a backend should provide volumes on a node.
    ///
    /// Without a selector, a backend applies to the nodes that run an agent.
    #[must_use]
    pub fn serves(&self, backend: &StorageBackend, node: &Node) -> bool {
        let selector = &backend.spec.node_selector;
        let has_agent = self.snapshot.storages.contains_key(&node.name_any());
        let has_selector = *selector != crds::selector::NodeSelector::default();
        selector.matches(node.labels()) && (has_selector || has_agent)
    }

    fn unusable_groups(&self) -> Vec<UnusableGroup> {
        let mut needed = BTreeSet::new();
        for place in &self.places {
            needed.insert((
                place.node.name_any(),
                place.backend.spec.volume_group.as_str(),
            ));
        }
        for volume in self.snapshot.logical_volumes.values() {
            needed.insert((volume.spec.node.clone(), volume.spec.volume_group.as_str()));
        }
        let mut unusable = Vec::new();
        for (node, storage) in &self.snapshot.storages {
            let groups = storage
                .status
                .iter()
                .flat_map(|status| &status.volume_groups);
            for group in groups {
                let Some(reason) = &group.unusable_reason else {
                    continue;
                };
                if needed.contains(&(node.clone(), group.name.as_str())) && !self.is_lost(node) {
                    unusable.push(UnusableGroup {
                        node: node.clone(),
                        group: group.name.clone(),
                        reason: reason.clone(),
                    });
                }
            }
        }
        unusable
    }

    /// Returns true if a node is gone or down: its own finding explains all about it.
    #[must_use]
    pub fn is_lost(&self, node: &str) -> bool {
        match self.snapshot.nodes.get(node) {
            Some(node) => !filter::is_up(node),
            None => self.snapshot.is_readable(Kind::Nodes),
        }
    }

    /// Returns true if LVM works on a node, as far as its agent reports.
    #[must_use]
    pub fn reports(&self, node: &str) -> bool {
        let storage = self.snapshot.storages.get(node);
        storage.is_some_and(|storage| condition::is_true(storage_conditions(storage), READY))
    }

    /// Returns true if the agent reports that the node's kubelet has not loaded the driver.
    #[must_use]
    pub fn has_unready_kubelet(&self, node: &str) -> bool {
        let storage = self.snapshot.storages.get(node);
        let conditions = storage.map(storage_conditions).unwrap_or_default();
        condition::get(conditions, KUBELET_READY).is_some_and(|ready| ready.status != "True")
    }

    /// Returns the names of the nodes that should run an agent: those that a backend selects, and
    /// those with volumes.
    #[must_use]
    pub fn storage_nodes(&self) -> BTreeSet<&'a str> {
        let mut nodes = BTreeSet::new();
        for (name, node) in &self.snapshot.nodes {
            let mut backends = self.snapshot.backends.values();
            if backends.any(|backend| self.serves(backend, node)) {
                nodes.insert(name.as_str());
            }
        }
        for volume in self.snapshot.logical_volumes.values() {
            nodes.insert(volume.spec.node.as_str());
        }
        nodes.retain(|node| !self.is_lost(node));
        nodes
    }

    /// Returns the pods of a component, `controller` or `agent`, by key.
    pub fn pods_of(&self, component: &'static str) -> impl Iterator<Item = (&'a String, &'a Pod)> {
        let pods = self.snapshot.pods.iter();
        pods.filter(move |(_, pod)| {
            let label = pod.labels().get("app.kubernetes.io/component");
            pod.namespace().as_deref() == Some(NAMESPACE)
                && label.map(String::as_str) == Some(component)
        })
    }

    /// Returns the agents' pods by node.
    #[must_use]
    pub fn agents(&self) -> BTreeMap<&'a str, &'a Pod> {
        let mut agents = BTreeMap::new();
        for (_, pod) in self.pods_of("agent") {
            if let Some(node) = pod_node(pod) {
                agents.insert(node, pod);
            }
        }
        agents
    }
}
