//! Space that a volume takes, or that several take together: of the volume group, and of each of its disks.
//! Pure. Kept by the ledger, made by `disks.rs`.

use std::collections::BTreeMap;

use crds::logical_volume::Share;
use crds::{LogicalVolume, quantity};

/// Space in bytes, whole extents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// All of it, copies, parity and metadata included.
    pub bytes: u64,
    /// What is on which physical volume, by LVM's uuid of it. Less than all where nobody has said which.
    pub disks: BTreeMap<String, u64>,
}

impl From<u64> for Demand {
    fn from(bytes: u64) -> Self {
        Self { bytes, disks: BTreeMap::new() }
    }
}

impl Demand {
    /// What was promised to a volume, says its object.
    #[must_use]
    pub fn of(logical_volume: &LogicalVolume) -> Self {
        let size = |quantity| quantity::parse(quantity).unwrap_or(0);
        let spec = &logical_volume.spec;
        if spec.physical_volumes.is_empty() {
            return size(&spec.size).into();
        }
        spec.physical_volumes.iter().map(|share| (share.uuid.clone(), size(&share.size))).collect()
    }

    /// As the object says it.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let share = |(uuid, bytes): (&String, &u64)| Share { uuid: uuid.clone(), size: quantity::format(*bytes) };
        self.disks.iter().map(share).collect()
    }

    /// What is on one physical volume.
    #[must_use]
    pub fn on(&self, uuid: &str) -> u64 {
        self.disks.get(uuid).copied().unwrap_or(0)
    }

    /// The larger of two, everywhere.
    #[must_use]
    pub fn or_more(mut self, other: &Self) -> Self {
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

impl FromIterator<(String, u64)> for Demand {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(shares: I) -> Self {
        let mut all = Self::default();
        for (uuid, bytes) in shares {
            all.add(&Self { bytes, disks: BTreeMap::from([(uuid, bytes)]) });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Demand;
    use proptest::prelude::*;

    fn demands() -> impl Strategy<Value = Demand> {
        prop::collection::vec((0..4_u8, 1..1000_u64), 0..5)
            .prop_map(|shares| shares.into_iter().map(|(disk, bytes)| (format!("d{disk}"), bytes)).collect())
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
            let larger = a.clone().or_more(&b);
            for one in [a, b] {
                prop_assert!(larger.bytes >= one.bytes && one.disks.iter().all(|(disk, bytes)| larger.on(disk) >= *bytes));
            }
        }
    }
}
