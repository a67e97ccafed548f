//! Parses LVM's JSON reports into values (`model`). Pure.
//!
//! Ignores unknown columns. A missing or malformed column rejects the whole report: a partial one
//! could make a volume look absent.

mod duplicates;
mod error;
mod lists;
mod raids;
mod shares;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::health::{LvHealth, MissingPart};
use super::model::{Lv, LvRole, Pv, SegmentType, Vg};
use super::raid_parts::RaidParts;
use super::raid_sync::RaidSync;
use super::thin_pool::{PoolFault, PoolState};
use super::vg_fault::VgFault;
use crate::lvm::names::LvUuid;
use crate::units::{Bytes, Extents};

pub(super) use duplicates::mark_duplicates;
pub(super) use error::ReportError;
pub(super) use lists::{parse_disks, parse_mismatches, parse_uuids, parse_version};
pub(super) use warnings::warnings;

#[derive(Deserialize)]
struct Answer {
    report: Vec<Part>,
}

/// One volume group; or the physical volumes of no group, then without `vg`.
#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    vg: Vec<VgRow>,
    #[serde(default)]
    lv: Vec<LvRow>,
    #[serde(default)]
    pv: Vec<PvRow>,
    #[serde(default)]
    pvseg: Vec<PvSegRow>,
}

#[expect(
    clippy::struct_field_names,
    reason = "these are LVM's names of its columns"
)]
#[derive(Deserialize)]
struct PvRow {
    pv_name: String,
    pv_uuid: String,
    pv_attr: String,
    pv_pe_count: String,
    pv_pe_alloc_count: String,
}

/// A segment of a physical volume; `lv_name` is empty if it is free.
#[derive(Deserialize)]
struct PvSegRow {
    pv_uuid: String,
    lv_name: String,
    pvseg_size: String,
}

#[derive(Deserialize)]
struct VgRow {
    vg_name: String,
    vg_uuid: String,
    vg_attr: String,
    vg_extent_size: String,
    vg_extent_count: String,
    vg_free_count: String,
    vg_missing_pv_count: String,
    vg_systemid: String,
    vg_lock_type: String,
    vg_seqno: String,
    max_lv: String,
}

#[derive(Deserialize)]
struct LvRow {
    lv_name: String,
    lv_uuid: String,
    lv_attr: String,
    lv_size: String,
    lv_tags: String,
    pool_lv: String,
    data_percent: String,
    metadata_percent: String,
    lv_metadata_size: String,
    // Only a full report has these.
    #[serde(default)]
    lv_layout: String,
    #[serde(default)]
    raid_sync_action: String,
    #[serde(default)]
    sync_percent: String,
    #[serde(default)]
    raid_mismatch_count: String,
}

/// Parses a full report; the error names the defect.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Vg>, ReportError> {
    let answer: Answer = serde_json::from_slice(text)?;
    let mut vgs = Vec::with_capacity(answer.report.len());
    for part in answer.report {
        let mut rows = part.vg.into_iter();
        match (rows.next(), rows.next()) {
            (Some(row), None) => vgs.push(row.read(part.lv, part.pv, &part.pvseg)?),
            (None, _) if part.lv.is_empty() => {}
            _ => {
                return Err(ReportError::VolumeGroups);
            }
        }
    }
    mark_duplicate_names(&mut vgs);
    Ok(vgs)
}

/// Parses the output of `lvs` for one logical volume.
pub(super) fn parse_volume(text: &[u8]) -> Result<Lv, ReportError> {
    let answer: Answer = serde_json::from_slice(text)?;
    let mut rows = answer.report.into_iter().flat_map(|part| part.lv);
    match (rows.next(), rows.next()) {
        (Some(row), None) => row.read(),
        _ => Err(ReportError::LogicalVolumes),
    }
}

/// Marks the volume groups of other hosts: they have a system ID, and are not among those that this
/// host may use.
pub(super) fn mark_foreign(vgs: &mut [Vg], usable: &[LvUuid]) {
    for vg in vgs
        .iter_mut()
        .filter(|vg| !vg.system_id.is_empty() && !usable.contains(&vg.uuid))
    {
        vg.fault = Some(VgFault::Foreign {
            system_id: vg.system_id.clone(),
        });
    }
}

