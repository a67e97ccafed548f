//! The ledger of reserved space: what each LogicalVolume may take, whether it is made yet or not.
//! Space is promised here, under one lock, before a LogicalVolume is written, so that no two claims
//! are promised the same extent. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crds::thin_pool::VolumeThinPool;
use crds::{LogicalVolume, condition};
use kube::ResourceExt as _;

use crate::allocation::{Allocation, PoolAllocation, Reservation};

/// A volume group on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The node's name.
    pub node: String,
    /// The volume group's name.
    pub volume_group: String,
}

/// One volume's space.
#[derive(Clone, Debug, PartialEq)]
struct VolumeEntry {
    location: Location,
    /// What the LogicalVolume was last seen with; `None` while it has not been seen at all.
    seen: Option<Reservation>,
    /// Promised by a write that has not come back to us as a watch event yet.
    pending: Option<Reservation>,
}

impl VolumeEntry {
    fn reservation(&self) -> Reservation {
        let seen = self.seen.clone().unwrap_or_default();
        match &self.pending {
            Some(pending) => seen.max_each(pending),
            None => seen,
        }
    }
}

/// The thin pools of a place by name, each with its volumes' parts of it.
type Pools = BTreeMap<String, BTreeMap<String, PoolAllocation>>;

/// What is promised of one thin pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolReservations {
    /// The sizes of its volumes together, in bytes.
    pub volumes: u64,
    /// The space that it may take; none where an admin made it.
    pub space: Allocation,
    /// The order that allows it the most.
    pub spec: Option<VolumeThinPool>,
}

/// All that is promised.
#[derive(Debug, Default)]
pub struct Reservations {
    entries: BTreeMap<String, VolumeEntry>,
    sums: BTreeMap<Location, Allocation>,
    pools: BTreeMap<Location, Pools>,
    /// The volumes that a list, under way, has shown so far.
    listed: Option<BTreeSet<String>>,
}

impl Reservations {
    /// Bytes promised at a place, thin pools not counted.
    #[must_use]
    pub fn reserved(&self, location: &Location) -> u64 {
        self.sums.get(location).map_or(0, |sum| sum.bytes)
    }

    /// Bytes promised on one physical volume of a place.
    #[must_use]
    pub fn reserved_on(&self, location: &Location, uuid: &str) -> u64 {
        self.sums.get(location).map_or(0, |sum| sum.on(uuid))
    }

    /// The thin pools of a place that volumes are in.
    #[must_use]
    pub fn pools(&self, location: &Location) -> BTreeMap<&str, PoolReservations> {
        let pools = self.pools.get(location).into_iter().flatten();
        pools
            .map(|(name, parts)| (name.as_str(), PoolReservations::of(parts.values())))
            .collect()
    }

    /// What is promised of one thin pool.
    #[must_use]
    pub fn pool(&self, location: &Location, name: &str) -> PoolReservations {
        let parts = self.pools.get(location).and_then(|pools| pools.get(name));
        PoolReservations::of(parts.into_iter().flatten().map(|(_, part)| part))
    }

