//! Finds the logical volume of a spec among those of the node. Pure.
//!
//! Name and tags identify it, not the status: before Kubernetes 1.30, agents of other nodes can
//! write another uuid there.

use host::LvUuid;
use host::lvm::tags::CLAIM_UID;
use host::lvm::{Lv, LvRole, Vg};

use crate::agent::volumes::spec::VolumeSpec;

/// The spec's logical volume, or what exists in its place.
#[derive(Debug)]
pub enum ObservedLv<'a> {
    /// No volume with this name, and none with the published uuid.
    Nothing,
    /// The spec's logical volume: it has the name, and the published uuid or the claim's tag.
    Ours(&'a Vg, &'a Lv),
    /// Another volume has the name.
    Foreign {
        /// Its volume group.
        vg: &'a Vg,
        /// The volume.
        lv: &'a Lv,
        /// Names the difference.
        why: String,
    },
    /// The spec's volume has another name.
    Renamed(&'a Vg, &'a Lv),
}

/// Finds the volume.
#[must_use]
pub fn find<'a>(spec: &VolumeSpec, groups: &'a [Vg]) -> ObservedLv<'a> {
    if let Some(adopted) = &spec.adopted {
        return find_adopted(spec, &adopted.uuid, groups);
    }
    let mut named = None;
    let mut elsewhere = None;
    for vg in groups {
        for lv in &vg.lvs {
            if has_name(spec, vg, lv) {
                if named.is_none() || spec.has_published(lv) {
                    named = Some((vg, lv));
                }
            } else if spec.has_published(lv) && !is_of_another_claim(spec, lv) {
                elsewhere = Some((vg, lv));
            }
        }
    }
    if let Some((vg, lv)) = named
        && spec.has_published(lv)
    {
        return ObservedLv::Ours(vg, lv);
    }
    // An admin renamed it; a volume that has its former name is a copy.
    if let Some((vg, lv)) = elsewhere
        && lv.has_tag(spec.identity.as_str())
    {
        return ObservedLv::Renamed(vg, lv);
    }
    if let Some((vg, lv)) = named
        && lv.has_tag(spec.identity.as_str())
    {
        return ObservedLv::Ours(vg, lv);
    }
    match (elsewhere, named) {
        (Some((vg, lv)), _) => ObservedLv::Renamed(vg, lv),
        (None, Some((vg, lv))) => ObservedLv::Foreign {
            vg,
            lv,
            why: difference(spec, lv),
        },
        (None, None) => ObservedLv::Nothing,
    }
}

/// Finds an adopted volume, by its name and the uuid in the spec, which the controller alone writes.
///
/// It may have no tag of FlexLVM yet.
fn find_adopted<'a>(spec: &VolumeSpec, uuid: &LvUuid, groups: &'a [Vg]) -> ObservedLv<'a> {
    let mut named = None;
    let mut elsewhere = None;
    for vg in groups {
        for lv in &vg.lvs {
            match (has_name(spec, vg, lv), lv.uuid == *uuid) {
                (true, true) if is_of_another_claim(spec, lv) => {
                    let why = format!(
                        "it has the tag of another claim, and not the tag {}",
                        spec.identity
                    );
                    return ObservedLv::Foreign { vg, lv, why };
                }
                (true, true) => return ObservedLv::Ours(vg, lv),
                (true, false) => named = Some((vg, lv)),
                (false, true) => elsewhere = Some((vg, lv)),
                (false, false) => {}
            }
        }
    }
    match (elsewhere, named) {
        (Some((vg, lv)), _) => ObservedLv::Renamed(vg, lv),
        (None, Some((vg, lv))) => ObservedLv::Foreign {
            vg,
            lv,
            why: format!(
                "its LVM uuid is {}, that of the Adoption is {uuid}",
                lv.uuid
            ),
        },
        (None, None) => ObservedLv::Nothing,
    }
}

/// Finds a volume with the tag of the spec's claim under another name: an admin renamed it, or moved it
/// to another group, and the object was restored from a backup, which has no status.
///
/// The volume's own cache has the tag, too. A snapshot inherits none; an admin who copied them has the
/// origin, too.
pub(super) fn find_by_claim<'a>(spec: &VolumeSpec, groups: &'a [Vg]) -> Option<(&'a Vg, &'a Lv)> {
    let cache = spec.cache.as_ref().map(|cache| cache.name.as_str());
    for vg in groups {
        for lv in &vg.lvs {
            let is_cache = cache == Some(lv.name.as_str());
            if lv.has_tag(spec.identity.as_str()) && lv.role != LvRole::Snapshot && !is_cache {
                return Some((vg, lv));
            }
        }
    }
    None
}

/// Returns why the volume with the name is not the spec's.
fn difference(spec: &VolumeSpec, lv: &Lv) -> String {
    let tag = &spec.identity;
    match &spec.published {
        None => format!("it lacks the tag {tag}"),
        Some(uuid) => format!(
            "its LVM uuid is {}, this volume's is {uuid}, and it lacks the tag {tag}",
            lv.uuid
        ),
    }
}

fn has_name(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> bool {
    vg.name == spec.group.as_str() && lv.name == spec.name.as_str()
}

/// Returns whether the volume has the tag of another claim: a status that names it is wrong.
fn is_of_another_claim(spec: &VolumeSpec, lv: &Lv) -> bool {
    lv.tags
        .iter()
        .any(|tag| tag.starts_with(CLAIM_UID) && tag != spec.identity.as_str())
}
