//! Compares the logical volumes of the node with its LogicalVolumes. Pure.
//!
//! The agent reports what deviates, and removes nothing because of it: only an admin can determine whose data
//! a logical volume has.

use std::collections::BTreeMap;

use crds::logical_volume::State;
use crds::node_storage::{
    AuditCounts, Deviation, DeviationKind, MAX_DEVIATIONS, MAX_ORPHANS, OrphanedVolume,
};
use crds::orphans;
use host::LvUuid;
use host::lvm::tags::{CLAIM_NAME, CLAIM_UID};
use host::lvm::{Lv, LvRole, Vg};

use crate::agent::volumes::plan::{ObservedLv, find};
use crate::agent::volumes::spec::VolumeSpec;

/// Result of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Logical volumes with the tag of a claim that no LogicalVolume describes, one for each claim,
    /// in the order of the claims' uids.
    ///
    /// The controller places no claim that has one: its data would stay behind.
    pub orphans: Vec<OrphanedVolume>,
    /// The other deviations, in the order of group, name and kind.
    pub deviations: Vec<Deviation>,
}

impl Audit {
    /// Compares all volume groups with the specs of all LogicalVolumes of the node.
    #[must_use]
    pub fn new(groups: &[Vg], specs: &[VolumeSpec]) -> Self {
        let mut deviations = Vec::new();
        let mut described: BTreeMap<&str, DescribedVolume<'_>> = BTreeMap::new();
        for spec in specs {
            let found = find(spec, groups);
            deviations.extend(deviation_of_object(spec, groups, &found));
            let uuid = match found {
                ObservedLv::Ours(_, lv) | ObservedLv::Renamed(_, lv) => Some(&lv.uuid),
                ObservedLv::Foreign { .. } | ObservedLv::Nothing => None,
            };
            described.insert(spec.identity.as_str(), DescribedVolume { spec, uuid });
        }
        let mut orphans = BTreeMap::new();
        for vg in groups {
            // A snapshot inherits no tags; an admin who copied them has the origin, too.
            for lv in vg.lvs.iter().filter(|lv| lv.role != LvRole::Snapshot) {
                let Some(uid) = value(lv, CLAIM_UID) else {
                    continue;
                };
                match described.get(format!("{CLAIM_UID}{uid}").as_str()) {
                    Some(described) => deviations.extend(described.copy(vg, lv)),
                    None => {
                        orphans
                            .entry(uid)
                            .or_insert_with(|| orphan(vg, lv, uid.to_owned()));
                    }
                }
            }
        }
        deviations.sort_by(|a, b| {
            (&a.volume_group, &a.name, a.kind).cmp(&(&b.volume_group, &b.name, b.kind))
        });
        deviations.dedup_by(|a, b| {
            (&a.volume_group, &a.name, a.kind) == (&b.volume_group, &b.name, b.kind)
        });
        Self {
            orphans: orphans.into_values().collect(),
            deviations,
        }
    }

    /// Returns how many volumes deviate in each way.
    #[must_use]
    pub fn counts(&self) -> AuditCounts {
        let count = |kind| {
            let of_kind = self.deviations.iter().filter(|one| one.kind == kind);
            number(of_kind.count())
        };
        AuditCounts {
            orphaned: number(self.orphans.len()),
            missing: count(DeviationKind::Missing),
            foreign: count(DeviationKind::Foreign),
            retained: count(DeviationKind::Retained),
            abandoned: count(DeviationKind::Abandoned),
        }
    }

    /// Returns the digests of the claims whose orphans [`limited`](Self::limited) omits.
    #[must_use]
    pub fn further_orphans(&self) -> Option<String> {
        let omitted = self.orphans.iter().skip(MAX_ORPHANS);
        orphans::digests(omitted.map(|orphan| orphan.claim_uid.as_str()))
    }

    /// Shortens the lists to the limits of the API.
    #[must_use]
    pub fn limited(mut self) -> Self {
        self.orphans.truncate(MAX_ORPHANS);
        self.deviations.truncate(MAX_DEVIATIONS);
        self
    }
}

/// A LogicalVolume, and the uuid of the logical volume that it describes, if that exists.
struct DescribedVolume<'a> {
    spec: &'a VolumeSpec,
    uuid: Option<&'a LvUuid>,
}

