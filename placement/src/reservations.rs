//! Tracks the space that each LogicalVolume reserves, whether its logical volume is created yet or
//! not.
//!
//! The controller reserves space here, under one lock, before it writes a LogicalVolume, so that no
//! two claims get the same extent. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crds::thin_pool::VolumeThinPool;
use crds::{LogicalVolume, condition};
use kube::ResourceExt as _;
use storage_model::Bytes;

use crate::allocation::{Allocation, PoolAllocation, PoolWeight, Reservation};

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
    /// Space according to the last observed LogicalVolume; `None` before the first observation.
    observed: Option<Reservation>,
    /// Space of a write that the watch has not delivered yet.
    pending: Option<Reservation>,
}

impl VolumeEntry {
    fn reservation(&self) -> Reservation {
        let observed = self.observed.clone().unwrap_or_default();
        match &self.pending {
            Some(pending) => observed.max_each(pending),
            None => observed,
        }
    }
}

/// The thin pools of a location by name, each with the shares of its volumes by volume name.
type Pools = BTreeMap<String, BTreeMap<String, PoolAllocation>>;

/// The reservations of one thin pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolReservations {
    /// Sum of the sizes of its volumes.
    pub volumes: Bytes,
    /// Space reserved for the pool itself; none if an admin created it.
    pub space: Allocation,
    /// The spec that allows the pool the most space; `None` without volumes.
    pub spec: Option<VolumeThinPool>,
}

/// The reservations of all volumes.
#[derive(Debug, Default)]
pub struct Reservations {
    entries: BTreeMap<String, VolumeEntry>,
    sums: BTreeMap<Location, Allocation>,
    pools: BTreeMap<Location, Pools>,
    /// Names of the volumes in the list that the watch is delivering; `None` between lists.
    listed: Option<BTreeSet<String>>,
}

impl Reservations {
    /// Returns the space reserved at a location, without thin pools.
    #[must_use]
    pub fn reserved(&self, location: &Location) -> Bytes {
        let sum = self.sums.get(location);
        sum.map(|sum| sum.total).unwrap_or_default()
    }

    /// Returns the space reserved on one physical volume, without thin pools.
    #[must_use]
    pub fn reserved_on(&self, location: &Location, uuid: &str) -> Bytes {
        let sum = self.sums.get(location);
        sum.map(|sum| sum.on(uuid)).unwrap_or_default()
    }

    /// Returns the reservations of a location's thin pools that have volumes, by pool name.
    #[must_use]
    pub fn pools(&self, location: &Location) -> BTreeMap<&str, PoolReservations> {
        let pools = self.pools.get(location).into_iter().flatten();
        pools
            .map(|(name, parts)| (name.as_str(), PoolReservations::of(parts.values())))
            .collect()
    }

    /// Returns the reservations of one thin pool.
    #[must_use]
    pub fn pool(&self, location: &Location, name: &str) -> PoolReservations {
        let parts = self.pools.get(location).and_then(|pools| pools.get(name));
        PoolReservations::of(parts.into_iter().flatten().map(|(_, part)| part))
    }

    /// Returns the names of the volumes of each thin pool, on one node or on all.
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

    /// Returns true if the volume has a reservation.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Reserves space for a volume before the write that needs it. Replaces the volume's pending
    /// reservation.
    pub fn reserve(
        &mut self,
        name: &str,
        location: &Location,
        reservation: impl Into<Reservation>,
    ) {
        let observed = self
            .entries
            .get(name)
            .and_then(|entry| entry.observed.clone());
        self.put(
            name,
            Some(VolumeEntry {
                location: location.clone(),
                observed,
                pending: Some(reservation.into()),
            }),
        );
    }

    /// Cancels a pending reservation after its write failed.
    pub fn cancel(&mut self, name: &str) {
        let entry = self
            .entries
            .get(name)
            .filter(|entry| entry.observed.is_some())
            .cloned();
        self.put(
            name,
            entry.map(|entry| VolumeEntry {
                pending: None,
                ..entry
            }),
        );
    }

