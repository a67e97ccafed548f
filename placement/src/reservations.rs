//! The ledger of promised space: what each LogicalVolume may take, whether it is made yet or not.
//! Space is promised here, under one lock, before a LogicalVolume is written, so that no two claims
//! are promised the same extent. Pure: it hears of the objects from `world.rs` and is asked by
//! `place.rs` and `act.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crds::thin_pool::PoolOrder;
use crds::{LogicalVolume, condition};
use kube::ResourceExt as _;

use crate::allocation::{Demand, InPool, Promise};

/// A volume group on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// The volume group's name.
    pub volume_group: String,
}

/// One volume's space.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    place: Place,
    /// What the LogicalVolume was last seen with; `None` while it has not been seen at all.
    seen: Option<Promise>,
    /// Promised by a write that has not come back to us as a watch event yet.
    pending: Option<Promise>,
}

impl Entry {
    fn promise(&self) -> Promise {
        let seen = self.seen.clone().unwrap_or_default();
        match &self.pending {
            Some(pending) => seen.or_more(pending),
            None => seen,
        }
    }
}

/// The thin pools of a place by name, each with its volumes' parts of it.
type Pools = BTreeMap<String, BTreeMap<String, InPool>>;

/// What is promised of one thin pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pooled {
    /// The sizes of its volumes together, in bytes.
    pub volumes: u64,
    /// The space that it may take; none where an admin made it.
    pub space: Demand,
    /// The order that allows it the most.
    pub order: Option<PoolOrder>,
}

/// All that is promised.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
    sums: BTreeMap<Place, Demand>,
    pools: BTreeMap<Place, Pools>,
    /// The volumes that a list, under way, has shown so far.
    listed: Option<BTreeSet<String>>,
}

impl Ledger {
    /// Bytes promised at a place, thin pools not counted.
    #[must_use]
    pub fn promised(&self, place: &Place) -> u64 {
        self.sums.get(place).map_or(0, |sum| sum.bytes)
    }

    /// Bytes promised on one physical volume of a place.
    #[must_use]
    pub fn promised_on(&self, place: &Place, uuid: &str) -> u64 {
        self.sums.get(place).map_or(0, |sum| sum.on(uuid))
    }

    /// The thin pools of a place that volumes are in.
    #[must_use]
    pub fn pools(&self, place: &Place) -> BTreeMap<&str, Pooled> {
        let pools = self.pools.get(place).into_iter().flatten();
        pools
            .map(|(name, parts)| (name.as_str(), Pooled::of(parts.values())))
            .collect()
    }

    /// What is promised of one thin pool.
    #[must_use]
    pub fn pool(&self, place: &Place, name: &str) -> Pooled {
        let parts = self.pools.get(place).and_then(|pools| pools.get(name));
        Pooled::of(parts.into_iter().flatten().map(|(_, part)| part))
    }

    /// The volumes of each thin pool, on this node or on all.
    #[must_use]
    pub fn in_pools(&self, node: Option<&str>) -> Vec<Vec<String>> {
        let here = self
            .pools
            .iter()
            .filter(|(place, _)| node.is_none_or(|node| place.node == node));
        here.flat_map(|(_, pools)| pools.values())
            .map(|parts| parts.keys().cloned().collect())
            .collect()
    }

    /// True when the volume has a promise already.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Promises so much in total to a volume, before the write that asks for it.
    pub fn promise(&mut self, name: &str, place: &Place, promise: impl Into<Promise>) {
        let seen = self.entries.get(name).and_then(|entry| entry.seen.clone());
        self.put(
            name,
            Some(Entry {
                place: place.clone(),
                seen,
                pending: Some(promise.into()),
            }),
        );
    }

    /// Takes a promise back whose write failed.
    pub fn withdraw(&mut self, name: &str) {
        let entry = self
            .entries
            .get(name)
            .filter(|entry| entry.seen.is_some())
            .cloned();
        self.put(
            name,
            entry.map(|entry| Entry {
                pending: None,
                ..entry
            }),
        );
    }

    /// Takes note of a LogicalVolume as the API has it.
    pub fn observe(&mut self, logical_volume: &LogicalVolume) {
        let name = logical_volume.name_any();
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone());
        }
        let removed = logical_volume
            .status
            .as_ref()
            .is_some_and(|status| condition::is_true(&status.conditions, condition::REMOVED));
        let seen = if removed {
            Promise::default()
        } else {
            Promise::of(logical_volume)
        };
        let place = Place {
            node: logical_volume.spec.node.clone(),
            volume_group: logical_volume.spec.volume_group.clone(),
        };
        let pending = self
            .entries
            .get(&name)
            .and_then(|entry| entry.pending.clone());
        let pending = pending.filter(|pending| !removed && pending.exceeds(&seen));
        self.put(
            &name,
            Some(Entry {
                place,
                seen: Some(seen),
                pending,
            }),
        );
    }

    /// Takes note that a LogicalVolume is gone.
    pub fn forget(&mut self, name: &str) {
        self.put(name, None);
    }

    /// A new list of all LogicalVolumes begins.
    pub fn list_begins(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// The list is complete: what was seen before and is not in it is gone. Promises not seen yet
    /// stay.
    pub fn list_ends(&mut self) {
        let listed = self.listed.take().unwrap_or_default();
        let gone = |(name, entry): (&String, &Entry)| {
            (entry.seen.is_some() && !listed.contains(name)).then(|| name.clone())
        };
        let gone: Vec<String> = self.entries.iter().filter_map(gone).collect();
        for name in gone {
            self.forget(&name);
        }
    }

    fn put(&mut self, name: &str, entry: Option<Entry>) {
        if let Some(old) = self.entries.remove(name) {
            let promise = old.promise();
            if let Some(sum) = self.sums.get_mut(&old.place) {
                sum.subtract(&promise.demand());
            }
            if let Some(pools) = self.pools.get_mut(&old.place) {
                for parts in pools.values_mut() {
                    parts.remove(name);
                }
                pools.retain(|_, parts| !parts.is_empty());
            }
        }
        if let Some(new) = entry {
            let promise = new.promise();
            self.sums
                .entry(new.place.clone())
                .or_default()
                .add(&promise.demand());
            if let Some(part) = promise.pool {
                let pools = self.pools.entry(new.place.clone()).or_default();
                pools
                    .entry(part.order.name.clone())
                    .or_default()
                    .insert(name.to_owned(), part);
            }
            self.entries.insert(name.to_owned(), new);
        }
    }
}

