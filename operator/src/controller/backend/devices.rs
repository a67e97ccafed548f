//! Detects backends that name one device for two volume groups.
//!
//! Compares paths only; the agents detect two paths that lead to one disk. Pure.

use crds::{StorageBackend, ValidationError};
use kube::ResourceExt as _;
use placement::request::Candidate;

/// Checks that no other backend names the same device for another volume group, on a node that both
/// backends select.
///
/// Backends of the same volume group may name the same device.
///
/// # Errors
/// The first conflict in the order of their messages.
pub(super) fn check(
    backend: &StorageBackend,
    others: &[impl AsRef<StorageBackend>],
    candidates: &[Candidate<'_>],
) -> Result<(), ValidationError> {
    let mut problems = Vec::new();
    for other in others.iter().map(AsRef::as_ref) {
        if other.spec.volume_group == backend.spec.volume_group {
            continue;
        }
        let mut own = backend.spec.devices.iter();
        let shared = own.find(|device| other.spec.devices.contains(device));
        let node = candidates
            .iter()
            .find(|candidate| selects(backend, candidate) && selects(other, candidate));
        if let (Some(device), Some(candidate)) = (shared, node) {
            problems.push(format!(
                "{device} is named for volume group {} here, but StorageBackend {} names it for volume group {} \
                 (both select node {})",
                backend.spec.volume_group,
                other.name_any(),
                other.spec.volume_group,
                candidate.node.name_any()
            ));
        }
    }
    match problems.into_iter().min() {
        Some(problem) => Err(ValidationError::new("devices", problem)
            .with_hint("a device can be in only one volume group")),
        None => Ok(()),
    }
}

fn selects(backend: &StorageBackend, candidate: &Candidate<'_>) -> bool {
    backend.spec.node_selector.matches(candidate.node.labels())
}
