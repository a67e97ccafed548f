//! A placement request, and the candidate nodes. Pure.

use std::time::Duration;

use crds::{NodeStorage, StorageBackend};
use k8s_openapi::api::core::v1::{Node, TopologySelectorTerm};
use storage_model::Bytes;

/// A request to place a volume.
#[derive(Clone, Copy, Debug)]
pub struct PlacementRequest<'a> {
    /// The backend of the volume's class.
    pub backend: &'a StorageBackend,
    /// Minimum size of the volume.
    pub size: Bytes,
    /// The node that the scheduler selected; no other is considered.
    pub selected: Option<&'a str>,
    /// The class's `allowedTopologies`; empty allows all nodes. Ignored if `selected` is set: the
    /// scheduler has applied them.
    pub topologies: &'a [TopologySelectorTerm],
}

/// A node that may hold a volume.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a Node,
    /// The report of its agent; `None` before the first one.
    pub storage: Option<&'a NodeStorage>,
    /// Time without a report, if the agent is silent; `None` while it reports.
    pub silent_for: Option<Duration>,
}
