//! Extents of each layout, by example.

use proptest::prelude::*;

use super::{Bytes, Extents, Layout, Level, Stripes, checksums};

const EXTENT: Bytes = Bytes(4 << 20);
const STRIPE: Bytes = Bytes(64 << 10);

fn two() -> Stripes {
    Stripes {
        count: 2,
        size: STRIPE,
    }
}

fn raid(level: Level) -> Layout {
    Layout::Raid {
        level,
        integrity: false,
    }
}

#[test]
fn cost_equals_observed_lvm_allocation() {
    for (layout, mebibytes, size, images, image) in [
        (Layout::Linear, 100, 25, 1, 25),
        (Layout::Striped(two()), 100, 26, 2, 13),
        (raid(Level::Raid1 { copies: 2 }), 100, 25, 2, 26),
        (raid(Level::Raid1 { copies: 3 }), 1, 1, 3, 2),
        (raid(Level::Raid5(two())), 100, 26, 3, 14),
        (
            raid(Level::Raid6(Stripes { count: 3, ..two() })),
            100,
            27,
            5,
            10,
        ),
        (raid(Level::Raid10(two())), 100, 26, 4, 14),
        (
            Layout::Raid {
                level: Level::Raid1 { copies: 2 },
                integrity: true,
            },
            100,
            25,
            2,
            28,
        ),
        (
            Layout::Raid {
                level: Level::Raid5(two()),
                integrity: true,
            },
            2000,
            500,
            3,
            250 + 1 + 5,
        ),
    ] {
        let cost = layout.cost(Bytes(mebibytes << 20), EXTENT).unwrap();
        assert_eq!(
            (cost.size.0, cost.images, cost.image.0),
            (size, images, image),
            "{layout:?}"
        );
    }
}

#[test]
fn checksums_grow_in_steps() {
    let mebibytes = |image: u64| checksums(Bytes(image << 20)).0 >> 20;
    let of: Vec<u64> = [4, 499, 500, 512, 513, 1024, 1028, 4096, 4100]
        .map(mebibytes)
        .to_vec();
    assert_eq!(of, [8, 8, 12, 12, 16, 20, 44, 68, 100]);
}

#[test]
fn cost_rejects_unsuitable_extent_sizes() {
    let refused = |layout: Layout, extent: u64| {
        layout
            .cost(Bytes(1 << 30), Bytes(extent))
            .unwrap_err()
            .to_string()
    };
    assert!(refused(raid(Level::Raid1 { copies: 2 }), 256 << 10).contains("too small"));
    let checked = Layout::Raid {
        level: Level::Raid1 { copies: 2 },
        integrity: true,
    };
    assert!(refused(checked, 8 << 20).contains("too large"));
    assert!(
        refused(
            Layout::Striped(Stripes {
                count: 2,
                size: Bytes(1 << 20)
            }),
            512 << 10
        )
        .contains("too small")
    );
    assert!(Layout::Linear.cost(Bytes(u64::MAX), Bytes(1)).is_err());
}

#[test]
fn arguments_describe_layout() {
    assert_eq!(Layout::Linear.arguments().join(" "), "--type linear");
    assert_eq!(
        Layout::Striped(two()).arguments().join(" "),
        "--type striped --stripes 2 --stripesize 64k"
    );
    assert_eq!(
        raid(Level::Raid1 { copies: 3 }).arguments().join(" "),
        "--type raid1 --mirrors 2"
    );
    let raid10 = Layout::Raid {
        level: Level::Raid10(two()),
        integrity: true,
    };
    let line = "--type raid10 --mirrors 1 --stripes 2 --stripesize 64k --raidintegrity y";
    assert_eq!(raid10.arguments().join(" "), line);
}

fn layouts() -> impl Strategy<Value = Layout> {
    let stripes = (2..32_u32).prop_map(|count| Stripes {
        count,
        size: STRIPE,
    });
    let level = prop_oneof![
        (2..10_u32).prop_map(|copies| Level::Raid1 { copies }),
        stripes.clone().prop_map(Level::Raid5),
        stripes.clone().prop_map(Level::Raid6),
        stripes.clone().prop_map(Level::Raid10),
    ];
    prop_oneof![
        Just(Layout::Linear),
        Just(Layout::Cached),
        stripes.prop_map(Layout::Striped),
        (level, any::<bool>()).prop_map(|(level, integrity)| Layout::Raid { level, integrity }),
    ]
}

proptest! {
    #[test]
    fn cost_covers_size_and_is_monotonic(
        layout in layouts(),
        size in 1..1_u64 << 45,
        more in 0..1_u64 << 40,
    ) {
        let cost = layout.cost(Bytes(size), EXTENT).unwrap();
        let larger = layout.cost(Bytes(size + more), EXTENT).unwrap();
        prop_assert!(cost.size.bytes(EXTENT).0 >= size && cost.total() >= cost.size);
        prop_assert!(larger.size >= cost.size && larger.image >= cost.image);
        // The cost of a volume is independent of its history: a size that LVM rounded is not
        // rounded again.
        prop_assert_eq!(layout.cost(cost.size.bytes(EXTENT), EXTENT).unwrap(), cost);
    }

    #[test]
    fn absurd_sizes_do_not_overflow(layout in layouts(), size: u64, extent in 1..u64::MAX) {
        if let Ok(cost) = layout.cost(Bytes(size), Bytes(extent)) {
            prop_assert!(cost.size.bytes(Bytes(extent)).0 >= size);
            prop_assert_eq!(cost.total(), Extents(cost.image.0 * u64::from(cost.images)));
        }
    }
}

#[test]
fn raid_survives_as_many_lost_images_as_its_level_allows() {
    let stripes = Stripes {
        count: 3,
        size: Bytes(64 << 10),
    };
    let cases: [(Level, &[u32], bool); 10] = [
        (Level::Raid1 { copies: 3 }, &[0, 2], true),
        (Level::Raid1 { copies: 2 }, &[0, 1], false),
        (Level::Raid5(stripes), &[3], true),
        (Level::Raid5(stripes), &[0, 3], false),
        (Level::Raid6(stripes), &[0, 4], true),
        (Level::Raid6(stripes), &[0, 1, 2], false),
        (Level::Raid10(stripes), &[0, 2, 5], true),
        (Level::Raid10(stripes), &[1, 2, 4], true),
        (Level::Raid10(stripes), &[2, 3], false),
        (Level::Raid10(stripes), &[], true),
    ];
    for (level, missing, survives) in cases {
        let missing = missing.iter().copied().collect();
        assert_eq!(level.survives(&missing), survives, "{level:?} {missing:?}");
    }
}
