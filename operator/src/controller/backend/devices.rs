//! Detects backends that name one device for two volume groups.
//!
//! Compares paths only; the agents detect two paths that lead to one disk. Pure.

use crds::StorageBackend;
use kube::ResourceExt as _;
use placement::request::Candidate;

/// Returns the conflict with another backend that names the same device for another volume group,
/// on a node that both backends select.
///
/// Backends of the same volume group may name the same device.
#[must_use]
pub(super) fn conflict(
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
            let mut own = backend.spec.devices.iter();
            let device = own.find(|device| other.spec.devices.contains(device))?;
            let node = candidates.iter().find(|one| selects(backend, one) && selects(other, one))?;
            Some(format!(
                "devices: {device} is named for volume group {} here, but StorageBackend {} names it for volume group {} \
                 (both select node {}); a device can be in only one volume group",
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
