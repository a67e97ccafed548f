//! The space of a backend on one node: what its volumes may still be promised there.
//! Pure.

use crds::thin_pool::VolumeThinPool;

use crate::allocation::{PoolAllocation, Reservation};
use crate::rejection::Rejection;
use crate::reservations::Location;

/// The space of a backend on one node, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeSpace {
    /// Where.
    pub location: Location,
    /// One extent.
    pub extent: u64,
    /// The whole volume group, without the disks that hold caches; of a thin pool its data at most.
    pub size: u64,
    /// What is kept back.
    pub reserve: u64,
    /// What nobody has been promised, nobody else uses, and is not kept back; of a thin pool what
    /// its volumes may still have.
    pub free: u64,
    /// The disks that hold volumes; none when the agent does not report them.
    pub disks: Vec<FreeDisk>,
    /// The disks that hold this backend's caches.
    pub fast: Vec<FreeDisk>,
    /// This backend's thin pool.
    pub pool: Option<PoolFreeSpace>,
}

impl FreeSpace {
    /// That there is too little here.
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
    /// LVM's uuid of it.
    pub uuid: String,
    /// Its device's name, for people.
    pub name: String,
    /// What nobody has been promised, and nobody else uses.
    pub free: u64,
}

/// What may still be promised of a thin pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolFreeSpace {
    /// How a volume's object names the pool, with the space that is promised to the pool then.
    pub spec: VolumeThinPool,
    /// The size of its data, at most, in bytes.
    pub size: u64,
    /// Bytes that its volumes may still have.
    pub free: u64,
    /// Why they may have no more, whatever is free. The pool itself may become larger all the same:
    /// that is what helps.
    pub full: Option<Rejection>,
    /// How many hundredths of `size` they may have together.
    pub(super) hundredths: u64,
}

impl PoolFreeSpace {
    /// A volume of so many bytes in the pool, which has so many there already.
    ///
    /// # Errors
    /// That this is too much.
    pub fn allocate(&self, bytes: u64, has: u64) -> Result<Reservation, Rejection> {
        let more = bytes.saturating_sub(has);
        if more > 0
            && let Some(full) = &self.full
        {
            return Err(full.clone());
        }
        if more > self.free {
            let Self {
                spec,
                size,
                free,
                hundredths,
                ..
            } = self.clone();
            return Err(Rejection::PoolPromised {
                pool: spec.name,
                free,
                size,
                hundredths,
            });
        }
        Ok(Reservation {
            pool: Some(PoolAllocation {
                spec: self.spec.clone(),
                bytes,
            }),
            ..Reservation::default()
        })
    }
}