/// Marks groups that share a name: LVM refuses to change any of them by name.
fn mark_duplicate_names(vgs: &mut [Vg]) {
    let names: Vec<String> = vgs.iter().map(|vg| vg.name.clone()).collect();
    for vg in vgs {
        if names.iter().filter(|name| **name == vg.name).count() > 1 {
            vg.fault = Some(VgFault::DuplicateName);
        }
    }
}

impl VgRow {
    fn read(
        self,
        lvs: Vec<LvRow>,
        pvs: Vec<PvRow>,
        segments: &[PvSegRow],
    ) -> Result<Vg, ReportError> {
        let missing = number(&self.vg_missing_pv_count)?;
        let fault = self.fault(missing)?;
        let pvs = pvs
            .into_iter()
            .map(PvRow::read)
            .collect::<Result<Vec<_>, _>>()?;
        let raid_parts = raids::parts(&lvs);
        // LVM prints the names of its internal volumes in brackets, if it hides them.
        let (internal, lvs): (Vec<_>, Vec<_>) = lvs
            .into_iter()
            .partition(|lv| lv.lv_name.starts_with('[') || lv.row().is_visible_part());
        let mut internal = internal
            .into_iter()
            .map(|lv| uuid(lv.lv_uuid))
            .collect::<Result<Vec<_>, _>>()?;
        internal.sort();
        let mut lvs = lvs
            .into_iter()
            .map(LvRow::read)
            .collect::<Result<Vec<_>, _>>()?;
        lvs.sort_by(|a, b| a.name.cmp(&b.name));
        for lv in &mut lvs {
            lv.raid_parts = raid_parts.get(&lv.name).copied().unwrap_or_default();
        }
        shares::assign(&mut lvs, &pvs, segments)?;
        let vg = Vg {
            uuid: uuid(self.vg_uuid)?,
            extent_size: Bytes(number(&self.vg_extent_size)?),
            extents: Extents(number(&self.vg_extent_count)?),
            free: Extents(number(&self.vg_free_count)?),
            fault,
            change_fault: None,
            max_lvs: Some(number(&self.max_lv)?).filter(|max| *max > 0),
            lvs,
            internal,
            pvs,
            system_id: self.vg_systemid,
            seqno: number(&self.vg_seqno)?,
            name: self.vg_name,
        };
        let on_disks: u64 = vg.pvs.iter().map(|pv| pv.extents.0).sum();
        if vg.name.is_empty()
            || vg.extent_size.0 == 0
            || vg.free > vg.extents
            || on_disks != vg.extents.0
        {
            return Err(ReportError::SizesOfGroup(vg.name));
        }
        Ok(vg)
    }

    /// Parses `vg_attr`, see vgs(8): permissions, resizeable, exported, partial, allocation,
    /// clustered or shared.
    fn fault(&self, missing: u64) -> Result<Option<VgFault>, ReportError> {
        let attr: Vec<char> = self.vg_attr.chars().collect();
        let [permissions, resizeable, exported, partial, _, shared, ..] = attr[..] else {
            return Err(ReportError::Attributes {
                column: "vg_attr",
                value: self.vg_attr.clone(),
            });
        };
        let fault = if exported == 'x' {
            VgFault::Exported
        } else if missing > 0 || partial == 'p' {
            VgFault::DisksMissing { count: missing }
        } else if !self.vg_lock_type.is_empty() && self.vg_lock_type != "none" {
            VgFault::Shared {
                lock_type: self.vg_lock_type.clone(),
            }
        } else if shared != '-' {
            VgFault::Clustered
        } else if permissions != 'w' {
            VgFault::ReadOnly
        } else if resizeable != 'z' {
            VgFault::NotResizeable
        } else {
            return Ok(None);
        };
        Ok(Some(fault))
    }
}

