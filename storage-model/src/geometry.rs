//! The layouts of logical volumes, and the extents that each allocates from its volume group. Pure.
//!
//! The only cost model: used to place, reserve, create, extend and report. It repeats LVM's own
//! arithmetic; `tests/node_agent/kinds.rs` compares the two on real LVM.

use std::collections::BTreeSet;

use crate::error::LayoutError;
use crate::units::{Bytes, Extents};

/// Smallest extent size for RAID. With smaller extents LVM needs several for an image's metadata,
/// depending on its configuration.
const MIN_EXTENT_OF_RAID: Bytes = Bytes(512 << 10);

/// Largest extent size with integrity. LVM allocates checksums in units of this, and rounds down to
/// extents: with larger ones it would allocate too few.
const MAX_EXTENT_WITH_INTEGRITY: Bytes = Bytes(4 << 20);

/// LVM counts extents with 32 bits.
const MAX_EXTENTS: u64 = u32::MAX as u64;

const MIB: u64 = 1 << 20;

/// The layout of a logical volume on the disks of its volume group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Plain extents, on any disks with free space.
    #[default]
    Linear,
    /// Spread over several disks.
    Striped(Stripes),
    /// Survives the loss of disks.
    Raid {
        /// The RAID level.
        level: Level,
        /// Whether each image has checksums.
        integrity: bool,
    },
    /// In a thin pool: allocates no extents of the disks itself, see [`PoolCost`](crate::PoolCost).
    Thin,
    /// Plain extents with a cache; the cache's extents are counted separately.
    Cached,
}

/// RAID levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Full copies on several disks.
    Raid1 {
        /// The number of copies, each on its own disk.
        copies: u32,
    },
    /// Parity for one disk.
    Raid5(Stripes),
    /// Parity for two disks.
    Raid6(Stripes),
    /// Two copies of each stripe.
    Raid10(Stripes),
}

/// Striping parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripes {
    /// Number of data disks, without parity and copies.
    pub count: u32,
    /// Bytes written to one disk before the next one.
    pub size: Bytes,
}

/// The extents that a logical volume allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The volume's own size.
    pub size: Extents,
    /// Number of disks required, one for each image.
    pub images: u32,
    /// Extents of each image: data or parity, and metadata.
    pub image: Extents,
}

impl Cost {
    /// Returns the extents of all images.
    #[must_use]
    pub fn total(self) -> Extents {
        Extents(self.image.0.saturating_mul(u64::from(self.images)))
    }
}

impl Layout {
    /// Returns how many different disks a volume requires.
    #[must_use]
    pub fn images(self) -> u32 {
        match self {
            Self::Linear | Self::Cached => 1,
            Self::Striped(stripes) => stripes.count,
            Self::Raid { level, .. } => level.images(),
            Self::Thin => 0,
        }
    }

    /// Returns whether LVM may split a volume over any number of disks.
    #[must_use]
    pub fn is_divisible(self) -> bool {
        matches!(self, Self::Linear | Self::Cached)
    }

    /// Returns LVM's name of the layout.
    #[must_use]
    pub fn segtype(self) -> &'static str {
        match self {
            // A cache is attached after the volume was created.
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

    /// Returns how many logical volumes LVM counts while it creates a volume, apart from a thin pool:
    /// its limit (`max_lv`) must allow as many.
    ///
    /// LVM counts the logical volumes that are not internal: images are, but the checksums of images
    /// and a cache only become so at the end.
    #[must_use]
    pub fn lvs_at_creation(self) -> u32 {
        match self {
            Self::Cached => 2,
            Self::Raid {
                integrity: true, ..
            } => 1 + self.images(),
            Self::Linear | Self::Striped(_) | Self::Raid { .. } | Self::Thin => 1,
        }
    }

    /// Returns whether each image has checksums.
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

    /// Returns the layout arguments of `lvcreate`.
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

    /// Computes the extents of a volume of at least `size` bytes, with extents of `extent` bytes.
    ///
    /// # Errors
    /// When LVM can't create it: the message has the reason and the limit.
    pub fn cost(self, size: Bytes, extent: Bytes) -> Result<Cost, LayoutError> {
        self.check_extent(extent)?;
        let stripes = self
            .stripes()
            .map_or(1, |stripes| u64::from(stripes.count.max(1)));
        let length = size.extents_up(extent).0.max(1).div_ceil(stripes);
        let metadata = match self {
            Self::Linear | Self::Striped(_) | Self::Thin | Self::Cached => 0,
            // Two superblocks and a bitmap: at most 2^21 regions have one bit each, for any size.
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
        if cost.total().0 > MAX_EXTENTS {
            return Err(impossible(format!(
                "{size} exceed the number of extents of {extent} that LVM can count"
            )));
        }
        Ok(cost)
    }

    fn check_extent(self, extent: Bytes) -> Result<(), LayoutError> {
        let unsuitable = |what: &str, limit: Bytes| {
            impossible(format!(
                "its extent size of {extent} is too {what} for this layout; the limit is {limit}"
            ))
        };
        match (self, self.stripes()) {
            (Self::Raid { .. }, _) if extent < MIN_EXTENT_OF_RAID => {
                Err(unsuitable("small", MIN_EXTENT_OF_RAID))
            }
            (
                Self::Raid {
                    integrity: true, ..
                },
                _,
            ) if extent > MAX_EXTENT_WITH_INTEGRITY => {
                Err(unsuitable("large", MAX_EXTENT_WITH_INTEGRITY))
            }
            // LVM would silently reduce the stripe size.
            (_, Some(stripes)) if extent < stripes.size => Err(unsuitable("small", stripes.size)),
            _ => Ok(()),
        }
    }
}

impl Level {
    /// Returns whether the data of a RAID are complete without these images, by their numbers.
    #[must_use]
    pub fn survives(self, missing: &BTreeSet<u32>) -> bool {
        let lost = u32::try_from(missing.len()).unwrap_or(u32::MAX);
        match self {
            Self::Raid1 { copies } => lost < copies,
            Self::Raid5(_) => lost <= 1,
            Self::Raid6(_) => lost <= 2,
            // Images 0 and 1 have the same data, 2 and 3, and so on.
            Self::Raid10(_) => missing.iter().all(|image| !missing.contains(&(image ^ 1))),
        }
    }

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

/// Returns what LVM allocates for an image's checksums and their journal.
fn checksums(image: Bytes) -> Bytes {
    let journal = match image.0 {
        0..=0x2000_0000 => 4,
        0x2000_0001..=0x4000_0000 => 8,
        0x4000_0001..=0x1_0000_0000 => 32,
        _ => 64,
    };
    Bytes(((image.0 / (500 * MIB) + 1) * 4 + journal) * MIB)
}

fn impossible(message: String) -> LayoutError {
    LayoutError(message)
}

#[cfg(test)]
mod tests;
