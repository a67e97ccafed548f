//! Where a volume goes: which node's volume group has room for it, and if none, why.
//! Pure: called by `act.rs` with the ledger locked.

use crds::layout::LayoutType;
use crds::storage_backend::Placement;
use crds::thin_pool::PoolOrder;
use crds::{LogicalVolume, StorageBackend, StorageBackendSpec, quantity};
use k8s_openapi::api::core::v1::{Node, TopologySelectorTerm};
use kube::ResourceExt as _;

use super::demand::InPool;
use super::ledger::Ledger;
use super::room::{Candidate, Room};
use super::serve::{self, serve};
use super::unfit::Unfit;
use crate::names;

/// The condition by which a Node says that its kubelet is there.
pub const NODE_READY: &str = "Ready";

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
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

/// What is to be done with an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Make it here.
    Here(Box<Room>),
    /// Not on the selected node, but another might do: let the scheduler choose anew.
    Elsewhere(String),
    /// Nowhere, for now.
    Nowhere(String),
}

/// Chooses the place for an order.
#[must_use]
pub fn choose(order: &Order<'_>, candidates: &[Candidate<'_>], ledger: &Ledger) -> Choice {
    let wanted = quantity::human(order.bytes);
    let backend = order.backend.name_any();
    let fits = |candidate: &Candidate<'_>| fit(order, *candidate, ledger);
    if let Some(selected) = order.selected {
        let Some(candidate) = candidates
            .iter()
            .find(|candidate| candidate.node.name_any() == selected)
        else {
            return Choice::Elsewhere(format!(
                "node {selected}, which the scheduler selected, does not exist any more"
            ));
        };
        let unfit = match fits(candidate) {
            Ok(room) => return Choice::Here(Box::new(room)),
            Err(unfit) => unfit,
        };
        let sentence = format!(
            "{wanted} from backend {backend} is not to be had on node {selected}: it {unfit}"
        );
        // One that the scheduler would select: else it would select this one again, and again.
        let free = Order {
            selected: None,
            ..*order
        };
        let others = candidates
            .iter()
            .filter(|candidate| candidate.node.name_any() != selected);
        let another = others
            .into_iter()
            .any(|candidate| fit(&free, *candidate, ledger).is_ok());
        return if another {
            Choice::Elsewhere(sentence)
        } else {
            Choice::Nowhere(sentence)
        };
    }
    let rooms = candidates
        .iter()
        .filter_map(|candidate| fits(candidate).ok());
    // Of equals the first by name, so that the choice can be foretold.
    let best = rooms.min_by(|a, b| {
        let by_space = match order.backend.spec.placement {
            Placement::Spread => b.free.cmp(&a.free),
            Placement::Pack => a.free.cmp(&b.free),
        };
        by_space.then_with(|| a.place.cmp(&b.place))
    });
    best.map_or_else(
        || Choice::Nowhere(nowhere(order, candidates, ledger)),
        |room| Choice::Here(Box::new(room)),
    )
}

/// Why an order fits nowhere: the first nodes with their reasons, those that the backend selects
/// before others.
fn nowhere(order: &Order<'_>, candidates: &[Candidate<'_>], ledger: &Ledger) -> String {
    const SHOWN: usize = 5;
    let reason = |candidate: &Candidate<'_>| match fit(order, *candidate, ledger) {
        Ok(_) | Err(Unfit::NotSelected) => None,
        Err(unfit) => Some(format!("node {} {unfit}", candidate.node.name_any())),
    };
    let mut reasons: Vec<String> = candidates.iter().filter_map(reason).collect();
    reasons.sort();
    let hidden = reasons.len().saturating_sub(SHOWN);
    reasons.truncate(SHOWN);
    if hidden > 0 {
        reasons.push(format!("and so on for {hidden} more nodes"));
    }
    let because = if reasons.is_empty() {
        "its nodeSelector selects no node".to_owned()
    } else {
        reasons.join("; ")
    };
    format!(
        "{} from backend {} is to be had on no node: {because}",
        quantity::human(order.bytes),
        order.backend.name_any()
    )
}

