//! Plans the removal of a logical volume, and the cases in which it is kept. Pure.

use crds::condition::reason;
use crds::logical_volume::State;
use host::lvm::{Layout, Lv, LvRole, SegmentType};

use super::{
    Content, ObservedLv, ObservedVolume, Step, find, initial_type, pool_and_cache, unusable,
};
use crate::agent::volumes::outcome::{ConditionUpdate, Outcome};
use crate::agent::volumes::spec::VolumeSpec;

/// Returns the next step for a volume that should not exist.
pub(super) fn plan_absent(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Step {
    let path = spec.path();
    let node = &spec.node;
    let (vg, lv) = match find(spec, seen.groups) {
        ObservedLv::Ours(vg, lv) => (vg, lv),
        ObservedLv::Foreign(_) => return gone(spec, seen).into(),
        ObservedLv::Renamed(now) => {
            let message = format!(
                "logical volume {path} on {node} was renamed to {now}, so it is kept; rename it back, or remove it manually"
            );
            return Outcome::kept(reason::FOREIGN_LOGICAL_VOLUME, message).into();
        }
        ObservedLv::Nothing => return plan_not_found(spec, seen),
    };
    if !lv.has_tag(spec.identity.as_str()) {
        let message = format!(
            "logical volume {path} on {node} lacks the tag {}, so it is kept; add the tag, or remove the volume manually",
            spec.identity
        );
        return Outcome::kept(reason::FOREIGN_LOGICAL_VOLUME, message).into();
    }
    if let Some(fault) = &vg.fault {
        return Outcome::kept(reason::VOLUME_GROUP_UNUSABLE, unusable(spec, fault)).into();
    }
    if lv.open {
        return Outcome::kept(
            reason::IN_USE,
            format!("logical volume {path} on {node} is in use, so it is not removed yet"),
        )
        .into();
    }
    if lv.role != LvRole::Volume || !has_type_of(spec, lv) {
        let message = format!(
            "logical volume {path} on {node} has snapshots, or was converted, so it is not removed; inspect it with lvs"
        );
        return Outcome::kept(reason::IN_USE, message).into();
    }
    match spec.state {
        State::AbsentIfNeverUsed => plan_unused(spec, lv, seen.content),
        State::Absent | State::Present => Step::Remove(lv.uuid.clone(), lv.segment_type),
    }
}

/// Returns whether the volume has a type that a volume with this spec may have: one with a cache
/// may also be without it.
fn has_type_of(spec: &VolumeSpec, lv: &Lv) -> bool {
    lv.segment_type == initial_type(spec)
        || (spec.layout == Layout::Cached && lv.segment_type == SegmentType::Cached)
}

/// Removes the volume only if it is proven to be empty.
fn plan_unused(spec: &VolumeSpec, lv: &Lv, content: Option<&Content>) -> Step {
    let what = match content {
        _ if !lv.active => return Step::Activate(lv.uuid.clone()),
        None => return Step::Inspect(lv.uuid.clone()),
        Some(Content::Unformatted | Content::Formatting) => {
            return Step::Remove(lv.uuid.clone(), lv.segment_type);
        }
        Some(Content::Blank) if spec.published.is_none() => {
            return Step::Remove(lv.uuid.clone(), lv.segment_type);
        }
        Some(Content::Blank) => "blank, but was marked as used",
        Some(Content::Data(what)) => what,
    };
    let message = format!(
        "logical volume {} on {} should be unused, but is not empty ({what}), so it is kept",
        spec.path(),
        spec.node
    );
    Outcome::kept(reason::NOT_EMPTY, message).into()
}

/// Plans for a volume that was not found; it may still be on a missing disk.
fn plan_not_found(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Step {
    let group = seen.groups.iter().find(|vg| vg.name == spec.group.as_str());
    if let Some(vg) = group.filter(|vg| vg.fault.is_none())
        && let Some(step) = pool_and_cache::leftover(spec, vg)
    {
        return step;
    }
    // Never published, and absent only if unused: if it is on a missing disk after all, it is
    // empty.
    let never_published = spec.published.is_none() && spec.state == State::AbsentIfNeverUsed;
    if group.is_some() || never_published {
        return gone(spec, seen).into();
    }
    let message = format!(
        "volume group {} is missing on {}, so the removal of the volume can't be verified",
        spec.group, spec.node
    );
    Outcome::kept(reason::VOLUME_GROUP_MISSING, message).into()
}

fn gone(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Outcome {
    let (reason, message) = if seen.removed || spec.published.is_some() {
        (
            reason::REMOVED,
            format!(
                "logical volume {} was removed from {}",
                spec.path(),
                spec.node
            ),
        )
    } else {
        (
            reason::NEVER_CREATED,
            format!(
                "logical volume {} was never created on {}",
                spec.path(),
                spec.node
            ),
        )
    };
    let update = |status| {
        Some(ConditionUpdate {
            status,
            reason,
            message: message.clone(),
        })
    };
    Outcome {
        ready: update(false),
        removed: update(true),
        volume: None,
    }
}
