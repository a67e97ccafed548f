//! Space of one volume or of several volumes: of the volume group, of each disk, of a thin pool.
//! Pure.

use std::collections::BTreeMap;

use crds::cache::VolumeCache;
use crds::thin_pool::VolumeThinPool;
use crds::{LogicalVolume, Share, quantity};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use storage_model::Bytes;

/// Space of a volume group, in whole extents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// All of the space, including copies, parity and metadata.
    pub total: Bytes,
    /// Space per physical volume, by LVM uuid. The sum is less than `total` if the physical volumes
    /// were not reported.
    pub disks: BTreeMap<String, Bytes>,
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
    /// The volume's size.
    pub size: Bytes,
}

impl From<Bytes> for Allocation {
    fn from(total: Bytes) -> Self {
        Self {
            total,
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
        match &spec.thin_pool {
            Some(pool) => Self {
                pool: Some(PoolAllocation {
                    spec: pool.clone(),
                    size: bytes(&spec.size),
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
                    size: own.size.max(other.size),
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
        self.allocation().total > other.allocation().total
            || self.pool_size() > other.pool_size()
            || self.pool_weight() > other.pool_weight()
    }

    /// Returns the volume's size in its thin pool; 0 without one.
    fn pool_size(&self) -> Bytes {
        self.pool.as_ref().map(|pool| pool.size).unwrap_or_default()
    }

    /// Returns the weight of the volume's thin pool; the smallest one without a pool.
    fn pool_weight(&self) -> PoolWeight {
        self.pool
            .as_ref()
            .map(PoolAllocation::weight)
            .unwrap_or_default()
    }
}

/// Sort key for the specs of one pool.
///
/// The maximum size decides if both specs reserve the same space, which may suffice for either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolWeight {
    reserved: Bytes,
    maximum: Bytes,
}

impl PoolAllocation {
    /// Returns the sort key for specs of one pool.
    pub(crate) fn weight(&self) -> PoolWeight {
        let create = self.spec.create.as_ref();
        PoolWeight {
            reserved: self.space().total,
            maximum: create
                .map(|create| bytes(&create.maximum_size))
                .unwrap_or_default(),
        }
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
            return bytes(&spec.size).into();
        }
        Self::from_shares(&spec.physical_volumes)
    }

    /// Sums up shares of physical volumes.
    #[must_use]
    pub fn from_shares(shares: &[Share]) -> Self {
        shares
            .iter()
            .map(|share| (share.uuid.clone(), bytes(&share.size)))
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

    /// Returns the space on one physical volume.
    #[must_use]
    pub fn on(&self, uuid: &str) -> Bytes {
        self.disks.get(uuid).copied().unwrap_or_default()
    }

    /// Returns the maximum of each component.
    #[must_use]
    pub fn max_each(mut self, other: &Self) -> Self {
        self.total = self.total.max(other.total);
        for (uuid, bytes) in &other.disks {
            let own = self.disks.entry(uuid.clone()).or_default();
            *own = (*own).max(*bytes);
        }
        self
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.total = self.total.saturating_add(other.total);
        for (uuid, bytes) in &other.disks {
            let own = self.disks.entry(uuid.clone()).or_default();
            *own = own.saturating_add(*bytes);
        }
    }

    /// Subtracts `other`, which was added before.
    pub fn subtract(&mut self, other: &Self) {
        self.total = self.total.saturating_sub(other.total);
        for (uuid, bytes) in &other.disks {
            if let Some(own) = self.disks.get_mut(uuid) {
                *own = own.saturating_sub(*bytes);
            }
        }
        self.disks.retain(|_, bytes| *bytes > Bytes(0));
    }
}

impl FromIterator<(String, Bytes)> for Allocation {
    fn from_iter<I: IntoIterator<Item = (String, Bytes)>>(shares: I) -> Self {
        let mut all = Self::default();
        for (uuid, bytes) in shares {
            all.add(&Self {
                total: bytes,
                disks: BTreeMap::from([(uuid, bytes)]),
            });
        }
        all
    }
}

/// Returns a size that FlexLVM wrote or an agent reported; 0 if it is invalid.
pub(crate) fn bytes(size: &Quantity) -> Bytes {
    quantity::parse(size).map(Bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Allocation, Bytes};
    use proptest::prelude::*;

    fn allocations() -> impl Strategy<Value = Allocation> {
        prop::collection::vec((0..4_u8, 1..1000_u64), 0..5).prop_map(|shares| {
            shares
                .into_iter()
                .map(|(disk, bytes)| (format!("d{disk}"), Bytes(bytes)))
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
                prop_assert!(larger.total >= one.total);
                for (disk, bytes) in &one.disks {
                    prop_assert!(larger.on(disk) >= *bytes);
                }
            }
        }
    }
}