/// Room for the order on one node.
///
/// # Errors
/// Why there is none.
pub fn fit(order: &Order<'_>, candidate: Candidate<'_>, ledger: &Ledger) -> Result<Room, Unfit> {
    let node = candidate.node;
    if !order.backend.spec.node_selector.matches(node.labels()) {
        return Err(Unfit::NotSelected);
    }
    if order.selected.is_none() && !allowed(order.topologies, node) {
        return Err(Unfit::NotAllowed);
    }
    if order.selected.is_none()
        && node
            .spec
            .as_ref()
            .is_some_and(|spec| spec.unschedulable == Some(true))
    {
        return Err(Unfit::Cordoned);
    }
    if order.selected.is_none() && !is_up(node) {
        return Err(Unfit::NodeDown);
    }
    if !node.labels().contains_key(names::HOSTNAME_LABEL) {
        return Err(Unfit::NoHostname);
    }
    serve(order.backend, candidate, ledger)?.room_for(&order.backend.spec, order.bytes)
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

/// Room for a volume to grow to so many bytes where it is. What it has already counts as its own.
///
/// # Errors
/// One sentence with the numbers.
pub fn grown(
    logical_volume: &LogicalVolume,
    backend: &StorageBackendSpec,
    bytes: u64,
    candidate: Option<Candidate<'_>>,
    ledger: &Ledger,
) -> Result<Room, String> {
    let spec = &logical_volume.spec;
    let cannot = |why: String| {
        format!(
            "the volume can't grow to {} on node {}: it {why}",
            quantity::human(bytes),
            spec.node
        )
    };
    let candidate = candidate.ok_or_else(|| cannot("does not exist any more".to_owned()))?;
    let (_, maximum) = backend
        .limits()
        .map_err(|fault| cannot(format!("belongs to backend {}: {fault}", spec.backend)))?;
    if bytes > maximum && bytes > quantity::parse(&spec.size).unwrap_or(0) {
        let (bytes, maximum) = (quantity::human(bytes), quantity::human(maximum));
        return Err(format!(
            "the volume can't grow to {bytes}: backend {} allows {maximum} (volumeSize.maximum)",
            spec.backend
        ));
    }
    let room = serve::of(backend, candidate, ledger).and_then(|(space, group)| {
        space.room_to_grow(logical_volume, backend, bytes, group, ledger)
    });
    room.map_err(|unfit| cannot(unfit.to_string()))
}

/// Whether the thin pool of a volume may become larger than was promised, and there is room for
/// that. Only where the backend would make pools still.
#[must_use]
pub fn pool_lags(
    logical_volume: &LogicalVolume,
    backend: &StorageBackendSpec,
    candidate: Candidate<'_>,
    ledger: &Ledger,
) -> bool {
    let Ok(bytes) = quantity::parse(&logical_volume.spec.size) else {
        return false;
    };
    let is_meant = backend.layout.type_ == LayoutType::Thin
        && backend.node_selector.matches(candidate.node.labels());
    let Ok(Room { place, promise, .. }) =
        grown(logical_volume, backend, bytes, Some(candidate), ledger)
    else {
        return false;
    };
    let most = |order: &PoolOrder| {
        order
            .make
            .as_ref()
            .and_then(|make| quantity::parse(&make.maximum_size).ok())
    };
    // Without an order there is no pool any more.
    let promised = |pool: &InPool| ledger.pool(&place, &pool.order.name).order;
    let is_more =
        |pool: &InPool| promised(pool).is_some_and(|order| most(&pool.order) > most(&order));
    is_meant && promise.pool.as_ref().is_some_and(is_more)
}

/// True when one of the terms allows the node. No terms allow every node.
fn allowed(terms: &[TopologySelectorTerm], node: &Node) -> bool {
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

#[cfg(test)]
mod tests;
