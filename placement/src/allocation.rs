//! Space of one volume or of several volumes: of the volume group, of each disk, of a thin pool.
//! Pure.

use std::collections::BTreeMap;

use crds::cache::VolumeCache;
use crds::thin_pool::VolumeThinPool;
use crds::{LogicalVolume, Share, quantity};

/// Space in bytes, a multiple of the extent size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// Total bytes, including copies, parity and metadata.
    pub bytes: u64,
    /// Bytes per physical volume, by LVM uuid. The sum is less than `bytes` if the physical volumes
    /// were not reported.
    pub disks: BTreeMap<String, u64>,
}

/// Space reserved for one volume: its own, its cache's, and its share of a thin pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reservation {
    /// Space of the volume itself, in the volume group; 0 for a thin volume.
    pub own: Allocation,
    /// The volume's cache; `None` unless the layout is `Cached`.
    pub cache: Option<VolumeCache>,
    /// The volume's share of a thin pool; `None` unless the layout is `Thin`.
    pub pool: Option<PoolAllocation>,
}

/// A volume's share of a thin pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolAllocation {
    /// The pool with its reserved space, which counts once, however many volumes the pool has.
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
    /// Returns the space that a LogicalVolume's spec reserves.
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

    /// Returns the space in the volume group, including the cache and without a thin pool.
    #[must_use]
    pub fn allocation(&self) -> Allocation {
        let mut all = self.own.clone();
        if let Some(cache) = &self.cache {
            all.add(&Allocation::from_shares(&cache.physical_volumes));
        }
        all
    }

    /// Returns the maximum of each component.
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

    /// Returns true if any component is larger than in `other`.
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
    /// Returns the sort key for specs of one pool: reserved space, then maximum size.
    ///
    /// The maximum size decides if both specs reserve the same space, which may suffice for either.
    #[must_use]
    pub fn weight(&self) -> (u64, u64) {
        let maximum = self.spec.create.as_ref().map_or(0, |create| {
            quantity::parse(&create.maximum_size).unwrap_or(0)
        });
        (self.space().bytes, maximum)
    }

    /// Returns the space reserved for the pool; none if an admin created the pool.
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
    /// Returns the volume's own space, according to a LogicalVolume's spec.
    #[must_use]
    pub fn from_volume(logical_volume: &LogicalVolume) -> Self {
        let spec = &logical_volume.spec;
        if spec.physical_volumes.is_empty() {
            return quantity::parse(&spec.size).unwrap_or(0).into();
        }
        Self::from_shares(&spec.physical_volumes)
    }

    /// Sums up shares of physical volumes.
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

    /// Returns the shares in the API's form.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        self.disks
            .iter()
            .map(|(uuid, bytes)| Share {
                uuid: uuid.clone(),
                size: quantity::format(*bytes),
            })
            .collect()
    }

    /// Returns the bytes on one physical volume.
    #[must_use]
    pub fn on(&self, uuid: &str) -> u64 {
        self.disks.get(uuid).copied().unwrap_or(0)
    }

    /// Returns the maximum of each component.
    #[must_use]
    pub fn max_each(mut self, other: &Self) -> Self {
        self.bytes = self.bytes.max(other.bytes);
        for (uuid, bytes) in &other.disks {
            let own = self.disks.entry(uuid.clone()).or_default();
            *own = (*own).max(*bytes);
        }
        self
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        for (uuid, bytes) in &other.disks {
            let own = self.disks.entry(uuid.clone()).or_default();
            *own = own.saturating_add(*bytes);
        }
    }

    /// Subtracts `other`, which was added before.
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

    fn allocations() -> impl Strategy<Value = Allocation> {
        prop::collection::vec((0..4_u8, 1..1000_u64), 0..5).prop_map(|shares| {
            shares
                .into_iter()
                .map(|(disk, bytes)| (format!("d{disk}"), bytes))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn subtract_reverts_add(a in allocations(), b in allocations()) {
            let mut sum = a.clone();
            sum.add(&b);
            sum.subtract(&b);
            prop_assert_eq!(sum, a);
        }

        #[test]
        fn max_each_covers_both(a in allocations(), b in allocations()) {
            let larger = a.clone().max_each(&b);
            for one in [a, b] {
                prop_assert!(larger.bytes >= one.bytes);
                for (disk, bytes) in &one.disks {
                    prop_assert!(larger.on(disk) >= *bytes);
                }
            }
        }
    }
}
