//! Whether a logical volume works, by LVM's report; and which images a RAID can lose. Pure.

use std::collections::BTreeSet;

use super::geometry::Level;
use super::model::SegmentType;

/// Health of a logical volume, as LVM reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LvHealth {
    /// LVM reports no fault.
    #[default]
    Good,
    /// A part of it, or of the thin pool or cache below it, is on a missing disk.
    Partial,
    /// An image of the RAID failed, although its disk is there; the kernel does not use it.
    ImageFailed,
    /// The metadata of its cache accept no changes.
    CacheReadOnly,
    /// The kernel reports it, or its cache, as failed.
    Failed,
    /// LVM's metadata permit no writes to it.
    ReadOnly,
    /// LVM's metadata permit writes, but its device was activated or set read-only.
    ReadOnlyDevice,
}

/// Which part of a logical volume is on missing disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MissingPart {
    /// None.
    #[default]
    None,
    /// Its cache, or a part of that, and nothing else.
    Cache,
    /// Data, or metadata of the volume itself.
    Data,
}

impl MissingPart {
    /// Returns the part that LVM's internal volume of this name is; the names of others are those of
    /// data.
    pub(super) fn from_name(name: &str) -> Self {
        if name.ends_with("_cvol") {
            Self::Cache
        } else {
            Self::Data
        }
    }
}

impl LvHealth {
    /// Returns the health by the second and the ninth letter of `lv_attr` (see lvs(8)): permissions
    /// and health. The other letters of thin pools are a [`PoolFault`](super::PoolFault).
    pub(super) fn from_letters(segment_type: SegmentType, permissions: char, health: char) -> Self {
        match (segment_type, permissions, health) {
            (_, _, 'p') => Self::Partial,
            (_, _, 'r') => Self::ImageFailed,
            (_, _, 'F') => Self::Failed,
            (SegmentType::Cached, _, 'M') => Self::CacheReadOnly,
            (_, 'r', _) => Self::ReadOnly,
            (_, 'R', _) => Self::ReadOnlyDevice,
            _ => Self::Good,
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
}

#[cfg(test)]
mod tests {
    use super::Level;
    use crate::lvm::Stripes;
    use crate::units::Bytes;

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
}
