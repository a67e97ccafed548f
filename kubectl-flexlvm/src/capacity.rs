//! `capacity`: whether volumes of a size fit, and where: the controller's own placement, one volume
//! after the other. Pure.

use std::collections::BTreeMap;

use crds::layout::LayoutType;
use crds::{StorageBackend, quantity};
use k8s_openapi::api::core::v1::TopologySelectorTerm;
use kube::ResourceExt as _;
use placement::choose::{self, Choice};
use placement::fit::free_space_for;
use placement::request::{Candidate, PlacementRequest};
use placement::reservations::Reservations;
use serde::Serialize;
use storage_model::Bytes;

use crate::output::Report;
use crate::snapshot::Snapshot;
use crate::table::Table;

/// What a user requests.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Size of each volume; `None` for an overview of what fits.
    pub size: Option<Bytes>,
    /// Number of volumes.
    pub count: usize,
    /// Only this backend.
    pub backend: Option<String>,
    /// Only backends of this layout.
    pub layout: Option<LayoutType>,
    /// Only this node, as if the scheduler had selected it.
    pub node: Option<String>,
    /// Terms of which one must allow the node, from a class.
    pub topologies: Vec<TopologySelectorTerm>,
}

/// The answer for all backends that match.
#[derive(Debug, Serialize)]
pub struct Capacity {
    /// Whether one of the backends has the space, if a size was given.
    pub fits: bool,
    /// One answer per backend.
    pub backends: Vec<BackendCapacity>,
}

/// The answer for a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendCapacity {
    /// The backend.
    pub backend: String,
    /// Its layout.
    pub layout: &'static str,
    /// The size of each volume, rounded up as the controller does; empty without a size.
    pub size: String,
    /// The nodes of the volumes that fit, in order.
    pub nodes: Vec<String>,
    /// Number of volumes that were requested.
    pub requested: usize,
    /// Why the next volume does not fit.
    pub rejection: Option<String>,
    /// The largest single volume of each node, without a size.
    pub largest: Vec<NodeCapacity>,
}

/// What fits on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeCapacity {
    /// The node.
    pub node: String,
    /// The largest volume that fits; empty if the node is rejected.
    pub largest: String,
    /// Total size of the largest volumes that fit one after the other.
    pub total: String,
    /// Why the node can't hold a volume.
    pub rejection: Option<String>,
}

/// Answers a question.
#[must_use]
pub fn answer(snapshot: &Snapshot, question: &Question) -> Capacity {
    let candidates = snapshot.candidates();
    let mut backends = Vec::new();
    for (name, backend) in &snapshot.backends {
        let is_named = question.backend.as_ref().is_none_or(|it| it == name);
        let has_layout = question
            .layout
            .is_none_or(|it| it == backend.spec.layout.type_);
        if !is_named || !has_layout {
            continue;
        }
        // Each backend is an alternative, so each one starts with what is reserved now.
        let reservations = snapshot.reservations();
        backends.push(match question.size {
            Some(size) => place(backend, size, question, &candidates, reservations),
            None => overview(backend, &candidates, &reservations),
        });
    }
    let fits = backends.iter().any(|it| it.nodes.len() >= it.requested);
    Capacity {
        fits: fits || question.size.is_none(),
        backends,
    }
}

