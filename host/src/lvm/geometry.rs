//! The kinds of logical volumes, and what each takes of its volume group: the one cost model, used
//! to place, promise, make, extend and report. Pure. It repeats LVM's own arithmetic;
//! `tests/node_agent/kinds.rs` compares the two on real LVM.

use crate::error::{Error, Kind};
use crate::units::{Bytes, Extents};

/// With fewer bytes in an extent LVM needs several for a RAID image's metadata, depending on its
/// configuration.
const LEAST_EXTENT_OF_RAID: Bytes = Bytes(512 << 10);

/// LVM counts a RAID image's checksums in units of this, and rounds down to extents: larger ones
/// would be too few.
const LARGEST_EXTENT_WITH_INTEGRITY: Bytes = Bytes(4 << 20);

/// LVM counts extents with 32 bits.
const MOST_EXTENTS: u64 = u32::MAX as u64;

const MIB: u64 = 1 << 20;

/// How a logical volume lies on the disks of its volume group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Plain extents, on whichever disks have room.
    #[default]
    Linear,
    /// Spread over several disks.
    Striped(Stripes),
    /// Safe from lost disks.
    Raid {
        /// How.
        level: Level,
        /// Whether each image has checksums.
        integrity: bool,
    },
    /// Out of a thin pool: it takes nothing of the disks itself, see [`PoolCost`](super::PoolCost).
    Thin,
    /// Plain extents; what its cache takes is counted apart.
    Cached,
}

/// Kinds of RAID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The same on so many disks.
    Raid1 {
        /// How many.
        copies: u32,
    },
    /// Parity for one disk.
    Raid5(Stripes),
    /// Parity for two disks.
    Raid6(Stripes),
    /// Each stripe twice.
    Raid10(Stripes),
}

/// How data are spread over disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripes {
    /// Over how many disks, parity and copies not counted.
    pub count: u32,
    /// How much goes to one disk before the next one's turn.
    pub size: Bytes,
}

/// What a logical volume takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The volume's own size.
    pub size: Extents,
    /// How many disks it needs, each of them for one image.
    pub images: u32,
    /// What it takes of each: data or parity, and metadata.
    pub image: Extents,
}

impl Cost {
    /// What it takes altogether.
    #[must_use]
    pub fn total(self) -> Extents {
        Extents(self.image.0.saturating_mul(u64::from(self.images)))
    }
}

impl Layout {
    /// How many different disks a volume needs.
    #[must_use]
    pub fn images(self) -> u32 {
        match self {
            Self::Linear | Self::Cached => 1,
            Self::Striped(stripes) => stripes.count,
            Self::Raid { level, .. } => level.images(),
            Self::Thin => 0,
        }
    }

    /// Whether a volume may be split over any number of disks.
    #[must_use]
    pub fn is_divisible(self) -> bool {
        matches!(self, Self::Linear | Self::Cached)
    }

