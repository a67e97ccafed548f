//! Room for a volume to grow where it is, and for its thin pool. Pure.

use crds::layout::LayoutType;
use crds::thin_pool::VolumeThinPool;
use crds::{LogicalVolume, StorageBackendSpec, quantity};
use kube::ResourceExt as _;

use crate::allocation::PoolAllocation;
use crate::fit;
use crate::fit::Fit;
use crate::request::Candidate;
use crate::reservations::Reservations;

/// Room for a volume to grow to so many bytes where it is. What it has already counts as its own.
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
    let cannot = |why: String| {
        format!(
            "the volume can't grow to {} on node {}: it {why}",
            quantity::human(bytes),
            spec.node
        )
    };
    let candidate = candidate.ok_or_else(|| cannot("does not exist any more".to_owned()))?;
    let (_, maximum) = backend
        .limits()
        .map_err(|fault| cannot(format!("belongs to backend {}: {fault}", spec.backend)))?;
    if bytes > maximum && bytes > quantity::parse(&spec.size).unwrap_or(0) {
        let (bytes, maximum) = (quantity::human(bytes), quantity::human(maximum));
        return Err(format!(
            "the volume can't grow to {bytes}: backend {} allows {maximum} (volumeSize.maximum)",
            spec.backend
        ));
    }
    let fit = fit::group_free_space(backend, candidate, reservations).and_then(|(space, group)| {
        space.fit_growth(logical_volume, backend, bytes, group, reservations)
    });
    fit.map_err(|rejection| cannot(rejection.to_string()))
}

/// Whether the thin pool of a volume may become larger than was promised, and there is room for
/// that. Only where the backend would make pools still.
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
    let is_meant = backend.layout.type_ == LayoutType::Thin
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
    // Without an order there is no pool any more.
    let reserved = |pool: &PoolAllocation| reservations.pool(&location, &pool.spec.name).spec;
    let is_more =
        |pool: &PoolAllocation| reserved(pool).is_some_and(|spec| most(&pool.spec) > most(&spec));
    is_meant && reservation.pool.as_ref().is_some_and(is_more)
}
