//! Where a volume goes: which node's volume group has room for it, and if none, why. Pure.

use crds::quantity;
use crds::storage_backend::Placement;
use kube::ResourceExt as _;

use crate::fit::{Fit, fit};
use crate::rejection::Rejection;
use crate::request::{Candidate, PlacementRequest};
use crate::reservations::Reservations;

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Make it here.
    Here(Box<Fit>),
    /// Not on the selected node, but another might do: let the scheduler choose anew.
    Elsewhere(String),
    /// Nowhere, for now.
    Nowhere(String),
}

/// Chooses the place for a request.
#[must_use]
pub fn choose(
    request: &PlacementRequest<'_>,
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
) -> Choice {
    let wanted = quantity::human(request.bytes);
    let backend = request.backend.name_any();
    let fits = |candidate: &Candidate<'_>| fit(request, *candidate, reservations);
    if let Some(selected) = request.selected {
        let Some(candidate) = candidates
            .iter()
            .find(|candidate| candidate.node.name_any() == selected)
        else {
            return Choice::Elsewhere(format!(
                "node {selected}, which the scheduler selected, does not exist any more"
            ));
        };
        let rejection = match fits(candidate) {
            Ok(fit) => return Choice::Here(Box::new(fit)),
            Err(rejection) => rejection,
        };
        let sentence = format!(
            "{wanted} from backend {backend} is not to be had on node {selected}: it {rejection}"
        );
        // One that the scheduler would select: else it would select this one again, and again.
        let free = PlacementRequest {
            selected: None,
            ..*request
        };
        let others = candidates
            .iter()
            .filter(|candidate| candidate.node.name_any() != selected);
        let another = others
            .into_iter()
            .any(|candidate| fit(&free, *candidate, reservations).is_ok());
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
        let by_space = match request.backend.spec.placement {
            Placement::Spread => b.free.cmp(&a.free),
            Placement::Pack => a.free.cmp(&b.free),
        };
        by_space.then_with(|| a.location.cmp(&b.location))
    });
    best.map_or_else(
        || Choice::Nowhere(nowhere(request, candidates, reservations)),
        |fit| Choice::Here(Box::new(fit)),
    )
}

/// Why a request fits nowhere: the first nodes with their reasons, those that the backend selects
/// before others.
fn nowhere(
    request: &PlacementRequest<'_>,
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
) -> String {
    const SHOWN: usize = 5;
    let reason = |candidate: &Candidate<'_>| match fit(request, *candidate, reservations) {
        Ok(_) | Err(Rejection::NotSelected) => None,
        Err(rejection) => Some(format!("node {} {rejection}", candidate.node.name_any())),
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
        quantity::human(request.bytes),
        request.backend.name_any()
    )
}

#[cfg(test)]
mod tests;