    /// What LVM calls the kind.
    #[must_use]
    pub fn segtype(self) -> &'static str {
        match self {
            // A cache is put in front of what is there already.
            Self::Linear | Self::Cached => "linear",
            Self::Striped(_) => "striped",
            Self::Raid { level, .. } => level.segtype(),
            Self::Thin => "thin",
        }
    }

    fn stripes(self) -> Option<Stripes> {
        match self {
            Self::Striped(stripes)
            | Self::Raid {
                level: Level::Raid5(stripes) | Level::Raid6(stripes) | Level::Raid10(stripes),
                ..
            } => Some(stripes),
            Self::Linear
            | Self::Thin
            | Self::Cached
            | Self::Raid {
                level: Level::Raid1 { .. },
                ..
            } => None,
        }
    }

    /// Whether each image has checksums.
    #[must_use]
    pub fn has_integrity(self) -> bool {
        matches!(
            self,
            Self::Raid {
                integrity: true,
                ..
            }
        )
    }

    /// What `lvcreate` takes for it.
    #[must_use]
    pub fn arguments(self) -> Vec<String> {
        let mut arguments = vec!["--type".to_owned(), self.segtype().to_owned()];
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        match self {
            Self::Raid {
                level: Level::Raid1 { copies },
                ..
            } => {
                add("--mirrors", copies.saturating_sub(1).to_string());
            }
            Self::Raid {
                level: Level::Raid10(_),
                ..
            } => add("--mirrors", "1".to_owned()),
            _ => {}
        }
        if let Some(Stripes { count, size }) = self.stripes() {
            add("--stripes", count.to_string());
            add("--stripesize", format!("{}k", size.0 >> 10));
        }
        if self.has_integrity() {
            add("--raidintegrity", "y".to_owned());
        }
        arguments
    }

    /// What a volume of at least `size` takes where extents are so large.
    ///
    /// # Errors
    /// When LVM can't make one: the sentence says why, and what would help.
    pub fn cost(self, size: Bytes, extent: Bytes) -> Result<Cost, Error> {
        self.check_extent(extent)?;
        let stripes = self
            .stripes()
            .map_or(1, |stripes| u64::from(stripes.count.max(1)));
        let length = size.extents_up(extent).0.max(1).div_ceil(stripes);
        let metadata = match self {
            Self::Linear | Self::Striped(_) | Self::Thin | Self::Cached => 0,
            // Two superblocks and a bitmap: at most 2^21 regions have a bit each, whatever their
            // size.
            Self::Raid {
                integrity: false, ..
            } => 1,
            Self::Raid {
                integrity: true, ..
            } => 1 + checksums(Extents(length).bytes(extent)).0 / extent.0.max(1),
        };
        let cost = Cost {
            size: Extents(length.saturating_mul(stripes)),
            images: self.images(),
            image: Extents(length.saturating_add(metadata)),
        };
        if cost.total().0 > MOST_EXTENTS {
            return Err(impossible(format!(
                "{size} are more than LVM can count in extents of {extent}"
            )));
        }
        Ok(cost)
    }

    fn check_extent(self, extent: Bytes) -> Result<(), Error> {
        let of = |what: &str, limit: Bytes| {
            impossible(format!(
                "its extents of {extent} are too {what} for this layout; {limit} is the limit"
            ))
        };
        match (self, self.stripes()) {
            (Self::Raid { .. }, _) if extent < LEAST_EXTENT_OF_RAID => {
                Err(of("small", LEAST_EXTENT_OF_RAID))
            }
            (
                Self::Raid {
                    integrity: true, ..
                },
                _,
            ) if extent > LARGEST_EXTENT_WITH_INTEGRITY => {
                Err(of("large", LARGEST_EXTENT_WITH_INTEGRITY))
            }
            // LVM would silently make the stripe smaller.
            (_, Some(stripes)) if extent < stripes.size => Err(of("small", stripes.size)),
            _ => Ok(()),
        }
    }
}

impl Level {
    fn images(self) -> u32 {
        match self {
            Self::Raid1 { copies } => copies,
            Self::Raid5(stripes) => stripes.count.saturating_add(1),
            Self::Raid6(stripes) => stripes.count.saturating_add(2),
            Self::Raid10(stripes) => stripes.count.saturating_mul(2),
        }
    }

    fn segtype(self) -> &'static str {
        match self {
            Self::Raid1 { .. } => "raid1",
            Self::Raid5(_) => "raid5",
            Self::Raid6(_) => "raid6",
            Self::Raid10(_) => "raid10",
        }
    }
}

/// What LVM gives an image of this size for its checksums, and for their journal.
fn checksums(image: Bytes) -> Bytes {
    let journal = match image.0 {
        0..=0x2000_0000 => 4,
        0x2000_0001..=0x4000_0000 => 8,
        0x4000_0001..=0x1_0000_0000 => 32,
        _ => 64,
    };
    Bytes(((image.0 / (500 * MIB) + 1) * 4 + journal) * MIB)
}

fn impossible(sentence: String) -> Error {
    Error::refused(Kind::Invalid, sentence)
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Extents, Layout, Level, Stripes, checksums};
    use proptest::prelude::*;

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
    fn each_kind_takes_what_lvm_was_seen_to_take() {
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
    fn extents_that_do_not_suit_a_layout_are_refused() {
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
    fn the_arguments_say_everything() {
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
        fn nobody_gets_less_than_asked_and_more_never_costs_less(layout in layouts(), size in 1..1_u64 << 45, more in 0..1_u64 << 40) {
            let (cost, larger) = (layout.cost(Bytes(size), EXTENT).unwrap(), layout.cost(Bytes(size + more), EXTENT).unwrap());
            prop_assert!(cost.size.bytes(EXTENT).0 >= size && cost.total() >= cost.size);
            prop_assert!(larger.size >= cost.size && larger.image >= cost.image);
            // What it costs does not depend on how it came about: a size that LVM rounded is not
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
}
