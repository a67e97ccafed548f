//! Parses LVM's short reports: uuids, physical volumes, integrity mismatches, the version. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ReportError, number, uuid};
use crate::lvm::model::PvOwner;
use crate::lvm::names::LvUuid;

/// Parses the uuids that `vgs --options vg_uuid` lists.
pub(in crate::lvm) fn parse_uuids(text: &[u8]) -> Result<Vec<LvUuid>, ReportError> {
    #[derive(Deserialize)]
    struct UuidRow {
        vg_uuid: String,
    }
    #[derive(Deserialize)]
    struct UuidPart {
        vg: Vec<UuidRow>,
    }
    #[derive(Deserialize)]
    struct UuidAnswer {
        report: Vec<UuidPart>,
    }
    let answer: UuidAnswer = serde_json::from_slice(text)?;
    let rows = answer.report.into_iter().flat_map(|part| part.vg);
    rows.map(|row| uuid(row.vg_uuid)).collect()
}

/// Parses the integrity mismatches that `lvs` lists, of the volumes that have any.
pub(in crate::lvm) fn parse_mismatches(text: &[u8]) -> Result<BTreeMap<LvUuid, u64>, ReportError> {
    #[derive(Deserialize)]
    struct MismatchRow {
        lv_uuid: String,
        integritymismatches: String,
    }
    #[derive(Deserialize)]
    struct MismatchPart {
        lv: Vec<MismatchRow>,
    }
    #[derive(Deserialize)]
    struct MismatchAnswer {
        report: Vec<MismatchPart>,
    }
    let answer: MismatchAnswer = serde_json::from_slice(text)?;
    let mut mismatches = BTreeMap::new();
    for row in answer.report.into_iter().flat_map(|part| part.lv) {
        // Empty without checksums, and while the volume is inactive.
        if row.integritymismatches.is_empty() {
            continue;
        }
        let count = number(&row.integritymismatches)?;
        if count > 0 {
            mismatches.insert(uuid(row.lv_uuid)?, count);
        }
    }
    Ok(mismatches)
}

/// Parses the physical volumes that `pvs` lists.
pub(in crate::lvm) fn parse_disks(text: &[u8]) -> Result<Vec<PvOwner>, ReportError> {
    #[derive(Deserialize)]
    struct OwnerRow {
        pv_name: String,
        pv_uuid: String,
        vg_name: String,
    }
    #[derive(Deserialize)]
    struct OwnerPart {
        pv: Vec<OwnerRow>,
    }
    #[derive(Deserialize)]
    struct OwnerAnswer {
        report: Vec<OwnerPart>,
    }
    let answer: OwnerAnswer = serde_json::from_slice(text)?;
    let mut owners = Vec::new();
    for row in answer.report.into_iter().flat_map(|part| part.pv) {
        owners.push(PvOwner {
            name: row.pv_name,
            uuid: uuid(row.pv_uuid)?,
            group: Some(row.vg_name).filter(|group| !group.is_empty()),
        });
    }
    Ok(owners)
}

/// Parses the output of `lvm version`.
pub(in crate::lvm) fn parse_version(text: &[u8]) -> Result<String, ReportError> {
    String::from_utf8_lossy(text)
        .lines()
        .find_map(|line| line.trim().strip_prefix("LVM version:"))
        .and_then(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .ok_or(ReportError::NoVersion)
}
