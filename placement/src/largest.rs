//! How much fits into a free space: the largest single volume, and all volumes together.
//!
//! These numbers are published to the scheduler. They come from the function that places volumes,
//! so that the two never disagree. Pure.

use crds::StorageBackendSpec;
use storage_model::{Bytes, Extents};

use crate::fit::NewVolume;
use crate::free_space::FreeSpace;

impl FreeSpace {
    /// Returns the size of the largest volume of this backend that fits: whole extents. 0 if none
    /// fits.
    #[must_use]
    pub fn largest(&self, backend: &StorageBackendSpec) -> Bytes {
        self.largest_fit(backend)
            .map(|volume| volume.size)
            .unwrap_or_default()
    }

    /// Returns the sizes of the volumes of this backend that use up the space: the largest volume
    /// that fits, then the largest in the remaining space, and so on.
    ///
    /// More than one if a volume can't be spread over all disks.
    #[must_use]
    pub fn largest_volumes(&self, backend: &StorageBackendSpec) -> Vec<Bytes> {
        let mut rest = self.clone();
        let mut volumes = Vec::new();
        // Each volume fills at least one of its disks, so there are at most as many volumes as
        // disks.
        while volumes.len() <= self.disks.len()
            && let Some(volume) = rest.largest_fit(backend)
        {
            volumes.push(volume.size);
            rest.subtract(&volume);
        }
        volumes
    }

    fn largest_fit(&self, backend: &StorageBackendSpec) -> Option<NewVolume> {
        let mut fits = self.fit_extents(backend, 1)?;
        // The larger of two sizes never takes less space, so binary search finds the largest that
        // fits. LVM counts extents with 32 bits.
        let mut least = 2;
        let mut most = u64::from(u32::MAX);
        while least <= most {
            let middle = least.midpoint(most);
            match self.fit_extents(backend, middle) {
                Some(found) => {
                    fits = found;
                    least = middle + 1;
                }
                None => most = middle - 1,
            }
        }
        Some(fits)
    }

    /// Fits a volume of this many extents.
    fn fit_extents(&self, backend: &StorageBackendSpec, extents: u64) -> Option<NewVolume> {
        let size = Extents(extents).bytes(self.extent_size);
        self.allocate(backend, size).ok()
    }

