//! Space that a volume takes, or that several take together: of the volume group, of each of its
//! disks, of a thin pool. Pure.

use std::collections::BTreeMap;

use crds::cache::VolumeCache;
use crds::thin_pool::{ThinPoolCreation, VolumeThinPool};
use crds::{LogicalVolume, Share, quantity};

/// Space in bytes, whole extents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// All of it, copies, parity and metadata included.
    pub bytes: u64,
    /// What is on which physical volume, by LVM's uuid of it. Less than all where nobody has said
    /// which.
    pub disks: BTreeMap<String, u64>,
}

/// What one volume is promised: space of its own, a cache's, and its part of a thin pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reservation {
    /// What it takes itself.
    pub own: Allocation,
    /// The cache in front of it.
    pub cache: Option<VolumeCache>,
    /// The thin pool that it is in.
    pub pool: Option<PoolAllocation>,
}

/// A volume's part of a thin pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolAllocation {
    /// The pool, with the space that was promised to it: it is promised once, however many volumes
    /// are in it.
    pub spec: VolumeThinPool,
    /// The volume's size in bytes.
    pub bytes: u64,
}

impl From<u64> for Allocation {
    fn from(bytes: u64) -> Self {
        Self {
            bytes,
            disks: BTreeMap::new(),
        }
    }
}

impl<D: Into<Allocation>> From<D> for Reservation {
    fn from(own: D) -> Self {
        Self {
            own: own.into(),
            ..Self::default()
        }
    }
}

impl Reservation {
    /// What was promised to a volume, says its object.
    #[must_use]
    pub fn from_volume(logical_volume: &LogicalVolume) -> Self {
        let spec = &logical_volume.spec;
        let bytes = quantity::parse(&spec.size).unwrap_or(0);
        match &spec.thin_pool {
            Some(spec) => Self {
                pool: Some(PoolAllocation {
                    spec: spec.clone(),
                    bytes,
                }),
                ..Self::default()
            },
            None => Self {
                own: Allocation::from_volume(logical_volume),
                cache: spec.cache.clone(),
                pool: None,
            },
        }
    }

    /// What it takes of its volume group for itself alone, its cache included.
    #[must_use]
    pub fn allocation(&self) -> Allocation {
        let mut all = self.own.clone();
        if let Some(cache) = &self.cache {
            all.add(&Allocation::from_shares(&cache.physical_volumes));
        }
        all
    }

    /// The larger of two, everywhere.
    #[must_use]
    pub fn max_each(self, other: &Self) -> Self {
        let pool = match (self.pool, &other.pool) {
            (Some(own), Some(other)) => {
                let larger = if other.weight() > own.weight() {
                    &other.spec
                } else {
                    &own.spec
                };
                Some(PoolAllocation {
                    bytes: own.bytes.max(other.bytes),
                    spec: larger.clone(),
                })
            }
            (own, other) => own.or_else(|| other.clone()),
        };
        Self {
            own: self.own.max_each(&other.own),
            cache: self.cache.or_else(|| other.cache.clone()),
            pool,
        }
    }

    /// Whether it is more than another, anywhere.
    #[must_use]
    pub fn exceeds(&self, other: &Self) -> bool {
        let pooled = |reservation: &Self| {
            reservation
                .pool
                .as_ref()
                .map_or((0, (0, 0)), |pool| (pool.bytes, pool.weight()))
        };
        let ((bytes, weight), (other_bytes, other_weight)) = (pooled(self), pooled(other));
        self.allocation().bytes > other.allocation().bytes
            || bytes > other_bytes
            || weight > other_weight
    }
}

impl PoolAllocation {
    /// Of two orders for a pool the heavier one allows it more: space first, then its largest size,
    /// which the same space may suffice for.
    #[must_use]
    pub fn weight(&self) -> (u64, u64) {
        let most = |create: &ThinPoolCreation| quantity::parse(&create.maximum_size).unwrap_or(0);
        (
            self.space().bytes,
            self.spec.create.as_ref().map_or(0, most),
        )
    }

    /// The space that was promised to the pool; none of a pool that an admin made.
    #[must_use]
    pub fn space(&self) -> Allocation {
        self.spec
            .create
            .as_ref()
            .map_or_else(Allocation::default, |create| {
                Allocation::from_shares(&create.physical_volumes)
            })
    }
}

impl Allocation {
    /// What a volume takes itself, says its object.
    #[must_use]
    pub fn from_volume(logical_volume: &LogicalVolume) -> Self {
        let spec = &logical_volume.spec;
        if spec.physical_volumes.is_empty() {
            return quantity::parse(&spec.size).unwrap_or(0).into();
        }
        Self::from_shares(&spec.physical_volumes)
    }

    /// What is said of physical volumes.
    #[must_use]
    pub fn from_shares(shares: &[Share]) -> Self {
        shares
            .iter()
            .map(|share| {
                (
                    share.uuid.clone(),
                    quantity::parse(&share.size).unwrap_or(0),
                )
            })
            .collect()
    }

    /// As the object says it.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let share = |(uuid, bytes): (&String, &u64)| Share {
            uuid: uuid.clone(),
            size: quantity::format(*bytes),
        };
        self.disks.iter().map(share).collect()
    }

    /// What is on one physical volume.
    #[must_use]
    pub fn on(&self, uuid: &str) -> u64 {
        self.disks.get(uuid).copied().unwrap_or(0)
    }

    /// The larger of two, everywhere.
    #[must_use]
    pub fn max_each(mut self, other: &Self) -> Self {
        self.bytes = self.bytes.max(other.bytes);
        for (uuid, bytes) in &other.disks {
            let own = self.disks.entry(uuid.clone()).or_default();
            *own = (*own).max(*bytes);
        }
        self
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        for (uuid, bytes) in &other.disks {
            let own = self.disks.entry(uuid.clone()).or_default();
            *own = own.saturating_add(*bytes);
        }
    }

    /// Takes another away that was added.
    pub fn subtract(&mut self, other: &Self) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        for (uuid, bytes) in &other.disks {
            if let Some(own) = self.disks.get_mut(uuid) {
                *own = own.saturating_sub(*bytes);
            }
        }
        self.disks.retain(|_, bytes| *bytes > 0);
    }
}

impl FromIterator<(String, u64)> for Allocation {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(shares: I) -> Self {
        let mut all = Self::default();
        for (uuid, bytes) in shares {
            all.add(&Self {
                bytes,
                disks: BTreeMap::from([(uuid, bytes)]),
            });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Allocation;
    use proptest::prelude::*;

    fn demands() -> impl Strategy<Value = Allocation> {
        prop::collection::vec((0..4_u8, 1..1000_u64), 0..5).prop_map(|shares| {
            shares
                .into_iter()
                .map(|(disk, bytes)| (format!("d{disk}"), bytes))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_added_can_be_taken_away(a in demands(), b in demands()) {
            let mut sum = a.clone();
            sum.add(&b);
            sum.subtract(&b);
            prop_assert_eq!(sum, a);
        }

        #[test]
        fn the_larger_holds_both(a in demands(), b in demands()) {
            let larger = a.clone().max_each(&b);
            for one in [a, b] {
                prop_assert!(larger.bytes >= one.bytes && one.disks.iter().all(|(disk, bytes)| larger.on(disk) >= *bytes));
            }
        }
    }
}