impl DescribedVolume<'_> {
    /// Returns the deviation of a logical volume that has the tag of this volume's claim, but is
    /// another one: an admin copied the tags, or cloned the volume group.
    fn copy(&self, vg: &Vg, lv: &Lv) -> Option<Deviation> {
        let spec = self.spec;
        let is_cache = spec
            .cache
            .as_ref()
            .is_some_and(|cache| cache.name.as_str() == lv.name);
        let is_being_created = self.uuid.is_none() && spec.published.is_none();
        if self.uuid == Some(&lv.uuid) || is_cache || is_being_created {
            return None;
        }
        let message = format!(
            "it has the tag {} of LogicalVolume {}, which describes another logical volume",
            spec.identity, spec.name
        );
        Some(deviation(DeviationKind::Foreign, vg, lv, message))
    }
}

/// Returns how a LogicalVolume deviates from the logical volume in its place.
fn deviation_of_object(
    spec: &VolumeSpec,
    groups: &[Vg],
    found: &ObservedLv<'_>,
) -> Option<Deviation> {
    match (spec.state, found) {
        (State::Present, _) => {}
        (State::Abandoned, ObservedLv::Ours(vg, lv) | ObservedLv::Renamed(vg, lv)) => {
            let message = "its claim was released while the node was lost".to_owned();
            return Some(deviation(DeviationKind::Abandoned, vg, lv, message));
        }
        (State::Absent | State::AbsentIfNeverUsed | State::Abandoned, _) => return None,
    }
    match found {
        ObservedLv::Foreign { vg, lv, why } => {
            let message = format!(
                "it is not the logical volume of LogicalVolume {}: {why}",
                spec.name
            );
            Some(deviation(DeviationKind::Foreign, vg, lv, message))
        }
        ObservedLv::Ours(vg, lv)
            if spec.has_published_another(lv) && !spec.is_proven_by_tags(lv) =>
        {
            let message = format!(
                "its LVM uuid is not that in the status of LogicalVolume {}, and it lacks the tag {}",
                spec.name, spec.object
            );
            Some(deviation(DeviationKind::Foreign, vg, lv, message))
        }
        ObservedLv::Ours(vg, lv) if spec.released => {
            let message = "reclaim policy Retain keeps it, and its claim was deleted".to_owned();
            Some(deviation(DeviationKind::Retained, vg, lv, message))
        }
        ObservedLv::Ours(..) => None,
        ObservedLv::Renamed(vg, lv) => Some(missing(
            spec,
            format!("it was renamed to {}/{}", vg.name, lv.name),
        )),
        ObservedLv::Nothing => {
            spec.published.as_ref()?;
            let has_group = groups.iter().any(|vg| vg.name == spec.group.as_str());
            Some(missing(
                spec,
                if has_group {
                    "it does not exist".to_owned()
                } else {
                    format!("volume group {} is not on the node", spec.group)
                },
            ))
        }
    }
}

fn missing(spec: &VolumeSpec, message: String) -> Deviation {
    let claim = spec.trace.as_ref();
    let claim = claim.and_then(|tag| tag.as_str().strip_prefix(CLAIM_NAME));
    Deviation {
        kind: DeviationKind::Missing,
        volume_group: spec.group.to_string(),
        name: spec.name.to_string(),
        uuid: spec.published.as_ref().map(ToString::to_string),
        claim: claim.map(str::to_owned),
        message,
    }
}

fn deviation(kind: DeviationKind, vg: &Vg, lv: &Lv, message: String) -> Deviation {
    Deviation {
        kind,
        volume_group: vg.name.clone(),
        name: lv.name.clone(),
        uuid: Some(lv.uuid.to_string()),
        claim: value(lv, CLAIM_NAME).map(str::to_owned),
        message,
    }
}

fn orphan(vg: &Vg, lv: &Lv, claim_uid: String) -> OrphanedVolume {
    OrphanedVolume {
        claim_uid,
        claim: value(lv, CLAIM_NAME).map(str::to_owned),
        volume_group: vg.name.clone(),
        name: lv.name.clone(),
    }
}

/// Returns what follows this prefix in a tag of the logical volume.
fn value<'a>(lv: &'a Lv, prefix: &str) -> Option<&'a str> {
    lv.tags.iter().find_map(|tag| tag.strip_prefix(prefix))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
