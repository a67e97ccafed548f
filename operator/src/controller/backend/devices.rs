//! Backends that name one device for two volume groups. Pure. What the paths don't show, that two
//! of them lead to one disk, the agents find out.

use crds::StorageBackend;
use kube::ResourceExt as _;
use placement::request::Candidate;

/// That this backend and another one name a device for two volume groups of a node that both
/// select. Two backends of one volume group name its devices together.
#[must_use]
pub(super) fn contradiction(
    backend: &StorageBackend,
    others: &[impl AsRef<StorageBackend>],
    candidates: &[Candidate<'_>],
) -> Option<String> {
    let selects = |one: &StorageBackend, candidate: &Candidate<'_>| {
        one.spec.node_selector.matches(candidate.node.labels())
    };
    let mut found: Vec<String> = others
        .iter()
        .map(AsRef::as_ref)
        .filter(|other| other.spec.volume_group != backend.spec.volume_group)
        .filter_map(|other| {
            let device = backend.spec.devices.iter().find(|device| other.spec.devices.contains(device))?;
            let node = candidates.iter().find(|one| selects(backend, one) && selects(other, one))?;
            Some(format!(
                "devices: {device} is named for volume group {} here, and by StorageBackend {} for volume group {}, on node \
                 {} for example; a device can be part of one",
                backend.spec.volume_group,
                other.name_any(),
                other.spec.volume_group,
                node.node.name_any()
            ))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}
