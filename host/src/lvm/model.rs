//! LVM's state as values: volume groups, physical volumes, logical volumes. Parsed by `report`.

use std::collections::{BTreeMap, BTreeSet};

use super::duplicate_disk::DuplicateDisk;
use super::health::{LvHealth, MissingPart};
use super::raid_parts::RaidParts;
use super::raid_sync::RaidSync;
use super::statistics::LvmStatistics;
use super::thin_pool::PoolState;
use super::vg_fault::VgFault;
use crate::lvm::names::LvUuid;
use crate::units::{Bytes, Extents};

/// LVM's report of a whole node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// All volume groups.
    pub groups: Vec<Vg>,
    /// What LVM printed besides: damaged metadata, missing or duplicate devices. Few and short.
    pub warnings: Vec<String>,
    /// What metrics show in addition.
    pub statistics: LvmStatistics,
}

/// A volume group and its logical volumes.
#[derive(Clone, Debug, Eq)]
pub struct Vg {
    /// Not always a name that FlexLVM accepts for its own use.
    pub name: String,
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// The size of one extent in bytes.
    pub extent_size: Bytes,
    /// Total extents.
    pub extents: Extents,
    /// Extents that are not allocated.
    pub free: Extents,
    /// Why this group is unusable, and LVM refuses changes of it; `None` when it is usable.
    pub fault: Option<VgFault>,
    /// Why LVM refuses changes of this group, although its volumes can be used.
    pub change_fault: Option<DuplicateDisk>,
    /// Maximum number of its logical volumes, without LVM's internal ones; `None` without a limit.
    pub max_lvs: Option<u64>,
    /// Its logical volumes by name, without LVM's internal ones.
    pub lvs: Vec<Lv>,
    /// LVM's uuids of its internal volumes, such as the images of a RAID, visible or not.
    pub internal: Vec<LvUuid>,
    /// The disks of the group.
    pub pvs: Vec<Pv>,
    /// System ID of the host that owns the group; empty without an owner.
    pub system_id: String,
    /// LVM's counter of metadata changes.
    pub seqno: u64,
}

impl PartialEq for Vg {
    /// Compares the reported state without `seqno`, which differs even if changes cancel out.
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            uuid,
            extent_size,
            extents,
            free,
            fault,
            change_fault,
            max_lvs,
            lvs,
            internal,
            pvs,
            system_id,
            seqno: _,
        } = self;
        (name, uuid, extent_size, extents)
            == (&other.name, &other.uuid, &other.extent_size, &other.extents)
            && (free, fault, lvs) == (&other.free, &other.fault, &other.lvs)
            && (change_fault, max_lvs) == (&other.change_fault, &other.max_lvs)
            && (internal, pvs, system_id) == (&other.internal, &other.pvs, &other.system_id)
    }
}

/// A physical volume of a volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pv {
    /// LVM's uuid, which stays the same if the device's name changes.
    pub uuid: LvUuid,
    /// The device's current name in LVM.
    pub name: String,
    /// Total extents.
    pub extents: Extents,
    /// Extents that are not allocated.
    pub free: Extents,
    /// Whether LVM may allocate its free extents.
    pub allocatable: bool,
    /// Whether LVM does not find its device.
    pub is_missing: bool,
}

impl Pv {
    /// Returns the extents that LVM can allocate from it.
    #[must_use]
    pub fn available(&self) -> Extents {
        if self.allocatable {
            self.free
        } else {
            Extents(0)
        }
    }
}

/// A physical volume, and the volume group that contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvOwner {
    /// The device's current name in LVM.
    pub name: String,
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// Name of the volume group; `None` if it belongs to none.
    pub group: Option<String>,
}

/// How LVM stores a logical volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentType {
    /// Linear or striped.
    Plain,
    /// A RAID.
    Raid,
    /// A volume in a thin pool.
    Thin,
    /// A thin pool.
    ThinPool,
    /// Plain extents with a cache in front.
    Cached,
    /// Any other type, or a volume that LVM is converting or moving.
    Other,
}

