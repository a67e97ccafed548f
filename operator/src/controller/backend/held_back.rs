//! Detects backends that share a volume group and hold all of it back from each other. Pure.

use crds::{StorageBackend, quantity};
use kube::ResourceExt as _;
use placement::fit;
use placement::request::Candidate;
use placement::reservations::Reservations;

/// Returns the conflict with another backend if both hold back the whole volume group, so that
/// neither can ever use it.
#[must_use]
pub(super) fn conflict(
    backend: &StorageBackend,
    others: &[impl AsRef<StorageBackend>],
    candidates: &[Candidate<'_>],
) -> Option<String> {
    let whole = |backend: &StorageBackend, candidate: Candidate<'_>| {
        let (space, _) =
            fit::group_free_space(&backend.spec, candidate, &Reservations::default()).ok()?;
        (space.size > 0 && space.reserve >= space.size).then_some(space.size)
    };
    let name = backend.name_any();
    let sharing = others.iter().map(AsRef::as_ref).filter(|other| {
        other.name_any() != name && other.spec.volume_group == backend.spec.volume_group
    });
    let mut found: Vec<String> = sharing
        .filter_map(|other| {
            let mut shared = candidates.iter().filter(|candidate| {
                let labels = candidate.node.labels();
                let selectors = [&other.spec.node_selector, &backend.spec.node_selector];
                selectors.iter().all(|selector| selector.matches(labels))
            });
            let (node, size) = shared.find_map(|candidate| {
                whole(other, *candidate)?;
                Some((candidate.node.name_any(), whole(backend, *candidate)?))
            })?;
            Some(format!(
                "reserve: this backend and StorageBackend {} each hold back all of volume group {} on node {node} ({}), so \
                 that neither can use it; lower spec.reserve of one of them",
                other.name_any(),
                backend.spec.volume_group,
                quantity::human(size)
            ))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}
