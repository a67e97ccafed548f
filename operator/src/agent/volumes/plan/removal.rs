//! Plans the removal of a logical volume, and the cases in which it is kept. Pure.

use crds::Erase;
use crds::condition::reason;
use crds::logical_volume::State;
use host::lvm::tags::RESTORED;
use host::lvm::{Discard, Layout, Lv, LvRole, SegmentType};

use super::lookup::{ObservedLv, find};
use super::unpublished::{CreatedFor, created_for};
use super::{
    Action, Content, LvmChange, ObservedVolume, Step, check_changes, check_group, device, erase,
    initial_type, never_active, pool_and_cache,
};
use crate::agent::condition::ReportedError;
use crate::agent::volumes::outcome::Outcome;
use crate::agent::volumes::spec::VolumeSpec;

/// Plans for a volume that should not exist.
///
/// # Errors
/// Why it is kept.
pub(super) fn plan_absent(
    spec: &VolumeSpec,
    seen: ObservedVolume<'_>,
) -> Result<Step, ReportedError> {
    let path = spec.path();
    let node = &spec.node;
    let (vg, lv) = match find(spec, seen.groups) {
        ObservedLv::Ours(vg, lv) => (vg, lv),
        ObservedLv::Foreign { .. } => return Ok(gone(spec, seen).into()),
        ObservedLv::Renamed(vg, lv) => {
            let message = format!(
                "logical volume {path} on {node} was renamed to {}/{}, so it is kept; rename it back, or remove it manually",
                vg.name, lv.name
            );
            return Err(ReportedError::new(reason::FOREIGN_LOGICAL_VOLUME, message));
        }
        ObservedLv::Nothing => return plan_not_found(spec, seen),
    };
    if !lv.has_tag(spec.identity.as_str()) {
        let message = format!(
            "logical volume {path} on {node} lacks the tag {}, so it is kept; add the tag, or remove the volume manually",
            spec.identity
        );
        return Err(ReportedError::new(reason::FOREIGN_LOGICAL_VOLUME, message));
    }
    if spec.has_published_another(lv) && !spec.is_proven_by_tags(lv) {
        return Err(unproven(spec, lv));
    }
    check_group(spec, vg)?;
    check_changes(spec, vg)?;
    if let Some(refresh) = device::plan_resume(lv, seen) {
        return Ok(Step::Act(refresh));
    }
    // It can't be erased, and needs no erasure.
    if never_active::is_proven(spec, lv) {
        let uuid = lv.uuid.clone();
        return Ok(LvmChange::RemoveNeverActive { uuid }.into());
    }
    // The job that erases the volume has its device open, and fails if another program has.
    let is_erased = erase::is_required(spec, lv);
    if lv.open && !is_erased {
        return Err(in_use(spec));
    }
    if lv.role != LvRole::Volume || !has_type_of(spec, lv) {
        let message = format!(
            "logical volume {path} on {node} has snapshots, or was converted, so it is not removed; inspect it with lvs"
        );
        return Err(ReportedError::new(reason::IN_USE, message));
    }
    if is_erased && let Some(step) = erase::plan(spec, lv, seen.erasure)? {
        return Ok(step);
    }
    let action = match spec.state {
        State::AbsentIfNeverUsed => plan_unused(spec, lv, seen.content)?,
        State::Absent | State::Present | State::Abandoned => remove(spec, lv),
    };
    Ok(Step::Act(action))
}

/// Keeps a volume that neither its uuid nor its tags identify as this object's.
fn unproven(spec: &VolumeSpec, lv: &Lv) -> ReportedError {
    let path = spec.path();
    let published = spec.published.as_ref().map_or("", |uuid| uuid.as_str());
    let message = format!(
        "logical volume {path} on {} has the tag of this claim, but its LVM uuid is {}, not \
         {published} as in this object's status, and it lacks the tag of this object, so it is kept; \
         inspect it on the node: to have it removed, confirm that it is this claim's by: lvchange \
         --addtag {RESTORED} {path}; to keep it, remove the claim's tag by: lvchange --deltag {} \
         {path}",
        spec.node, lv.uuid, spec.identity
    );
    ReportedError::new(reason::FOREIGN_LOGICAL_VOLUME, message)
}

