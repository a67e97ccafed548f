//! Free space of a backend on one node: what its volumes may still reserve there. Pure.

use crds::thin_pool::VolumeThinPool;
use storage_model::Bytes;

use crate::allocation::{PoolAllocation, Reservation};
use crate::rejection::Rejection;
use crate::reservations::Location;

/// Free space of a backend on one node.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeSpace {
    /// Node and volume group.
    pub location: Location,
    /// Size of an extent of the volume group.
    pub extent_size: Bytes,
    /// Size of the volume group without the disks that hold caches; for a thin pool, its maximum
    /// data size.
    pub size: Bytes,
    /// Space that the backend's `reserve` holds back.
    pub held_back: Bytes,
    /// Space that is not reserved, not used by others and not held back; for a thin pool, what its
    /// volumes may still have.
    pub free: Bytes,
    /// The disks that hold volumes; empty if the agent doesn't report them.
    pub disks: Vec<FreeDisk>,
    /// The disks that hold this backend's caches.
    pub fast: Vec<FreeDisk>,
    /// This backend's thin pool; `None` unless the layout is `Thin`.
    pub pool: Option<PoolFreeSpace>,
}

impl FreeSpace {
    /// Returns the rejection for a request that exceeds the free space.
    #[must_use]
    pub fn too_little(&self) -> Rejection {
        Rejection::TooLittle {
            group: self.location.volume_group.clone(),
            free: self.free,
            size: self.size,
        }
    }
}

/// A disk of a volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeDisk {
    /// LVM's uuid of the physical volume.
    pub uuid: String,
    /// The device's name, for messages.
    pub name: String,
    /// Space that is neither reserved nor used by others.
    pub free: Bytes,
    /// Space used by volumes that FlexLVM does not manage, and by images that an admin moved here.
    pub used_by_others: Bytes,
}

/// Free space of a thin pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolFreeSpace {
    /// The pool as a LogicalVolume's spec names it, with the space to reserve for the pool.
    pub spec: VolumeThinPool,
    /// Maximum size of its data.
    pub size: Bytes,
    /// Space that its volumes may still reserve.
    pub free: Bytes,
    /// The reason why its volumes may reserve no more, even if `free` is not 0.
    ///
    /// The pool itself may still be extended, which is the remedy.
    pub full: Option<Rejection>,
    /// Overprovisioning in percent of `size`.
    pub(super) hundredths: u64,
}

impl PoolFreeSpace {
    /// Reserves `size` for a volume that has `has` of it in the pool already.
    ///
    /// # Errors
    /// The reason why the pool can't hold it.
    pub fn allocate(&self, size: Bytes, has: Bytes) -> Result<Reservation, Rejection> {
        let more = size.saturating_sub(has);
        if more > Bytes(0)
            && let Some(full) = &self.full
        {
            return Err(full.clone());
        }
        if more > self.free {
            return Err(Rejection::PoolAllocated {
                pool: self.spec.name.clone(),
                free: self.free,
                size: self.size,
                hundredths: self.hundredths,
            });
        }
        Ok(Reservation {
            pool: Some(PoolAllocation {
                spec: self.spec.clone(),
                size,
            }),
            ..Reservation::default()
        })
    }
}