impl LvRow {
    /// Parses `lv_attr`, see lvs(8): type, permissions, allocation, fixed minor, state, open, target
    /// type, and more.
    fn read(self) -> Result<Lv, ReportError> {
        let attr: Vec<char> = self.lv_attr.chars().collect();
        let [
            kind,
            access,
            policy,
            _,
            state,
            open,
            target,
            zero,
            health,
            ..,
        ] = attr[..]
        else {
            return Err(ReportError::Attributes {
                column: "lv_attr",
                value: self.lv_attr,
            });
        };
        let segment_type = segment_type(kind, target);
        let pool_state = if segment_type == SegmentType::ThinPool {
            Some(self.pool_state(health, state)?)
        } else {
            None
        };
        Ok(Lv {
            uuid: uuid(self.lv_uuid)?,
            size: Bytes(number(&self.lv_size)?),
            tags: self
                .lv_tags
                .split(',')
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect(),
            active: state != '-',
            open: open != '-',
            segment_type,
            role: role(kind),
            // LVM prints the names of its internal volumes in brackets.
            pool: Some(self.pool_lv.trim_matches(['[', ']']).to_owned())
                .filter(|pool| !pool.is_empty()),
            state: pool_state,
            shares: BTreeMap::new(),
            integrity: false,
            health: LvHealth::from_letters(segment_type, access, health),
            missing_images: BTreeSet::new(),
            missing_part: MissingPart::None,
            sync: RaidSync::from_columns(&self.raid_sync_action, &self.sync_percent),
            integrity_mismatches: 0,
            is_in_transition: policy.is_ascii_uppercase()
                || matches!((kind, health), ('O' | 'S', _) | (_, 's')),
            raid_parts: RaidParts::Hidden,
            raid_mismatches: self.raid_mismatch_count.parse().unwrap_or(0),
            has_stale_blocks: zero != 'z'
                && matches!(segment_type, SegmentType::Thin | SegmentType::ThinPool),
            name: self.lv_name,
        })
    }

    /// Parses a pool's state; the ninth attribute is its health, the fifth shows a failed check.
    fn pool_state(&self, health: char, state: char) -> Result<PoolState, ReportError> {
        Ok(PoolState {
            metadata: Bytes(number(&self.lv_metadata_size)?),
            data_used: percent(&self.data_percent)?,
            metadata_used: percent(&self.metadata_percent)?,
            fault: PoolFault::from_attributes(health, state, &self.lv_name),
        })
    }
}

/// Returns the segment type by the first and the seventh letter of `lv_attr`: volume type and
/// target type.
///
/// A volume's role as origin or snapshot hides its type in the first letter, not in the seventh;
/// for plain extents the seventh is then an `s`, or a hyphen if the origin's snapshots are thin.
fn segment_type(kind: char, target: char) -> SegmentType {
    match (kind, target) {
        ('-', _) | ('o' | 'O' | 's' | 'S', 's' | '-') => SegmentType::Plain,
        ('r' | 'R', _) | ('o' | 'O', 'r') => SegmentType::Raid,
        ('V', _) | ('o' | 'O' | 'S', 't') => SegmentType::Thin,
        ('t', _) => SegmentType::ThinPool,
        ('C', _) | ('o' | 'O', 'C') => SegmentType::Cached,
        _ => SegmentType::Other,
    }
}

/// Returns the role by the first letter of `lv_attr`; the capital letters stand for merging.
fn role(kind: char) -> LvRole {
    match kind {
        'o' | 'O' => LvRole::Origin,
        's' | 'S' => LvRole::Snapshot,
        _ => LvRole::Volume,
    }
}

impl PvRow {
    /// Parses `pv_attr`, see pvs(8): allocatable, exported, missing.
    fn read(self) -> Result<Pv, ReportError> {
        let attr: Vec<char> = self.pv_attr.chars().collect();
        let [allocatable, _, missing, ..] = attr[..] else {
            return Err(ReportError::Attributes {
                column: "pv_attr",
                value: self.pv_attr,
            });
        };
        let extents = number(&self.pv_pe_count)?;
        let allocated = number(&self.pv_pe_alloc_count)?;
        let Some(free) = extents.checked_sub(allocated) else {
            return Err(ReportError::SizesOfDisk(self.pv_name));
        };
        Ok(Pv {
            uuid: uuid(self.pv_uuid)?,
            name: self.pv_name,
            extents: Extents(extents),
            free: Extents(free),
            allocatable: allocatable == 'a' && missing != 'm',
            is_missing: missing == 'm',
        })
    }
}

fn number(text: &str) -> Result<u64, ReportError> {
    text.parse()
        .map_err(|_| ReportError::Number(text.to_owned()))
}

/// Parses a percentage as LVM prints it, `12.34`, rounded up; an empty text is 0.
fn percent(text: &str) -> Result<u32, ReportError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u32 = if text.is_empty() {
        0
    } else {
        whole
            .parse()
            .map_err(|_| ReportError::Percentage(text.to_owned()))?
    };
    Ok(whole + u32::from(fraction.bytes().any(|digit| digit != b'0')))
}

fn uuid(text: String) -> Result<LvUuid, ReportError> {
    Ok(LvUuid::new(text)?)
}

#[cfg(test)]
mod tests;
