//! Backends that share a volume group and leave each other nothing of it. Pure.

use crds::{StorageBackend, quantity};
use kube::ResourceExt as _;
use placement::fit;
use placement::request::Candidate;
use placement::reservations::Reservations;

/// That this backend and another one both keep a whole volume group back, so that nobody could ever
/// use it.
#[must_use]
pub(super) fn contradiction(
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
    let rivals = others.iter().map(AsRef::as_ref).filter(|other| {
        other.name_any() != name && other.spec.volume_group == backend.spec.volume_group
    });
    let mut found: Vec<String> = rivals
        .filter_map(|other| {
            let both = |candidate: &&Candidate<'_>| {
                let labels = candidate.node.labels();
                other.spec.node_selector.matches(labels) && backend.spec.node_selector.matches(labels)
            };
            let mut shared = candidates.iter().filter(both);
            let (node, size) = shared.find_map(|candidate| {
                whole(other, *candidate)?;
                Some((candidate.node.name_any(), whole(backend, *candidate)?))
            })?;
            Some(format!(
                "reserve: this backend and StorageBackend {} each keep back all of volume group {} on node {node} ({}), so \
                 that nobody can use it; lower spec.reserve of one of them",
                other.name_any(),
                backend.spec.volume_group,
                quantity::human(size)
            ))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}
