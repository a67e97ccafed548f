//! Tests of the assignment of space to disks.

use proptest::prelude::*;
use storage_model::{Bytes, Layout, Level, Stripes};

use super::{FreeDisk, assign, extend};
use crate::allocation::Allocation;
use crate::free_space::FreeSpace;
use crate::rejection::Rejection;
use crate::reservations::Location;

const EXTENT: u64 = 4 << 20;
const TWO: Stripes = Stripes {
    count: 2,
    size: Bytes(64 << 10),
};
const MIRROR: Layout = Layout::Raid {
    level: Level::Raid1 { copies: 2 },
    integrity: false,
};

/// A volume group with this many free extents per disk.
fn space(free: &[u64]) -> FreeSpace {
    let mut disks = Vec::new();
    for (number, extents) in free.iter().enumerate() {
        disks.push(FreeDisk {
            uuid: format!("d{number}"),
            name: format!("/dev/sd{number}"),
            free: Bytes(extents * EXTENT),
            used_by_others: Bytes(0),
        });
    }
    let free = disks.iter().map(|disk| disk.free).sum();
    let location = Location {
        node: "n1".into(),
        volume_group: "vg0".into(),
    };
    FreeSpace {
        location,
        extent_size: Bytes(EXTENT),
        size: free,
        held_back: Bytes(0),
        free,
        disks,
        fast: Vec::new(),
        pool: None,
    }
}

/// The extents that a volume of `extents` extents gets on each disk.
fn assigned(layout: Layout, extents: u64, space: &FreeSpace) -> Result<Vec<u64>, Rejection> {
    let cost = layout.cost(Bytes(extents * EXTENT), Bytes(EXTENT)).unwrap();
    assign(layout, cost, space).map(|allocation| on(&allocation, space))
}

fn on(allocation: &Allocation, space: &FreeSpace) -> Vec<u64> {
    space
        .disks
        .iter()
        .map(|disk| allocation.on(&disk.uuid).0 / EXTENT)
        .collect()
}

#[test]
fn each_image_has_its_own_disk() {
    assert_eq!(
        assigned(MIRROR, 10, &space(&[20, 15, 11])),
        Ok(vec![11, 11, 0])
    );
    assert_eq!(
        assigned(Layout::Striped(TWO), 9, &space(&[4, 5, 6])),
        Ok(vec![0, 5, 5])
    );
    let raid5 = Layout::Raid {
        level: Level::Raid5(TWO),
        integrity: false,
    };
    assert_eq!(assigned(raid5, 10, &space(&[6, 6, 6])), Ok(vec![6, 6, 6]));
}

/// Returns the rejection of a mirror of ten extents.
fn rejected_mirror(free: &[u64]) -> String {
    assigned(MIRROR, 10, &space(free)).unwrap_err().to_string()
}

#[test]
fn too_few_or_too_full_disks_are_rejected() {
    assert_eq!(
        rejected_mirror(&[100]),
        "has 1 disk in volume group vg0 but raid1 needs 2 (add disks with vgextend)"
    );
    let full = "has 1 disk with 44 MiB free in volume group vg0 but raid1 needs 2";
    assert_eq!(rejected_mirror(&[100, 10]), full);
    assert_eq!(
        rejected_mirror(&[10, 11]),
        "has 84 MiB free of 84 MiB in volume group vg0"
    );
}

#[test]
fn linear_volume_stays_on_one_disk_if_it_fits() {
    assert_eq!(
        assigned(Layout::Linear, 10, &space(&[9, 12, 11])),
        Ok(vec![0, 10, 0])
    );
    assert_eq!(
        assigned(Layout::Linear, 20, &space(&[9, 12, 11])),
        Ok(vec![0, 12, 8])
    );
    assert!(assigned(Layout::Linear, 33, &space(&[9, 12, 11])).is_err());
    assert_eq!(
        assigned(
            Layout::Linear,
            20,
            &FreeSpace {
                free: Bytes(20 * EXTENT),
                ..space(&[])
            }
        ),
        Ok(vec![])
    );
}

