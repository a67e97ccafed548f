//! Space for an existing volume to grow, and for its thin pool. Pure.

use crds::layout::LayoutType;
use crds::thin_pool::VolumeThinPool;
use crds::{LogicalVolume, StorageBackend, StorageBackendSpec, ValidationError, quantity};
use kube::ResourceExt as _;
use storage_model::Bytes;

use crate::allocation;
use crate::fit;
use crate::fit::Fit;
use crate::rejection::Rejection;
use crate::request::Candidate;
use crate::reservations::Reservations;

/// Returns the rules for an existing volume: its backend's, or defaults if the backend is deleted.
///
/// The volume stays in its volume group, even if the backend has changed.
#[must_use]
pub fn rules(
    logical_volume: &LogicalVolume,
    backend: Option<&StorageBackend>,
) -> StorageBackendSpec {
    let volume_group = logical_volume.spec.volume_group.as_str();
    match backend {
        Some(backend) => StorageBackendSpec {
            volume_group: volume_group.to_owned(),
            ..backend.spec.clone()
        },
        None => StorageBackendSpec::new(volume_group),
    }
}

/// The reason why an existing volume can't grow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrowthError {
    /// The volume's node doesn't exist any more. Holds its name.
    #[error("node {0} no longer exists")]
    NoNode(String),
    /// The limits of the volume's backend can't be read.
    #[error("StorageBackend {backend}: {error}")]
    InvalidLimits {
        /// The backend's name.
        backend: String,
        /// What is invalid.
        error: ValidationError,
    },
    /// The backend doesn't allow volumes of that size.
    #[error("StorageBackend {backend} allows {} (volumeSize.maximum)", quantity::human(*maximum))]
    TooLarge {
        /// The backend's name.
        backend: String,
        /// The largest volume that it allows.
        maximum: Bytes,
    },
    /// The volume doesn't fit on its node in that size.
    #[error("node {node} {}", rejection.for_tenant())]
    Rejected {
        /// The node's name.
        node: String,
        /// The reason.
        rejection: Rejection,
    },
}

/// Fits an existing volume that is to grow to `size`. What it has already counts as its own.
///
/// # Errors
/// The reason why it can't grow.
pub fn grown(
    logical_volume: &LogicalVolume,
    backend: &StorageBackendSpec,
    size: Bytes,
    candidate: Option<Candidate<'_>>,
    reservations: &Reservations,
) -> Result<Fit, GrowthError> {
    let spec = &logical_volume.spec;
    let candidate = candidate.ok_or_else(|| GrowthError::NoNode(spec.node.clone()))?;
    let limits = backend
        .limits()
        .map_err(|error| GrowthError::InvalidLimits {
            backend: spec.backend.clone(),
            error,
        })?;
    let maximum = Bytes(limits.maximum);
    if size > maximum && size > allocation::bytes(&spec.size) {
        return Err(GrowthError::TooLarge {
            backend: spec.backend.clone(),
            maximum,
        });
    }
    let fit = fit::group_free_space(backend, candidate, reservations).and_then(|(space, group)| {
        space.fit_growth(logical_volume, backend, size, group, reservations)
    });
    fit.map_err(|rejection| GrowthError::Rejected {
        node: spec.node.clone(),
        rejection,
    })
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
    let Ok(size) = quantity::parse(&logical_volume.spec.size) else {
        return false;
    };
    let creates_pools = backend.layout.type_ == LayoutType::Thin
        && backend.node_selector.matches(candidate.node.labels());
    if !creates_pools {
        return false;
    }
    let grown = grown(
        logical_volume,
        backend,
        Bytes(size),
        Some(candidate),
        reservations,
    );
    let Ok(fit) = grown else {
        return false;
    };
    let Some(pool) = fit.reservation.pool else {
        return false;
    };
    // Without a spec in any LogicalVolume the pool is being removed.
    match reservations.pool(&fit.location, &pool.spec.name).spec {
        Some(reserved) => maximum_size(&pool.spec) > maximum_size(&reserved),
        None => false,
    }
}

/// Returns the maximum size of a pool; `None` for a pool that an admin created.
fn maximum_size(pool: &VolumeThinPool) -> Option<Bytes> {
    let create = pool.create.as_ref()?;
    quantity::parse(&create.maximum_size).ok().map(Bytes)
}
