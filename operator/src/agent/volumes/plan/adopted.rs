//! Plans the adoption of an existing logical volume: the agent changes its tags, in one step, and
//! nothing else. Pure.
//!
//! The volume has data: the agent neither inspects nor marks it, so the driver never formats it.

use crds::condition::reason;
use host::LvTag;
use host::lvm::tags::{CLAIM_UID, FORMAT, MARKED, OBJECT_UID, OF_CLAIM, RECORD, STATIC};
use host::lvm::{Lv, LvRole, SegmentType, Vg};

use super::{Action, LvmChange, cost, initial_type};
use crate::agent::condition::ReportedError;
use crate::agent::volumes::outcome::Outcome;
use crate::agent::volumes::spec::{AdoptedLv, VolumeSpec};

/// Prefixes of the tags that say to whom a volume belongs, and which the adoption replaces.
const REPLACED: [&str; 6] = [OF_CLAIM, OBJECT_UID, RECORD, STATIC, FORMAT, MARKED];

/// Plans the change of the tags of an adopted volume that was not published yet. `None` if it has
/// the tags of its object.
///
/// # Errors
/// Why the volume can't be adopted.
pub(super) fn plan(
    spec: &VolumeSpec,
    adopted: &AdoptedLv,
    vg: &Vg,
    lv: &Lv,
) -> Result<Option<Action>, ReportedError> {
    if let Some(problem) = unsuitable(lv) {
        return Err(rejected(spec, &problem));
    }
    if lv.segment_type != initial_type(spec) {
        return Err(rejected(
            spec,
            "LVM stores it in another way than the layout of the Adoption's StorageBackend",
        ));
    }
    if cost(spec, vg)?.size > lv.size.extents_up(vg.extent_size) {
        return Err(rejected(
            spec,
            "it is smaller than a volume with the layout of the Adoption's StorageBackend",
        ));
    }
    let wanted = spec.tags(adopted.created_size.unwrap_or(lv.size));
    let mut remove = Vec::new();
    for tag in &lv.tags {
        let is_replaced = REPLACED.iter().any(|prefix| tag.starts_with(prefix))
            && !wanted.iter().any(|wanted| wanted.as_str() == tag);
        if is_replaced && let Ok(tag) = LvTag::new(tag) {
            remove.push(tag);
        }
    }
    let add: Vec<LvTag> = wanted
        .into_iter()
        .filter(|wanted| !lv.has_tag(wanted.as_str()))
        .collect();
    if remove.is_empty() && add.is_empty() {
        return Ok(None);
    }
    Ok(Some(Action::Change(LvmChange::Retag {
        uuid: lv.uuid.clone(),
        remove,
        add,
    })))
}

/// Returns why a logical volume can't become a claim's volume with any layout; `None` if it can.
#[must_use]
pub fn unsuitable(lv: &Lv) -> Option<String> {
    if lv.has_tag(FORMAT) {
        return Some(format!(
            "it has the tag {FORMAT}: mount it once, so that it gets a file system, or remove the tag"
        ));
    }
    if lv.role == LvRole::Snapshot {
        return Some("it is a snapshot, which changes with its origin".to_owned());
    }
    if lv.is_in_transition {
        return Some("LVM is converting or moving it: wait until it has ended".to_owned());
    }
    match lv.segment_type {
        SegmentType::Plain | SegmentType::Raid | SegmentType::Thin => None,
        SegmentType::Cached => Some(
            "it has a cache: detach it with lvconvert --uncache, which writes back what only the cache has"
                .to_owned(),
        ),
        SegmentType::ThinPool => Some("it is a thin pool: adopt the volumes in it".to_owned()),
        SegmentType::Other => Some("FlexLVM does not support its segment type".to_owned()),
    }
}

/// Returns the uid of the claim that a logical volume belongs to, according to its tags.
#[must_use]
pub fn claim_uid(lv: &Lv) -> Option<&str> {
    lv.tags.iter().find_map(|tag| tag.strip_prefix(CLAIM_UID))
}

/// Returns the outcome of an adoption that was cancelled before the volume was published: the
/// logical volume stays as it is.
pub(super) fn cancelled(spec: &VolumeSpec) -> Outcome {
    let message = format!(
        "the adoption was cancelled; logical volume {} on {} is left as it is",
        spec.path(),
        spec.node
    );
    Outcome::removed(ReportedError::new(reason::ADOPTION_CANCELLED, message))
}

fn rejected(spec: &VolumeSpec, problem: &str) -> ReportedError {
    let message = format!(
        "logical volume {} on {} can't be adopted: {problem}",
        spec.path(),
        spec.node
    );
    ReportedError::new(reason::NOT_ADOPTABLE, message)
}