    /// Updates the reservation from a LogicalVolume that the watch delivered.
    pub fn observe(&mut self, logical_volume: &LogicalVolume) {
        let name = logical_volume.name_any();
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone());
        }
        let removed = logical_volume
            .status
            .as_ref()
            .is_some_and(|status| condition::is_true(&status.conditions, condition::REMOVED));
        let observed = if removed {
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
        let pending = pending.filter(|pending| !removed && pending.exceeds(&observed));
        self.put(
            &name,
            Some(VolumeEntry {
                location,
                observed: Some(observed),
                pending,
            }),
        );
    }

    /// Removes the reservation of a deleted LogicalVolume.
    pub fn remove(&mut self, name: &str) {
        self.put(name, None);
    }

    /// Starts a new list of all LogicalVolumes.
    pub fn begin_list(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// Completes the list: removes observed volumes that are not in it. Reservations whose
    /// LogicalVolume was not observed yet stay.
    pub fn end_list(&mut self) {
        let listed = self.listed.take().unwrap_or_default();
        let deleted: Vec<String> = self
            .entries
            .iter()
            .filter(|(name, entry)| entry.observed.is_some() && !listed.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in deleted {
            self.remove(&name);
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
        let mut pooled = Self::default();
        let mut heaviest = PoolWeight::default();
        for part in parts {
            pooled.volumes = pooled.volumes.saturating_add(part.size);
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
    use super::{Allocation, Bytes, Location, Reservations};
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
                "storageClass": "s", "reclaimPolicy": "Delete", "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"}},
            "status": {"conditions": conditions}}))
        .unwrap()
    }

    #[test]
    fn space_stays_reserved_until_removal() {
        let mut reservations = Reservations::default();
        reservations.reserve("a", &location(), Bytes(8 << 20));
        assert_eq!(reservations.reserved(&location()), Bytes(8 << 20));
        reservations.observe(&volume("a", "8Mi", false));
        assert_eq!(reservations.reserved(&location()), Bytes(8 << 20));
        reservations.observe(&volume("a", "8Mi", true));
        assert_eq!(reservations.reserved(&location()), Bytes(0));
        reservations.remove("a");
        assert!(!reservations.contains("a"));
    }

    #[test]
    fn stale_observation_keeps_pending_growth() {
        let mut reservations = Reservations::default();
        reservations.observe(&volume("a", "8Mi", false));
        reservations.reserve("a", &location(), Bytes(16 << 20));
        reservations.observe(&volume("a", "8Mi", false));
        assert_eq!(reservations.reserved(&location()), Bytes(16 << 20));
        reservations.observe(&volume("a", "16Mi", false));
        reservations.observe(&volume("a", "16Mi", false));
        assert_eq!(reservations.reserved(&location()), Bytes(16 << 20));
        reservations.reserve("a", &location(), Bytes(32 << 20));
        reservations.cancel("a");
        assert_eq!(reservations.reserved(&location()), Bytes(16 << 20));
    }

    #[test]
    fn new_list_drops_deleted_volumes_and_keeps_pending_ones() {
        let mut reservations = Reservations::default();
        reservations.observe(&volume("gone", "8Mi", false));
        reservations.reserve("coming", &location(), Bytes(4 << 20));
        reservations.begin_list();
        reservations.observe(&volume("stays", "16Mi", false));
        reservations.end_list();
        assert!(!reservations.contains("gone"));
        assert_eq!(reservations.reserved(&location()), Bytes(20 << 20));
    }

    fn share(disk: &str, bytes: u64) -> (String, Bytes) {
        (disk.to_owned(), Bytes(bytes))
    }

    /// Returns the MiB reserved on three disks.
    fn on_disks(reservations: &Reservations) -> [u64; 3] {
        ["d1", "d2", "d3"].map(|disk| reservations.reserved_on(&location(), disk).0 >> 20)
    }

    #[test]
    fn each_disk_has_its_own_sum() {
        let mut reservations = Reservations::default();
        reservations.reserve(
            "a",
            &location(),
            Allocation::from_iter([share("d1", 8 << 20), share("d2", 8 << 20)]),
        );
        let mut observed = volume("a", "4Mi", false);
        observed.spec.physical_volumes =
            Allocation::from_iter([share("d1", 8 << 20), share("d2", 8 << 20)]).shares();
        reservations.observe(&observed);
        reservations.reserve(
            "b",
            &location(),
            Allocation::from_iter([share("d2", 4 << 20)]),
        );
        assert_eq!(
            (on_disks(&reservations), reservations.reserved(&location())),
            ([8, 12, 0], Bytes(20 << 20))
        );
        reservations.remove("a");
        assert_eq!(on_disks(&reservations), [0, 4, 0]);
    }

    proptest! {
        #[test]
        fn sum_equals_sum_of_entries(
            steps in prop::collection::vec((0..4_u8, 0..5_u8, 1..9_u64), 0..60),
        ) {
            let mut reservations = Reservations::default();
            for (action, name, mebibytes) in steps {
                let name = format!("v{name}");
                match action {
                    0 => reservations.reserve(&name, &location(), Bytes(mebibytes << 20)),
                    1 => reservations.cancel(&name),
                    2 => reservations.observe(&volume(&name, &format!("{mebibytes}Mi"), false)),
                    _ => reservations.remove(&name),
                }
                let entries = reservations.entries.values();
                let sum: Bytes = entries.map(|entry| entry.reservation().allocation().total).sum();
                prop_assert_eq!(reservations.reserved(&location()), sum);
            }
        }
    }
}
