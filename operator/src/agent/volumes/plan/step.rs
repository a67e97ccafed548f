//! The steps of a volume. Each has what its execution needs: none can fail to apply. Pure.

use crds::cache::CacheMode;
use host::fs::NewBlocks;
use host::lvm::{Discard, Lv, PoolCost, SegmentType};
use host::{Bytes, Extents, LvName, LvTag, LvUuid};

use crate::agent::volumes::outcome::Outcome;

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Does this, then plans again.
    Act(Action),
    /// No step for now: the outcome.
    Done(Box<Outcome>),
}

/// One action on the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Inspects the volume's content.
    Inspect {
        /// Its LVM uuid.
        uuid: LvUuid,
    },
    /// Zeroes the ends and writes the format marker: the volume is blank and was never published.
    Mark {
        /// Its LVM uuid.
        uuid: LvUuid,
        /// Content of its unwritten blocks.
        blocks: NewBlocks,
    },
    /// Starts or continues the erasure of the volume's content.
    Erase {
        /// LVM uuid of the volume.
        uuid: LvUuid,
    },
    /// Loads the table of LVM's metadata into the volume's device, and resumes it.
    Refresh {
        /// LVM uuid of the volume.
        uuid: LvUuid,
    },
    /// Creates the logical volume, with its format marker.
    Create(NewVolume),
    /// Changes LVM.
    Change(LvmChange),
}

/// Where and how large the logical volume is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewVolume {
    /// In the volume group, with the layout of its spec.
    OnDisks {
        /// Its size.
        extents: Extents,
        /// Devices to allocate extents from; empty allows any.
        disks: Vec<String>,
    },
    /// In a thin pool.
    InPool {
        /// Name of the pool.
        pool: LvName,
        /// Its size in bytes.
        size: Bytes,
        /// What it contains before the first write.
        blocks: NewBlocks,
    },
}

/// A change by one LVM command whose result only a report shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LvmChange {
    /// Replaces tags that name the volume's claim and its object.
    Retag {
        /// LVM uuid of the volume.
        uuid: LvUuid,
        /// Outdated tags.
        remove: Vec<LvTag>,
        /// New tags.
        add: Vec<LvTag>,
    },
    /// Creates the volume's thin pool.
    CreatePool {
        /// Name of the pool.
        pool: LvName,
        /// The tag that identifies it.
        tag: LvTag,
        /// Its extents of data and metadata.
        cost: PoolCost,
        /// Extent size of the volume group in bytes.
        extent: Bytes,
        /// Maximum size of its data in bytes.
        most: Bytes,
        /// Devices to allocate extents from; empty allows any.
        disks: Vec<String>,
    },
    /// Removes the volume's thin pool if there is no volume in it.
    RemovePool {
        /// Name of the pool.
        pool: LvName,
        /// The tag that identifies it.
        tag: LvTag,
        /// Its LVM uuid.
        uuid: LvUuid,
    },
    /// Creates the logical volume that becomes the volume's cache.
    CreateCache {
        /// Name of the cache.
        cache: LvName,
        /// Its size.
        extents: Extents,
        /// Devices to allocate extents from.
        disks: Vec<String>,
    },
    /// Attaches the cache to the volume.
    AttachCache {
        /// Name of the cache.
        cache: LvName,
        /// When a write is complete.
        mode: CacheMode,
    },
    /// Removes the cache, which was never attached.
    RemoveCache {
        /// Name of the cache.
        cache: LvName,
        /// Its LVM uuid.
        uuid: LvUuid,
    },
    /// Extends the volume.
    Extend {
        /// Its new size.
        extents: Extents,
        /// Devices to allocate extents from; empty allows any.
        disks: Vec<String>,
    },
    /// Adds integrity checksums to the volume's images.
    AddIntegrity,
    /// Activates the volume, which creates its device.
    Activate {
        /// Its LVM uuid.
        uuid: LvUuid,
    },
    /// Removes the volume if it is a RAID that was never active.
    RemoveNeverActive {
        /// Its LVM uuid.
        uuid: LvUuid,
    },
    /// Removes the volume if it is of this type.
    Remove {
        /// Its LVM uuid.
        uuid: LvUuid,
        /// Its observed type.
        segment_type: SegmentType,
        /// Whether LVM discards its extents.
        discard: Discard,
    },
}

impl Action {
    /// Returns whether LVM allocates extents for it, which must not be those of another volume.
    #[must_use]
    pub fn allocates(&self) -> bool {
        match self {
            Self::Create(_) => true,
            Self::Change(change) => matches!(
                change,
                LvmChange::CreatePool { .. }
                    | LvmChange::CreateCache { .. }
                    | LvmChange::Extend { .. }
                    | LvmChange::AddIntegrity
            ),
            Self::Inspect { .. }
            | Self::Mark { .. }
            | Self::Erase { .. }
            | Self::Refresh { .. } => false,
        }
    }
}

impl NewVolume {
    /// Returns what the volume contains before the first write.
    #[must_use]
    pub fn blocks(&self) -> NewBlocks {
        match self {
            Self::OnDisks { .. } => NewBlocks::Undefined,
            Self::InPool { blocks, .. } => *blocks,
        }
    }
}

/// Returns what those blocks of a volume, or of a volume in this thin pool, contain that were never
/// written.
#[must_use]
pub fn blocks_of(lv: &Lv) -> NewBlocks {
    match lv.segment_type {
        SegmentType::Thin | SegmentType::ThinPool if lv.has_stale_blocks => NewBlocks::Stale,
        SegmentType::Thin | SegmentType::ThinPool => NewBlocks::Zeros,
        _ => NewBlocks::Undefined,
    }
}

impl From<Outcome> for Step {
    fn from(outcome: Outcome) -> Self {
        Self::Done(Box::new(outcome))
    }
}

impl From<LvmChange> for Step {
    fn from(change: LvmChange) -> Self {
        Self::Act(Action::Change(change))
    }
}
