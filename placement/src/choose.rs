//! Where a volume goes: which node's volume group has room for it, and if none, why. Pure.

use crds::quantity;
use crds::storage_backend::Placement;
use kube::ResourceExt as _;

use crate::fit::{Room, fit};
use crate::rejection::Unfit;
use crate::request::{Candidate, Order};
use crate::reservations::Ledger;

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

#[cfg(test)]
mod tests;