    /// Subtracts a volume.
    fn subtract(&mut self, volume: &NewVolume) {
        let all = volume.reservation.allocation();
        self.free = self.free.saturating_sub(volume.reservation.own.total);
        for disk in self.disks.iter_mut().chain(&mut self.fast) {
            disk.free = disk.free.saturating_sub(all.on(&disk.uuid));
        }
        if let Some(pool) = &mut self.pool {
            pool.free = pool.free.saturating_sub(volume.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::free_space::{FreeDisk, FreeSpace};
    use crate::reservations::Location;
    use crds::StorageBackendSpec;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use storage_model::Bytes;

    const EXTENT: u64 = 4 << 20;

    fn layout(value: Value) -> StorageBackendSpec {
        serde_json::from_value(json!({"volumeGroup": "vg0", "layout": value})).unwrap()
    }

    /// A volume group with this many free extents per disk, of which `held_back` extents are held
    /// back.
    fn space(disks: &[u64], held_back: u64) -> FreeSpace {
        let location = Location {
            node: "n1".into(),
            volume_group: "vg0".into(),
        };

        let size = disks.iter().sum::<u64>() * EXTENT;
        let held_back = held_back * EXTENT;
        let free = size.saturating_sub(held_back);
        let disks = disks
            .iter()
            .enumerate()
            .map(|(number, extents)| FreeDisk {
                used_by_others: Bytes(0),
                uuid: format!("d{number}"),
                name: format!("/dev/d{number}"),
                free: Bytes(extents * EXTENT),
            })
            .collect();
        FreeSpace {
            location,
            extent_size: Bytes(EXTENT),
            size: Bytes(size),
            held_back: Bytes(held_back),
            free: Bytes(free),
            disks,
            fast: Vec::new(),
            pool: None,
        }
    }

    #[test]
    fn linear_volume_may_use_all_free_space() {
        let space = space(&[10, 20, 5], 3);
        assert_eq!(space.largest(&layout(json!({}))), Bytes(32 * EXTENT));
        assert_eq!(
            space.largest_volumes(&layout(json!({}))),
            [Bytes(32 * EXTENT)]
        );
    }

    #[test]
    fn linear_volume_fits_without_reported_disks() {
        let mut space = space(&[10], 0);
        space.disks.clear();
        assert_eq!(
            (
                space.largest(&layout(json!({}))),
                space.largest(&layout(json!({"type": "RAID1"})))
            ),
            (Bytes(40 << 20), Bytes(0))
        );
    }

    #[test]
    fn largest_mirror_is_limited_by_second_disk() {
        // One extent of each image is its metadata.
        let space = space(&[160, 50, 40], 0);
        let mirror = layout(json!({"type": "RAID1"}));
        assert_eq!(space.largest(&mirror), Bytes(49 * EXTENT));
        assert_eq!(
            space.largest_volumes(&mirror),
            [Bytes(49 * EXTENT), Bytes(39 * EXTENT)]
        );
    }

    #[test]
    fn striped_volume_is_a_multiple_of_its_stripes() {
        let space = space(&[10, 7, 7], 0);
        assert_eq!(
            space.largest(&layout(json!({"type": "Striped", "stripes": 3}))),
            Bytes(21 * EXTENT)
        );
        assert_eq!(
            space.largest(&layout(json!({"type": "Striped", "stripes": 4}))),
            Bytes(0)
        );
    }

    fn layouts() -> impl Strategy<Value = StorageBackendSpec> {
        prop::sample::select(vec![
            json!({}),
            json!({"type": "Striped", "stripes": 2}),
            json!({"type": "Striped", "stripes": 3}),
            json!({"type": "RAID1"}),
            json!({"type": "RAID1", "copies": 3, "integrity": true}),
            json!({"type": "RAID5"}),
            json!({"type": "RAID6", "integrity": true}),
            json!({"type": "RAID10"}),
        ])
        .prop_map(layout)
    }

    proptest! {
        /// The published number is exact: that size fits, and one byte more does not.
        #[test]
        fn largest_volume_fits_and_a_larger_one_does_not(
            backend in layouts(),
            disks in prop::collection::vec(0..3000_u64, 0..7),
            held_back in 0..500_u64,
        ) {
            let space = space(&disks, held_back);
            let largest = space.largest(&backend);
            if largest > Bytes(0) {
                prop_assert_eq!(space.allocate(&backend, largest).unwrap().size, largest);
            }
            prop_assert!(space.allocate(&backend, Bytes(largest.0 + 1)).is_err());
        }

        /// Precondition of the binary search.
        #[test]
        fn smaller_volumes_fit_too(
            backend in layouts(),
            disks in prop::collection::vec(0..3000_u64, 1..7),
            part in 1..100_u64,
        ) {
            let space = space(&disks, 0);
            let smaller = Bytes(space.largest(&backend).0 * part / 100);
            prop_assert!(smaller == Bytes(0) || space.allocate(&backend, smaller).is_ok());
        }

        #[test]
        fn largest_volumes_stay_within_free_space(
            backend in layouts(),
            disks in prop::collection::vec(0..3000_u64, 0..7),
            held_back in 0..500_u64,
        ) {
            let space = space(&disks, held_back);
            let volumes = space.largest_volumes(&backend);
            prop_assert_eq!(volumes.first().copied().unwrap_or_default(), space.largest(&backend));
            prop_assert!(volumes.is_sorted_by(|a, b| a >= b));
            prop_assert!(volumes.into_iter().sum::<Bytes>() <= space.free);
        }
    }
}
