//! What is to be placed, and where it could go. Pure.

use crds::{NodeStorage, StorageBackend};
use k8s_openapi::api::core::v1::{Node, TopologySelectorTerm};

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct PlacementRequest<'a> {
    /// From which backend.
    pub backend: &'a StorageBackend,
    /// How many bytes at least.
    pub bytes: u64,
    /// On this node, and no other: the scheduler's choice.
    pub selected: Option<&'a str>,
    /// On a node that one of these allows; empty allows all. The scheduler has seen to it where it
    /// chose.
    pub topologies: &'a [TopologySelectorTerm],
}

/// A node that might hold a volume.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a Node,
    /// What its agent reports, if it does.
    pub storage: Option<&'a NodeStorage>,
}
