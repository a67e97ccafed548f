//! Space for an existing volume to grow, and for its thin pool. Pure.

use crds::layout::LayoutType;
use crds::thin_pool::VolumeThinPool;
use crds::{LogicalVolume, StorageBackendSpec, quantity};
use kube::ResourceExt as _;

use crate::fit;
use crate::fit::Fit;
use crate::request::Candidate;
use crate::reservations::Reservations;

/// Fits an existing volume that is to grow to `bytes` bytes. What it has already counts as its own.
///
/// # Errors
/// One sentence with the numbers.
pub fn grown(
    logical_volume: &LogicalVolume,
    backend: &StorageBackendSpec,
    bytes: u64,
    candidate: Option<Candidate<'_>>,
    reservations: &Reservations,
) -> Result<Fit, String> {
    let spec = &logical_volume.spec;
    let cannot =
        |why: String| format!("the volume can't grow to {}: {why}", quantity::human(bytes));
    let candidate =
        candidate.ok_or_else(|| cannot(format!("node {} no longer exists", spec.node)))?;
    let (_, maximum) = backend
        .limits()
        .map_err(|fault| cannot(format!("StorageBackend {}: {fault}", spec.backend)))?;
    if bytes > maximum && bytes > quantity::parse(&spec.size).unwrap_or(0) {
        return Err(cannot(format!(
            "StorageBackend {} allows {} (volumeSize.maximum)",
            spec.backend,
            quantity::human(maximum)
        )));
    }
    let fit = fit::group_free_space(backend, candidate, reservations).and_then(|(space, group)| {
        space.fit_growth(logical_volume, backend, bytes, group, reservations)
    });
    fit.map_err(|rejection| cannot(format!("node {} {rejection}", spec.node)))
}

/// Returns true if a volume's thin pool may become larger than its reservation, and there is space
/// for that.
///
/// Only if the backend still creates thin pools on this node.
#[must_use]
pub fn pool_reservation_outdated(
    logical_volume: &LogicalVolume,
    backend: &StorageBackendSpec,
    candidate: Candidate<'_>,
    reservations: &Reservations,
) -> bool {
    let Ok(bytes) = quantity::parse(&logical_volume.spec.size) else {
        return false;
    };
    let creates_pools = backend.layout.type_ == LayoutType::Thin
        && backend.node_selector.matches(candidate.node.labels());
    let Ok(Fit {
        location,
        reservation,
        ..
    }) = grown(
        logical_volume,
        backend,
        bytes,
        Some(candidate),
        reservations,
    )
    else {
        return false;
    };
    let most = |spec: &VolumeThinPool| {
        spec.create
            .as_ref()
            .and_then(|create| quantity::parse(&create.maximum_size).ok())
    };
    let Some(pool) = reservation.pool.filter(|_| creates_pools) else {
        return false;
    };
    // Without a spec in any LogicalVolume the pool is being removed.
    let reserved = reservations.pool(&location, &pool.spec.name).spec;
    reserved.is_some_and(|reserved| most(&pool.spec) > most(&reserved))
}
