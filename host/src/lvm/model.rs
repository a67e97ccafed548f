//! What LVM has, as values: volume groups, their disks, their logical volumes. Read by `report`.

use std::collections::BTreeMap;

use super::thin_pool::PoolState;
use crate::lvm::names::LvUuid;
use crate::units::{Bytes, Extents};

/// A volume group and its logical volumes.
#[derive(Clone, Debug, Eq)]
pub struct Vg {
    /// The name: not always one that we would accept for our own use.
    pub name: String,
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// The size of one extent.
    pub extent_size: Bytes,
    /// How many extents there are.
    pub extents: Extents,
    /// How many of them no logical volume has.
    pub free: Extents,
    /// Why nothing can be made or changed in it; `None` when all is well.
    pub fault: Option<String>,
    /// Its logical volumes by name, without those that LVM keeps for itself.
    pub lvs: Vec<Lv>,
    /// Its physical volumes, LVM's word for the disks that it is made of.
    pub pvs: Vec<Pv>,
    /// The host that it belongs to, by its system ID; empty when it belongs to none.
    pub system_id: String,
    /// How often its metadata was written: LVM counts each change of it.
    pub seqno: u64,
}

impl PartialEq for Vg {
    /// Two reports of the same group are equal, however many changes led there.
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            uuid,
            extent_size,
            extents,
            free,
            fault,
            lvs,
            pvs,
            system_id,
            seqno: _,
        } = self;
        (name, uuid, extent_size, extents)
            == (&other.name, &other.uuid, &other.extent_size, &other.extents)
            && (free, fault, lvs) == (&other.free, &other.fault, &other.lvs)
            && (pvs, system_id) == (&other.pvs, &other.system_id)
    }
}

/// A physical volume of a volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pv {
    /// LVM's uuid of it: what stays, whatever the device is called.
    pub uuid: LvUuid,
    /// The device, as LVM calls it today.
    pub name: String,
    /// How many extents it has.
    pub extents: Extents,
    /// How many of them no logical volume has.
    pub free: Extents,
    /// Whether LVM may give its free extents away.
    pub allocatable: bool,
}

impl Pv {
    /// What can be had of it.
    #[must_use]
    pub fn available(&self) -> Extents {
        if self.allocatable {
            self.free
        } else {
            Extents(0)
        }
    }
}

/// A physical volume, and the volume group that has it, if any does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvOwner {
    /// The device, as LVM calls it today.
    pub name: String,
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// The volume group.
    pub group: Option<String>,
}

/// What a logical volume is, by the first letter of its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LvKind {
    /// Just extents, linear or striped: no origin of snapshots, no snapshot, no pool, nothing being
    /// moved.
    Plain,
    /// A RAID, and nothing more.
    Raid,
    /// A volume in a thin pool. Thin snapshots of it stand on their own.
    Thin,
    /// A thin pool.
    ThinPool,
    /// Plain extents with a cache in front.
    Cached,
    /// Anything else.
    Other,
}

/// A logical volume.
#[derive(Clone, Debug, Eq)]
pub struct Lv {
    /// The name: not always one that we would accept for our own use.
    pub name: String,
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// Its size.
    pub size: Bytes,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether its device is there.
    pub active: bool,
    /// Whether somebody has its device open. What LVM can't tell counts as open.
    pub open: bool,
    /// What it is.
    pub kind: LvKind,
    /// What it takes of each physical volume, by LVM's uuid: also what LVM keeps for itself to make
    /// it work.
    pub shares: BTreeMap<LvUuid, Extents>,
    /// Whether its RAID images have checksums.
    pub integrity: bool,
    /// When it was made, in seconds since 1970, by this host's clock; 0 when LVM does not know.
    pub made: u64,
    /// The thin pool that it is in.
    pub pool: Option<String>,
    /// What is known of it if it is a thin pool.
    pub state: Option<PoolState>,
}

impl PartialEq for Lv {
    /// Two reports of the same volume are equal, though whoever made it may not know the second
    /// that LVM wrote down.
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            uuid,
            size,
            tags,
            active,
            open,
            kind,
            shares,
            integrity,
            made: _,
            pool,
            state,
        } = self;
        (name, uuid, size, tags, shares)
            == (
                &other.name,
                &other.uuid,
                &other.size,
                &other.tags,
                &other.shares,
            )
            && (*active, *open, *kind, *integrity)
                == (other.active, other.open, other.kind, other.integrity)
            && (pool, state) == (&other.pool, &other.state)
    }
}

impl Lv {
    /// Whether it carries this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

impl Vg {
    /// The logical volume of this name.
    #[must_use]
    pub fn lv(&self, name: &str) -> Option<&Lv> {
        self.lvs.iter().find(|lv| lv.name == name)
    }

    /// The physical volume of this uuid.
    #[must_use]
    pub fn pv(&self, uuid: &LvUuid) -> Option<&Pv> {
        self.pvs.iter().find(|pv| pv.uuid == *uuid)
    }

    /// How many extents can be had: not those that are on disks of which nothing is to be taken.
    #[must_use]
    pub fn available(&self) -> Extents {
        Extents(self.pvs.iter().map(|pv| pv.available().0).sum())
    }

    /// Adds a logical volume where a report would have it, with what it takes. LVM makes a plain
    /// one in one change; others take it more, so that the count is behind and LVM is asked.
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
