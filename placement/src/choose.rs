//! Chooses the node and volume group of a volume, or explains why none fits. Pure.

use crds::quantity;
use crds::storage_backend::Placement;
use kube::ResourceExt as _;

use crate::fit::{Fit, fit};
use crate::rejection::Rejection;
use crate::request::{Candidate, PlacementRequest};
use crate::reservations::Reservations;

/// Outcome of a placement request.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Create the volume here.
    Here(Box<Fit>),
    /// The selected node doesn't fit, but another one does: let the scheduler select again. Holds
    /// the message for the user.
    Elsewhere(String),
    /// No node fits for now. Holds the message for the user.
    Nowhere(String),
}

/// Chooses the node and volume group for a request.
#[must_use]
pub fn choose(
    request: &PlacementRequest<'_>,
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
) -> Choice {
    if let Some(selected) = request.selected {
        return check_selected(selected, request, candidates, reservations);
    }
    let fitting = candidates
        .iter()
        .filter_map(|candidate| fit(request, *candidate, reservations).ok());
    // Ties go to the first by name, so that the choice is deterministic.
    let best = fitting.min_by(|a, b| {
        let by_space = match request.backend.spec.placement {
            Placement::Spread => b.free.cmp(&a.free),
            Placement::Pack => a.free.cmp(&b.free),
        };
        by_space.then_with(|| a.location.cmp(&b.location))
    });
    match best {
        Some(fit) => Choice::Here(Box::new(fit)),
        None => Choice::Nowhere(nowhere(request, candidates, reservations)),
    }
}

/// Checks the node that the scheduler selected; if the volume doesn't fit there, whether it fits on
/// another node.
fn check_selected(
    selected: &str,
    request: &PlacementRequest<'_>,
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
) -> Choice {
    let Some(candidate) = candidates
        .iter()
        .find(|candidate| candidate.node.name_any() == selected)
    else {
        return Choice::Elsewhere(format!(
            "node {selected}, which the scheduler selected, no longer exists"
        ));
    };
    let rejection = match fit(request, *candidate, reservations) {
        Ok(fit) => return Choice::Here(Box::new(fit)),
        Err(rejection) => rejection,
    };
    let message = format!(
        "node {selected} can't provide {} from StorageBackend {}: it {}",
        quantity::human(request.size),
        request.backend.name_any(),
        rejection.for_tenant()
    );
    // Considers only nodes that the scheduler would select: otherwise it would select the same node
    // again and again.
    let free = PlacementRequest {
        selected: None,
        ..*request
    };
    let mut others = candidates
        .iter()
        .filter(|candidate| candidate.node.name_any() != selected);
    if others.any(|candidate| fit(&free, *candidate, reservations).is_ok()) {
        Choice::Elsewhere(message)
    } else {
        Choice::Nowhere(message)
    }
}

/// Explains why no node fits: the first nodes by name, with their reasons. Nodes that the backend
/// doesn't select are omitted.
fn nowhere(
    request: &PlacementRequest<'_>,
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
) -> String {
    const SHOWN: usize = 5;
    let mut reasons = Vec::new();
    for candidate in candidates {
        match fit(request, *candidate, reservations) {
            Ok(_) | Err(Rejection::NotSelected) => {}
            Err(rejection) => {
                let node = candidate.node.name_any();
                reasons.push(format!("{node} {}", rejection.for_tenant()));
            }
        }
    }
    reasons.sort();
    let hidden = reasons.len().saturating_sub(SHOWN);
    reasons.truncate(SHOWN);
    if hidden > 0 {
        reasons.push(format!("and {hidden} more nodes"));
    }
    let because = if reasons.is_empty() {
        "its nodeSelector matches no node".to_owned()
    } else {
        reasons.join(", ")
    };
    format!(
        "no node can provide {} from StorageBackend {}: {because}",
        quantity::human(request.size),
        request.backend.name_any()
    )
}

#[cfg(test)]
mod tests;
