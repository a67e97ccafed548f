//! Whether a logical volume works, by LVM's report. Pure.

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
