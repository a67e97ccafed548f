//! Logical volumes with the tag of a claim that no LogicalVolume describes. Pure.
//!
//! The controller places no claim that has one: its data would stay behind.

use std::collections::{BTreeMap, BTreeSet};

use crds::node_storage::{MAX_ORPHANS, OrphanedVolume};
use host::lvm::tags::{CLAIM_NAME, CLAIM_UID};
use host::lvm::{Lv, LvRole, Vg};

use crate::agent::volumes::spec::VolumeSpec;

/// Returns the orphans of all volume groups, one for each claim, in the order of the claims' uids.
#[must_use]
pub fn orphans(groups: &[Vg], specs: &[VolumeSpec]) -> Vec<OrphanedVolume> {
    let described: BTreeSet<&str> = specs.iter().map(|spec| spec.identity.as_str()).collect();
    let mut by_claim = BTreeMap::new();
    for vg in groups {
        for lv in &vg.lvs {
            let Some(uid) = value(lv, CLAIM_UID) else {
                continue;
            };
            let is_described = described.contains(format!("{CLAIM_UID}{uid}").as_str());
            // A snapshot inherits no tags; an admin who copied them has the origin, too.
            if is_described || lv.role == LvRole::Snapshot {
                continue;
            }
            by_claim.entry(uid).or_insert_with(|| OrphanedVolume {
                claim_uid: uid.to_owned(),
                claim: value(lv, CLAIM_NAME).map(str::to_owned),
                volume_group: vg.name.clone(),
                name: lv.name.clone(),
            });
        }
    }
    by_claim.into_values().take(MAX_ORPHANS).collect()
}

/// Returns what follows this prefix in a tag of the logical volume.
fn value<'a>(lv: &'a Lv, prefix: &str) -> Option<&'a str> {
    lv.tags.iter().find_map(|tag| tag.strip_prefix(prefix))
}