    /// The volumes of each thin pool, on this node or on all.
    #[must_use]
    pub fn in_pools(&self, node: Option<&str>) -> Vec<Vec<String>> {
        let here = self
            .pools
            .iter()
            .filter(|(location, _)| node.is_none_or(|node| location.node == node));
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
    pub fn reserve(
        &mut self,
        name: &str,
        location: &Location,
        reservation: impl Into<Reservation>,
    ) {
        let seen = self.entries.get(name).and_then(|entry| entry.seen.clone());
        self.put(
            name,
            Some(VolumeEntry {
                location: location.clone(),
                seen,
                pending: Some(reservation.into()),
            }),
        );
    }

    /// Takes a promise back whose write failed.
    pub fn cancel(&mut self, name: &str) {
        let entry = self
            .entries
            .get(name)
            .filter(|entry| entry.seen.is_some())
            .cloned();
        self.put(
            name,
            entry.map(|entry| VolumeEntry {
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
            Reservation::default()
        } else {
            Reservation::from_volume(logical_volume)
        };
        let location = Location {
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
            Some(VolumeEntry {
                location,
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
        let gone = |(name, entry): (&String, &VolumeEntry)| {
            (entry.seen.is_some() && !listed.contains(name)).then(|| name.clone())
        };
        let gone: Vec<String> = self.entries.iter().filter_map(gone).collect();
        for name in gone {
            self.forget(&name);
        }
    }

    fn put(&mut self, name: &str, entry: Option<VolumeEntry>) {
        if let Some(old) = self.entries.remove(name) {
            let reservation = old.reservation();
            if let Some(sum) = self.sums.get_mut(&old.location) {
                sum.subtract(&reservation.allocation());
            }
            if let Some(pools) = self.pools.get_mut(&old.location) {
                for parts in pools.values_mut() {
                    parts.remove(name);
                }
                pools.retain(|_, parts| !parts.is_empty());
            }
        }
        if let Some(new) = entry {
            let reservation = new.reservation();
            self.sums
                .entry(new.location.clone())
                .or_default()
                .add(&reservation.allocation());
            if let Some(part) = reservation.pool {
                let pools = self.pools.entry(new.location.clone()).or_default();
                pools
                    .entry(part.spec.name.clone())
                    .or_default()
                    .insert(name.to_owned(), part);
            }
            self.entries.insert(name.to_owned(), new);
        }
    }
}

impl PoolReservations {
    fn of<'a>(parts: impl Iterator<Item = &'a PoolAllocation>) -> Self {
        let (mut pooled, mut heaviest) = (Self::default(), (0, 0));
        for part in parts {
            pooled.volumes = pooled.volumes.saturating_add(part.bytes);
            if pooled.spec.is_none() || part.weight() > heaviest {
                heaviest = part.weight();
                pooled.spec = Some(part.spec.clone());
            }
            pooled.space = pooled.space.max_each(&part.space());
        }
        pooled
    }
}

#[cfg(test)]
mod tests {
    use super::{Allocation, Location, Reservations};
    use crds::LogicalVolume;
    use proptest::prelude::*;
    use serde_json::json;

    fn location() -> Location {
        Location {
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
        let mut reservations = Reservations::default();
        reservations.reserve("a", &location(), 8 << 20);
        assert_eq!(reservations.reserved(&location()), 8 << 20);
        reservations.observe(&volume("a", "8Mi", false));
        assert_eq!(reservations.reserved(&location()), 8 << 20);
        reservations.observe(&volume("a", "8Mi", true));
        assert_eq!(reservations.reserved(&location()), 0);
        reservations.forget("a");
        assert!(!reservations.knows("a"));
    }

    #[test]
    fn an_older_sighting_does_not_undo_a_promise_of_growth() {
        let mut reservations = Reservations::default();
        reservations.observe(&volume("a", "8Mi", false));
        reservations.reserve("a", &location(), 16 << 20);
        reservations.observe(&volume("a", "8Mi", false));
        assert_eq!(reservations.reserved(&location()), 16 << 20);
        reservations.observe(&volume("a", "16Mi", false));
        reservations.observe(&volume("a", "16Mi", false));
        assert_eq!(reservations.reserved(&location()), 16 << 20);
        reservations.reserve("a", &location(), 32 << 20);
        reservations.cancel("a");
        assert_eq!(reservations.reserved(&location()), 16 << 20);
    }

    #[test]
    fn a_new_list_drops_what_is_gone_and_keeps_what_is_not_seen_yet() {
        let mut reservations = Reservations::default();
        reservations.observe(&volume("gone", "8Mi", false));
        reservations.reserve("coming", &location(), 4 << 20);
        reservations.list_begins();
        reservations.observe(&volume("stays", "16Mi", false));
        reservations.list_ends();
        assert!(!reservations.knows("gone"));
        assert_eq!(reservations.reserved(&location()), 20 << 20);
    }

    #[test]
    fn each_disk_has_a_sum_of_its_own() {
        let mut reservations = Reservations::default();
        let share = |disk: &str, bytes: u64| (disk.to_owned(), bytes);
        reservations.reserve(
            "a",
            &location(),
            Allocation::from_iter([share("d1", 8 << 20), share("d2", 8 << 20)]),
        );
        let mut seen = volume("a", "4Mi", false);
        seen.spec.physical_volumes =
            Allocation::from_iter([share("d1", 8 << 20), share("d2", 8 << 20)]).shares();
        reservations.observe(&seen);
        reservations.reserve(
            "b",
            &location(),
            Allocation::from_iter([share("d2", 4 << 20)]),
        );
        let on = |reservations: &Reservations| {
            ["d1", "d2", "d3"].map(|disk| reservations.reserved_on(&location(), disk) >> 20)
        };
        assert_eq!(
            (on(&reservations), reservations.reserved(&location())),
            ([8, 12, 0], 20 << 20)
        );
        reservations.forget("a");
        assert_eq!(on(&reservations), [0, 4, 0]);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_volumes(steps in prop::collection::vec((0..4_u8, 0..5_u8, 1..9_u64), 0..60)) {
            let mut reservations = Reservations::default();
            for (action, name, mebibytes) in steps {
                let name = format!("v{name}");
                match action {
                    0 => reservations.reserve(&name, &location(), mebibytes << 20),
                    1 => reservations.cancel(&name),
                    2 => reservations.observe(&volume(&name, &format!("{mebibytes}Mi"), false)),
                    _ => reservations.forget(&name),
                }
                let sum: u64 = reservations.entries.values().map(|entry| entry.reservation().allocation().bytes).sum();
                prop_assert_eq!(reservations.reserved(&location()), sum);
            }
        }
    }
}