impl Pooled {
    fn of<'a>(parts: impl Iterator<Item = &'a InPool>) -> Self {
        let (mut pooled, mut heaviest) = (Self::default(), (0, 0));
        for part in parts {
            pooled.volumes = pooled.volumes.saturating_add(part.bytes);
            if pooled.order.is_none() || part.weight() > heaviest {
                heaviest = part.weight();
                pooled.order = Some(part.order.clone());
            }
            pooled.space = pooled.space.or_more(&part.space());
        }
        pooled
    }
}

#[cfg(test)]
mod tests {
    use super::{Demand, Ledger, Place};
    use crds::LogicalVolume;
    use proptest::prelude::*;
    use serde_json::json;

    fn place() -> Place {
        Place {
            node: "n1".into(),
            volume_group: "vg".into(),
        }
    }

    fn volume(name: &str, size: &str, removed: bool) -> LogicalVolume {
        let conditions = if removed {
            json!([{"type": "Removed", "status": "True", "reason": "Removed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        } else {
            json!([])
        };
        serde_json::from_value(json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": name},
            "spec": {"node": "n1", "backend": "b", "volumeGroup": "vg", "size": size, "claim": {"namespace": "d", "name": "c", "uid": "u"},
                "storageClass": "s", "reclaimPolicy": "Delete", "key": "00000000000000000000000000000000", "filesystem": {"type": "ext4"}},
            "status": {"conditions": conditions}}))
        .unwrap()
    }

    #[test]
    fn space_is_promised_from_the_promise_until_the_removal() {
        let mut ledger = Ledger::default();
        ledger.promise("a", &place(), 8 << 20);
        assert_eq!(ledger.promised(&place()), 8 << 20);
        ledger.observe(&volume("a", "8Mi", false));
        assert_eq!(ledger.promised(&place()), 8 << 20);
        ledger.observe(&volume("a", "8Mi", true));
        assert_eq!(ledger.promised(&place()), 0);
        ledger.forget("a");
        assert!(!ledger.knows("a"));
    }

    #[test]
    fn an_older_sighting_does_not_undo_a_promise_of_growth() {
        let mut ledger = Ledger::default();
        ledger.observe(&volume("a", "8Mi", false));
        ledger.promise("a", &place(), 16 << 20);
        ledger.observe(&volume("a", "8Mi", false));
        assert_eq!(ledger.promised(&place()), 16 << 20);
        ledger.observe(&volume("a", "16Mi", false));
        ledger.observe(&volume("a", "16Mi", false));
        assert_eq!(ledger.promised(&place()), 16 << 20);
        ledger.promise("a", &place(), 32 << 20);
        ledger.withdraw("a");
        assert_eq!(ledger.promised(&place()), 16 << 20);
    }

    #[test]
    fn a_new_list_drops_what_is_gone_and_keeps_what_is_not_seen_yet() {
        let mut ledger = Ledger::default();
        ledger.observe(&volume("gone", "8Mi", false));
        ledger.promise("coming", &place(), 4 << 20);
        ledger.list_begins();
        ledger.observe(&volume("stays", "16Mi", false));
        ledger.list_ends();
        assert!(!ledger.knows("gone"));
        assert_eq!(ledger.promised(&place()), 20 << 20);
    }

    #[test]
    fn each_disk_has_a_sum_of_its_own() {
        let mut ledger = Ledger::default();
        let share = |disk: &str, bytes: u64| (disk.to_owned(), bytes);
        ledger.promise(
            "a",
            &place(),
            Demand::from_iter([share("d1", 8 << 20), share("d2", 8 << 20)]),
        );
        let mut seen = volume("a", "4Mi", false);
        seen.spec.physical_volumes =
            Demand::from_iter([share("d1", 8 << 20), share("d2", 8 << 20)]).shares();
        ledger.observe(&seen);
        ledger.promise("b", &place(), Demand::from_iter([share("d2", 4 << 20)]));
        let on = |ledger: &Ledger| {
            ["d1", "d2", "d3"].map(|disk| ledger.promised_on(&place(), disk) >> 20)
        };
        assert_eq!(
            (on(&ledger), ledger.promised(&place())),
            ([8, 12, 0], 20 << 20)
        );
        ledger.forget("a");
        assert_eq!(on(&ledger), [0, 4, 0]);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_volumes(steps in prop::collection::vec((0..4_u8, 0..5_u8, 1..9_u64), 0..60)) {
            let mut ledger = Ledger::default();
            for (action, name, mebibytes) in steps {
                let name = format!("v{name}");
                match action {
                    0 => ledger.promise(&name, &place(), mebibytes << 20),
                    1 => ledger.withdraw(&name),
                    2 => ledger.observe(&volume(&name, &format!("{mebibytes}Mi"), false)),
                    _ => ledger.forget(&name),
                }
                let sum: u64 = ledger.entries.values().map(|entry| entry.promise().demand().bytes).sum();
                prop_assert_eq!(ledger.promised(&place()), sum);
            }
        }
    }
}