/// Places volumes one after the other, as the controller does with as many claims.
fn place(
    backend: &StorageBackend,
    size: Bytes,
    question: &Question,
    candidates: &[Candidate<'_>],
    mut reservations: Reservations,
) -> BackendCapacity {
    let mut answer = BackendCapacity {
        backend: backend.name_any(),
        layout: backend.spec.layout.type_.as_str(),
        size: String::new(),
        nodes: Vec::new(),
        requested: question.count,
        rejection: None,
        largest: Vec::new(),
    };
    let limits = match backend.spec.validate().and_then(|()| backend.spec.limits()) {
        Ok(limits) => limits,
        Err(error) => {
            answer.rejection = Some(error.to_string());
            return answer;
        }
    };
    let type_ = backend.spec.filesystem.as_ref().map(|it| it.type_);
    let smallest = type_.unwrap_or_default().smallest_volume();
    let size = size.max(Bytes(limits.minimum)).max(Bytes(smallest));
    answer.size = quantity::human(size);
    if size > Bytes(limits.maximum) {
        let maximum = quantity::human(limits.maximum);
        answer.rejection = Some(format!("volumeSize.maximum is {maximum}"));
        return answer;
    }
    let request = PlacementRequest {
        backend,
        size,
        selected: question.node.as_deref(),
        topologies: &question.topologies,
    };
    for number in 0..question.count {
        match choose::choose(&request, candidates, &reservations) {
            Choice::Here(fit) => {
                // A name that no volume has: volumes are named after uids.
                let name = format!("capacity/{number}");
                reservations.reserve(&name, &fit.location, fit.reservation.clone());
                answer.nodes.push(fit.location.node.clone());
            }
            Choice::Elsewhere(message) | Choice::Nowhere(message) => {
                answer.rejection = Some(message);
                break;
            }
        }
    }
    answer
}

/// Returns the largest volumes of a backend on each node.
fn overview(
    backend: &StorageBackend,
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
) -> BackendCapacity {
    let mut largest = Vec::new();
    for candidate in candidates {
        let labels = candidate.node.labels();
        if !backend.spec.node_selector.matches(labels) {
            continue;
        }
        let node = candidate.node.name_any();
        largest.push(match free_space_for(backend, *candidate, reservations) {
            Ok(space) => {
                let volumes = space.largest_volumes(&backend.spec);
                let total: Bytes = volumes.iter().copied().sum();
                NodeCapacity {
                    node,
                    largest: quantity::human(volumes.first().copied().unwrap_or_default()),
                    total: quantity::human(total),
                    rejection: None,
                }
            }
            Err(rejection) => NodeCapacity {
                node,
                largest: String::new(),
                total: String::new(),
                rejection: Some(rejection.to_string()),
            },
        });
    }
    BackendCapacity {
        backend: backend.name_any(),
        layout: backend.spec.layout.type_.as_str(),
        size: String::new(),
        nodes: Vec::new(),
        requested: 0,
        rejection: None,
        largest,
    }
}

/// Returns how many volumes each node gets, as in `n1 (2), n2`.
fn per_node(nodes: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes {
        *counts.entry(node).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(node, count)| match count {
            1 => node.to_owned(),
            _ => format!("{node} ({count})"),
        })
        .collect();
    counts.join(", ")
}

impl Capacity {
    fn overview_text(&self) -> String {
        let mut table = Table::new(&["BACKEND", "LAYOUT", "NODE", "LARGEST", "TOTAL", "REASON"]);
        for backend in &self.backends {
            for node in &backend.largest {
                table.row([
                    backend.backend.clone(),
                    backend.layout.to_owned(),
                    node.node.clone(),
                    node.largest.clone(),
                    node.total.clone(),
                    node.rejection.clone().unwrap_or_default(),
                ]);
            }
        }
        table.render()
    }

    /// Returns the last line.
    fn verdict(&self) -> String {
        if self.backends.is_empty() {
            return "no StorageBackend matches".to_owned();
        }
        let mut fitting = self.backends.iter();
        if let Some(first) = fitting.find(|it| it.nodes.len() >= it.requested) {
            return format!(
                "yes: {} × {} from StorageBackend {}, on {}",
                first.requested,
                first.size,
                first.backend,
                per_node(&first.nodes)
            );
        }
        let best = self.backends.iter().map(|it| it.nodes.len()).max();
        format!("no: at most {} of them fit", best.unwrap_or_default())
    }
}

impl Report for Capacity {
    fn text(&self, _wide: bool) -> String {
        let is_overview = self.backends.iter().all(|it| it.requested == 0);
        if is_overview && !self.backends.is_empty() {
            return self.overview_text();
        }
        let mut table = Table::new(&["BACKEND", "LAYOUT", "SIZE", "FIT", "NODES", "REASON"]);
        for backend in &self.backends {
            table.row([
                backend.backend.clone(),
                backend.layout.to_owned(),
                backend.size.clone(),
                format!("{}/{}", backend.nodes.len(), backend.requested),
                per_node(&backend.nodes),
                backend.rejection.clone().unwrap_or_default(),
            ]);
        }
        format!("{}{}\n", table.render(), self.verdict())
    }

    fn names(&self) -> Vec<String> {
        let nodes = self.backends.iter().flat_map(|it| &it.nodes);
        nodes.map(|node| format!("node/{node}")).collect()
    }

    fn is_good(&self) -> bool {
        self.fits && !self.backends.is_empty()
    }
}

#[cfg(test)]
mod tests;
