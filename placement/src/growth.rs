//! Room for a volume to grow where it is, and for its thin pool. Pure.

use crds::layout::LayoutType;
use crds::thin_pool::PoolOrder;
use crds::{LogicalVolume, StorageBackendSpec, quantity};
use kube::ResourceExt as _;

use crate::allocation::InPool;
use crate::fit;
use crate::fit::Room;
use crate::request::Candidate;
use crate::reservations::Ledger;

/// Room for a volume to grow to so many bytes where it is. What it has already counts as its own.
///
/// # Errors
/// One sentence with the numbers.
pub fn grown(
    logical_volume: &LogicalVolume,
    backend: &StorageBackendSpec,
    bytes: u64,
    candidate: Option<Candidate<'_>>,
    ledger: &Ledger,
) -> Result<Room, String> {
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
    let room = fit::of(backend, candidate, ledger).and_then(|(space, group)| {
        space.room_to_grow(logical_volume, backend, bytes, group, ledger)
    });
    room.map_err(|unfit| cannot(unfit.to_string()))
}

/// Whether the thin pool of a volume may become larger than was promised, and there is room for
/// that. Only where the backend would make pools still.
#[must_use]
pub fn pool_lags(
    logical_volume: &LogicalVolume,
    backend: &StorageBackendSpec,
    candidate: Candidate<'_>,
    ledger: &Ledger,
) -> bool {
    let Ok(bytes) = quantity::parse(&logical_volume.spec.size) else {
        return false;
    };
    let is_meant = backend.layout.type_ == LayoutType::Thin
        && backend.node_selector.matches(candidate.node.labels());
    let Ok(Room { place, promise, .. }) =
        grown(logical_volume, backend, bytes, Some(candidate), ledger)
    else {
        return false;
    };
    let most = |order: &PoolOrder| {
        order
            .make
            .as_ref()
            .and_then(|make| quantity::parse(&make.maximum_size).ok())
    };
    // Without an order there is no pool any more.
    let promised = |pool: &InPool| ledger.pool(&place, &pool.order.name).order;
    let is_more =
        |pool: &InPool| promised(pool).is_some_and(|order| most(&pool.order) > most(&order));
    is_meant && promise.pool.as_ref().is_some_and(is_more)
}