/// What a logical volume is to other logical volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LvRole {
    /// Nothing: no other volume depends on it. A thin volume stays so if it has thin snapshots,
    /// which are independent of it.
    Volume,
    /// The origin of snapshots: `lvremove --yes` removes them along with it.
    Origin,
    /// A snapshot, which changes with its origin.
    Snapshot,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of LVM's report"
)]
pub struct Lv {
    /// Not always a name that FlexLVM accepts for its own use.
    pub name: String,
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// Its size in bytes.
    pub size: Bytes,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it is active.
    pub active: bool,
    /// Whether its device is open. Counts as open if LVM can't determine it.
    pub open: bool,
    /// How LVM stores it.
    pub segment_type: SegmentType,
    /// What it is to other volumes.
    pub role: LvRole,
    /// Extents allocated from each physical volume, by LVM's uuid. Includes LVM's internal volumes
    /// that belong to it.
    pub shares: BTreeMap<LvUuid, Extents>,
    /// Whether its RAID images have checksums.
    pub integrity: bool,
    /// The thin pool that contains it.
    pub pool: Option<String>,
    /// Usage and health, if it is a thin pool.
    pub state: Option<PoolState>,
    /// Its health.
    pub health: LvHealth,
    /// Numbers of its RAID images that are, at least in part, on missing disks.
    pub missing_images: BTreeSet<u32>,
    /// Which part of it is on missing disks.
    pub missing_part: MissingPart,
    /// The running synchronization of its RAID images.
    pub sync: Option<RaidSync>,
    /// Number of blocks that did not match their checksums since the volume was activated.
    pub integrity_mismatches: u64,
    /// Whether LVM is moving its extents, reshaping its RAID, or merging a snapshot into it.
    pub is_in_transition: bool,
    /// Whether LVM has completed its RAID.
    pub raid_parts: RaidParts,
    /// Number of sectors in which the images of its RAID differ, by the last check since its activation.
    pub raid_mismatches: u64,
    /// Whether blocks that were never written may show former content once a neighbor is written: those
    /// of a thin pool that does not zero new chunks, and of its volumes.
    pub has_stale_blocks: bool,
}

impl Lv {
    /// Returns whether the volume is of this type and no other volume depends on it.
    #[must_use]
    pub fn is_only(&self, segment_type: SegmentType) -> bool {
        self.segment_type == segment_type && self.role == LvRole::Volume
    }

    /// Returns whether the volume has this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

impl Vg {
    /// Finds the logical volume with this name.
    #[must_use]
    pub fn lv(&self, name: &str) -> Option<&Lv> {
        self.lvs.iter().find(|lv| lv.name == name)
    }

    /// Finds the physical volume with this uuid.
    #[must_use]
    pub fn pv(&self, uuid: &LvUuid) -> Option<&Pv> {
        self.pvs.iter().find(|pv| pv.uuid == *uuid)
    }

    /// Returns the extents that LVM can allocate, without those of disks that are not allocatable.
    #[must_use]
    pub fn available(&self) -> Extents {
        Extents(self.pvs.iter().map(|pv| pv.available().0).sum())
    }

    /// Returns how many logical volumes LVM still lets it have; `None` without a limit.
    ///
    /// LVM counts what it reports: a RAID, a cached volume and a thin pool count as one each, without
    /// their internal volumes, and a thin volume counts in addition to its pool. See
    /// [`Layout::lvs_at_creation`](super::Layout::lvs_at_creation).
    #[must_use]
    pub fn remaining_lvs(&self) -> Option<u64> {
        let count = u64::try_from(self.lvs.len()).unwrap_or(u64::MAX);
        self.max_lvs.map(|max| max.saturating_sub(count))
    }

    /// Inserts a new logical volume in report order and subtracts its extents.
    ///
    /// LVM creates a plain volume in one metadata change; other kinds take more, so `seqno` lags
    /// behind and the next check against the backup requests a new report.
    pub fn insert(&mut self, lv: Lv) {
        self.seqno += 1;
        for (uuid, taken) in &lv.shares {
            self.free.0 = self.free.0.saturating_sub(taken.0);
            if let Some(pv) = self.pvs.iter_mut().find(|pv| pv.uuid == *uuid) {
                pv.free.0 = pv.free.0.saturating_sub(taken.0);
            }
        }
        let at = self.lvs.partition_point(|other| other.name < lv.name);
        self.lvs.insert(at, lv);
    }
}
