//! The ledger of promised space: what each LogicalVolume may take, whether it is made yet or not. Space is promised here,
//! under one lock, before a LogicalVolume is written, so that no two claims are promised the same extent.
//! Pure: it hears of the objects from `world.rs` and is asked by `place.rs` and `act.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crds::quantity;
use crds::{LogicalVolume, condition};
use kube::ResourceExt as _;

/// A volume group on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// The volume group's name.
    pub volume_group: String,
}

/// One volume's space.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    place: Place,
    /// Bytes that the LogicalVolume was last seen with; `None` while it has not been seen at all.
    seen: Option<u64>,
    /// Bytes promised by a write that has not come back to us as a watch event yet.
    pending: Option<u64>,
}

impl Entry {
    fn bytes(&self) -> u64 {
        self.seen.unwrap_or(0).max(self.pending.unwrap_or(0))
    }
}

/// All that is promised.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
    sums: BTreeMap<Place, u64>,
    /// The volumes that a list, under way, has shown so far.
    listed: Option<BTreeSet<String>>,
}

impl Ledger {
    /// Bytes promised at a place.
    #[must_use]
    pub fn promised(&self, place: &Place) -> u64 {
        self.sums.get(place).copied().unwrap_or(0)
    }

    /// True when the volume has a promise already.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Promises `bytes` in total to a volume, before the write that asks for it.
    pub fn promise(&mut self, name: &str, place: &Place, bytes: u64) {
        let seen = self.entries.get(name).and_then(|entry| entry.seen);
        self.put(name, Some(Entry { place: place.clone(), seen, pending: Some(bytes) }));
    }

    /// Takes a promise back whose write failed.
    pub fn withdraw(&mut self, name: &str) {
        let entry = self.entries.get(name).filter(|entry| entry.seen.is_some()).cloned();
        self.put(name, entry.map(|entry| Entry { pending: None, ..entry }));
    }

    /// Takes note of a LogicalVolume as the API has it.
    pub fn observe(&mut self, logical_volume: &LogicalVolume) {
        let name = logical_volume.name_any();
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone());
        }
        let removed =
            logical_volume.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, condition::REMOVED));
        let seen = if removed { 0 } else { quantity::parse(&logical_volume.spec.size).unwrap_or(0) };
        let place =
            Place { node: logical_volume.spec.node.clone(), volume_group: logical_volume.spec.volume_group.clone() };
        let pending = self.entries.get(&name).and_then(|entry| entry.pending).filter(|pending| !removed && *pending > seen);
        self.put(&name, Some(Entry { place, seen: Some(seen), pending }));
    }

    /// Takes note that a LogicalVolume is gone.
    pub fn forget(&mut self, name: &str) {
        self.put(name, None);
    }

    /// A new list of all LogicalVolumes begins.
    pub fn list_begins(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// The list is complete: what was seen before and is not in it is gone. Promises not seen yet stay.
    pub fn list_ends(&mut self) {
        let listed = self.listed.take().unwrap_or_default();
        let gone = |(name, entry): (&String, &Entry)| (entry.seen.is_some() && !listed.contains(name)).then(|| name.clone());
        let gone: Vec<String> = self.entries.iter().filter_map(gone).collect();
        for name in gone {
            self.forget(&name);
        }
    }

    fn put(&mut self, name: &str, entry: Option<Entry>) {
        if let Some(old) = self.entries.remove(name) {
            let bytes = old.bytes();
            if let Some(sum) = self.sums.get_mut(&old.place) {
                *sum = sum.saturating_sub(bytes);
            }
        }
        if let Some(new) = entry {
            let sum = self.sums.entry(new.place.clone()).or_default();
            *sum = sum.saturating_add(new.bytes());
            self.entries.insert(name.to_owned(), new);
        }
    }
}