/// Returns whether the volume has a type that a volume with this spec may have: one with a cache
/// may also be without it.
fn has_type_of(spec: &VolumeSpec, lv: &Lv) -> bool {
    lv.segment_type == initial_type(spec)
        || (spec.layout == Layout::Cached && lv.segment_type == SegmentType::Cached)
}

fn remove(spec: &VolumeSpec, lv: &Lv) -> Action {
    let discard = match spec.erase {
        Erase::Discard => Discard::Always,
        Erase::None | Erase::Zero => Discard::AsConfigured,
    };
    Action::Change(LvmChange::Remove {
        uuid: lv.uuid.clone(),
        segment_type: lv.segment_type,
        discard,
    })
}

/// Returns the reason why an open volume is kept.
pub(super) fn in_use(spec: &VolumeSpec) -> ReportedError {
    let (path, node) = (spec.path(), &spec.node);
    let message = format!("logical volume {path} on {node} is in use, so it is not removed yet");
    ReportedError::new(reason::IN_USE, message)
}

/// Removes the volume only if it is proven to be empty.
fn plan_unused(
    spec: &VolumeSpec,
    lv: &Lv,
    content: Option<&Content>,
) -> Result<Action, ReportedError> {
    let uuid = lv.uuid.clone();
    if !lv.active {
        never_active::plan(spec, lv)?;
        return Ok(Action::Change(LvmChange::Activate { uuid }));
    }
    let what = match content {
        None => return Ok(Action::Inspect { uuid }),
        Some(Content::Unformatted | Content::Formatting) => return Ok(remove(spec, lv)),
        Some(Content::Blank) if spec.published.is_some() => "blank, but was marked as used",
        // A pod may have written raw data behind the start of a volume that was in use before its
        // object was restored.
        Some(Content::Blank) => match created_for(spec, lv) {
            CreatedFor::ThisObject => return Ok(remove(spec, lv)),
            CreatedFor::FormerObject | CreatedFor::Unknown => {
                "blank, but not created for this LogicalVolume"
            }
        },
        Some(Content::Data(what)) => what,
    };
    let path = spec.path();
    let message = format!(
        "logical volume {path} on {} should be unused, but is not empty ({what}), so it is kept; \
         if its data is not needed, remove it there: lvremove {path}",
        spec.node
    );
    Err(ReportedError::new(reason::NOT_EMPTY, message))
}

/// Plans for a volume that was not found; it may still be on a missing disk.
fn plan_not_found(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Result<Step, ReportedError> {
    let group = seen.groups.iter().find(|vg| vg.name == spec.group.as_str());
    if let Some(vg) = group.filter(|vg| vg.fault.is_none())
        && let Some(change) = pool_and_cache::leftover(spec, vg)
    {
        return Ok(change.into());
    }
    // Never published, and absent only if unused: if it is on a missing disk after all, it is
    // empty.
    let never_published = spec.published.is_none() && spec.state == State::AbsentIfNeverUsed;
    if group.is_some() || never_published {
        return Ok(gone(spec, seen).into());
    }
    let message = format!(
        "volume group {} is missing on {}, so the removal of the volume can't be verified",
        spec.group, spec.node
    );
    Err(ReportedError::new(reason::VOLUME_GROUP_MISSING, message))
}

/// Returns the outcome for a volume that does not exist.
fn gone(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Outcome {
    let path = spec.path();
    let node = &spec.node;
    let error = if seen.removed || spec.published.is_some() {
        let message = format!("logical volume {path} was removed from {node}");
        ReportedError::new(reason::REMOVED, message)
    } else {
        let message = format!("logical volume {path} was never created on {node}");
        ReportedError::new(reason::NEVER_CREATED, message)
    };
    Outcome::removed(error)
}
