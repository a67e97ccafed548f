//! Where a volume could go, and the room that was found for it there.
//! Pure. Asked for by `place.rs`, found by `serve.rs`.

use crds::NodeStorage;
use k8s_openapi::api::core::v1::Node;

use super::demand::Promise;
use super::ledger::Place;

/// A node that might hold a volume.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a Node,
    /// What its agent reports, if it does.
    pub storage: Option<&'a NodeStorage>,
}

/// Room that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    /// Where.
    pub place: Place,
    /// The volume's size in bytes: the order's, in whole extents.
    pub bytes: u64,
    /// What it takes, and where.
    pub promise: Promise,
    /// Bytes that nobody has been promised yet, before this volume.
    pub free: u64,
}
