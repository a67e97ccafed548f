//! Detects backends that share a volume group and hold all of it back from each other. Pure.

use crds::{StorageBackend, ValidationError, quantity};
use host::Bytes;
use kube::ResourceExt as _;
use placement::fit;
use placement::request::Candidate;
use placement::reservations::Reservations;

/// Checks that no other backend holds back the whole volume group as well, so that neither can ever
/// use it.
///
/// # Errors
/// The first conflict in the order of their messages.
pub(super) fn check(
    backend: &StorageBackend,
    others: &[impl AsRef<StorageBackend>],
    candidates: &[Candidate<'_>],
) -> Result<(), ValidationError> {
    let name = backend.name_any();
    let mut problems = Vec::new();
    for other in others.iter().map(AsRef::as_ref) {
        if other.name_any() == name || other.spec.volume_group != backend.spec.volume_group {
            continue;
        }
        if let Some(node) = held_back_by_both(backend, other, candidates) {
            problems.push(format!(
                "this backend and StorageBackend {} each hold back all of volume group {} on node {node}, so \
                 that neither can use it",
                other.name_any(),
                backend.spec.volume_group,
            ));
        }
    }
    match problems.into_iter().min() {
        Some(problem) => {
            Err(ValidationError::new("reserve", problem)
                .with_hint("lower spec.reserve of one of them"))
        }
        None => Ok(()),
    }
}

/// Returns the first node where both backends hold back the whole volume group, with the group's
/// size in parentheses.
fn held_back_by_both(
    backend: &StorageBackend,
    other: &StorageBackend,
    candidates: &[Candidate<'_>],
) -> Option<String> {
    for candidate in candidates {
        if let (Some(size), Some(_)) = (
            held_back_group(backend, *candidate),
            held_back_group(other, *candidate),
        ) {
            let node = candidate.node.name_any();
            return Some(format!("{node} ({})", quantity::human(size)));
        }
    }
    None
}

/// Returns the size of the volume group on a node if the backend selects the node and holds
/// back the whole group.
fn held_back_group(backend: &StorageBackend, candidate: Candidate<'_>) -> Option<Bytes> {
    if !backend.spec.node_selector.matches(candidate.node.labels()) {
        return None;
    }
    let reservations = Reservations::default();
    let (space, _) = fit::group_free_space(&backend.spec, candidate, &reservations).ok()?;
    if space.size > Bytes(0) && space.held_back >= space.size {
        Some(space.size)
    } else {
        None
    }
}