/// The extents that a volume has on each disk after growth to `extents` extents.
fn extended(
    layout: Layout,
    own: &Allocation,
    extents: u64,
    free: &[u64],
) -> Result<Vec<u64>, Rejection> {
    let space = space(free);
    let cost = layout.cost(Bytes(extents * EXTENT), Bytes(EXTENT)).unwrap();
    extend(layout, cost, own, &space).map(|allocation| on(&allocation, &space))
}

#[test]
fn images_grow_on_their_own_disks() {
    let own: Allocation = ["d0", "d2"]
        .map(|disk| (disk.to_owned(), Bytes(11 * EXTENT)))
        .into_iter()
        .collect();
    assert_eq!(
        extended(MIRROR, &own, 15, &[5, 100, 5]),
        Ok(vec![16, 0, 16])
    );
    let full = extended(MIRROR, &own, 15, &[5, 100, 4])
        .unwrap_err()
        .to_string();
    assert_eq!(
        full,
        "has 16 MiB free on disk /dev/sd2 of volume group vg0 but the volume needs 20 MiB more there"
    );
    assert_eq!(extended(MIRROR, &own, 5, &[0, 0, 0]), Ok(vec![6, 0, 6]));
}

#[test]
fn repaired_image_grows_on_the_disk_that_replaced_its_own() {
    let own: Allocation = ["d0", "lost"]
        .map(|disk| (disk.to_owned(), Bytes(11 * EXTENT)))
        .into_iter()
        .collect();
    let cost = MIRROR.cost(Bytes(15 * EXTENT), Bytes(EXTENT)).unwrap();
    // The image that was on the lost disk is on d2, where no LogicalVolume has reserved space.
    let mut space = space(&[5, 100, 5]);
    space.disks[2].used_by_others = Bytes(11 * EXTENT);
    let grown = extend(MIRROR, cost, &own, &space).unwrap();
    assert_eq!(on(&grown, &space), [16, 0, 16]);
    assert_eq!(grown.total, Bytes(32 * EXTENT));
    space.disks[2].free = Bytes(4 * EXTENT);
    let full = extend(MIRROR, cost, &own, &space).unwrap_err().to_string();
    assert!(full.contains("16 MiB free on disk /dev/sd2"), "{full}");
    // Without a repair, the image is nowhere.
    space.disks[2].used_by_others = Bytes(0);
    let lost = extend(MIRROR, cost, &own, &space).unwrap_err().to_string();
    assert!(lost.contains("0 bytes free on disk lost"), "{lost}");
}

#[test]
fn linear_volume_grows_on_its_own_disks_first() {
    let own = Allocation::from_iter([("d1".to_owned(), Bytes(10 * EXTENT))]);
    for (extents, disks) in [(15, [0, 15]), (16, [6, 10]), (64, [49, 15])] {
        assert_eq!(
            extended(Layout::Linear, &own, extents, &[50, 5]),
            Ok(disks.to_vec())
        );
    }
    assert!(extended(Layout::Linear, &own, 66, &[50, 5]).is_err());
}

proptest! {
    #[test]
    fn no_disk_is_overcommitted_and_no_two_images_share_one(
        free in prop::collection::vec(0..60_u64, 1..6),
        requests in prop::collection::vec((0..4_u8, 1..30_u64), 1..20),
    ) {
        let mut space = space(&free);
        for (kind, extents) in requests {
            let level = if kind == 2 { Level::Raid5(TWO) } else { Level::Raid10(TWO) };
            let layout = match kind {
                0 => Layout::Linear,
                1 => MIRROR,
                _ => Layout::Raid { level, integrity: false },
            };
            let cost = layout.cost(Bytes(extents * EXTENT), Bytes(EXTENT)).unwrap();
            let Ok(allocation) = assign(layout, cost, &space) else { continue };
            prop_assert_eq!(allocation.total, cost.total().bytes(Bytes(EXTENT)));
            prop_assert_eq!(allocation.disks.values().copied().sum::<Bytes>(), allocation.total);
            prop_assert!(layout.is_divisible() || allocation.disks.len() == cost.images as usize);
            for disk in &mut space.disks {
                prop_assert!(allocation.on(&disk.uuid) <= disk.free);
                disk.free = disk.free.saturating_sub(allocation.on(&disk.uuid));
            }
            prop_assert!(allocation.total <= space.free);
            space.free = space.free.saturating_sub(allocation.total);
        }
    }
}
