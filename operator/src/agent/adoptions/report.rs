//! Builds the report on the logical volume that an Adoption names. Pure.

use std::sync::Arc;

use crds::adoption::{AdoptableVolume, AdoptionProblem, AdoptionReport, StorageKind};
use crds::condition::reason;
use crds::{Adoption, LogicalVolume, Share, quantity};
use host::lvm::{Lv, SegmentType, Vg};
use kube::ResourceExt as _;

use crate::agent::volumes::plan::{claim_uid, unsuitable};

/// Prefix of FlexLVM's tags.
const OURS: &str = "flexlvm.dev/";

/// Maximum number of tags in a report, as in the schema.
const MAX_TAGS: usize = 32;

/// Returns the report, from LVM's report and the LogicalVolumes of the node.
#[must_use]
pub fn build(adoption: &Adoption, groups: &[Vg], objects: &[Arc<LogicalVolume>]) -> AdoptionReport {
    let generation = adoption.metadata.generation.unwrap_or_default();
    match examine(adoption, groups, objects) {
        Ok(volume) => AdoptionReport {
            generation,
            volume: Some(volume),
            problem: None,
        },
        Err(problem) => AdoptionReport {
            generation,
            volume: None,
            problem: Some(problem),
        },
    }
}

/// Returns whether the controller created this LogicalVolume for the Adoption.
#[must_use]
pub fn is_of(object: &LogicalVolume, adoption: &Adoption) -> bool {
    let adopted = object.spec.adopted.as_ref();
    adopted.is_some_and(|adopted| Some(&adopted.adoption_uid) == adoption.metadata.uid.as_ref())
}

/// Finds the logical volume, and checks that it can be adopted.
fn examine(
    adoption: &Adoption,
    groups: &[Vg],
    objects: &[Arc<LogicalVolume>],
) -> Result<AdoptableVolume, AdoptionProblem> {
    let spec = &adoption.spec;
    let path = format!("{}/{}", spec.volume_group, spec.logical_volume);
    let mut named = groups.iter().filter(|vg| vg.name == spec.volume_group);
    let (Some(vg), None) = (named.next(), named.next()) else {
        let message = format!(
            "{} has no volume group {}, or more than one of that name",
            spec.node, spec.volume_group
        );
        return Err(problem(reason::VOLUME_GROUP_MISSING, message));
    };
    if let Some(fault) = &vg.fault {
        let message = format!(
            "volume group {} on {} is unusable: {fault}",
            vg.name, spec.node
        );
        return Err(problem(reason::VOLUME_GROUP_UNUSABLE, message));
    }
    let Some(lv) = vg.lv(&spec.logical_volume) else {
        let message = format!("{} has no logical volume {path}", spec.node);
        return Err(problem(reason::LOGICAL_VOLUME_NOT_FOUND, message));
    };
    if let Some(uuid) = &spec.uuid
        && *uuid != lv.uuid.as_str()
    {
        let message = format!(
            "logical volume {path} on {} has the LVM uuid {}, not {uuid} as in spec.uuid",
            spec.node, lv.uuid
        );
        return Err(problem(reason::LOGICAL_VOLUME_NOT_FOUND, message));
    }
    if let Some(object) = objects.iter().find(|object| describes(object, lv)) {
        let message = format!(
            "LogicalVolume {} describes logical volume {path} on {}, or another one of the same claim",
            object.name_any(),
            spec.node
        );
        return Err(problem(reason::CONFLICT, message));
    }
    if let Some(why) = unsuitable(lv) {
        let message = format!(
            "logical volume {path} on {} can't be adopted: {why}",
            spec.node
        );
        return Err(problem(reason::NOT_ADOPTABLE, message));
    }
    adoptable(vg, lv).ok_or_else(|| {
        let message = format!("logical volume {path} on {} has an unknown type", spec.node);
        problem(reason::NOT_ADOPTABLE, message)
    })
}

/// Returns whether the LogicalVolume describes this logical volume, also under another name.
fn describes(object: &LogicalVolume, lv: &Lv) -> bool {
    let status = object.status.as_ref();
    let uuid = status.and_then(|status| status.uuid.as_deref());
    object.name_any() == lv.name
        || uuid == Some(lv.uuid.as_str())
        || claim_uid(lv) == Some(object.spec.claim.uid.as_str())
}

fn adoptable(vg: &Vg, lv: &Lv) -> Option<AdoptableVolume> {
    let storage = match lv.segment_type {
        SegmentType::Plain => StorageKind::Plain,
        SegmentType::Raid => StorageKind::Raid,
        SegmentType::Thin => StorageKind::Thin,
        SegmentType::ThinPool | SegmentType::Cached | SegmentType::Other => return None,
    };
    let shares = lv.shares.iter().map(|(uuid, extents)| Share {
        uuid: uuid.to_string(),
        size: quantity::format(extents.bytes(vg.extent_size).0),
    });
    let ours = lv.tags.iter().filter(|tag| tag.starts_with(OURS));
    Some(AdoptableVolume {
        uuid: lv.uuid.to_string(),
        size: quantity::format(lv.size.0),
        storage,
        physical_volumes: shares.collect(),
        thin_pool: lv.pool.clone(),
        tags: ours.take(MAX_TAGS).cloned().collect(),
    })
}

fn problem(reason: &str, message: String) -> AdoptionProblem {
    AdoptionProblem {
        reason: reason.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests;
