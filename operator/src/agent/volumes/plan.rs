//! Plans the next step for one logical volume, from its spec and the observed state. Pure.
//!
//! `execute` observes, plans, does one step, and observes again. Every rule that protects data is
//! here and in `plan/removal.rs`.

mod allocation;
mod pool_and_cache;
mod removal;

use crds::condition::reason;
use crds::logical_volume::State;
use host::lvm::{Cost, Layout, Lv, PoolCost, SegmentType, Vg};
use host::{Bytes, Extents, LvUuid};

use super::outcome::{ConditionUpdate, Outcome};
use super::spec::VolumeSpec;

pub use pool_and_cache::extended;

/// Maximum clock skew in seconds tolerated between API server and node.
const MAX_CLOCK_SKEW: u64 = 600;

/// Observed state of the node.
#[derive(Clone, Copy, Debug)]
pub struct ObservedVolume<'a> {
    /// All volume groups of the node.
    pub groups: &'a [Vg],
    /// Content of the logical volume; `None` before its inspection.
    pub content: Option<&'a Content>,
    /// Whether the agent removed the volume in this pass.
    pub removed: bool,
}

/// Content of a logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The format marker and nothing else: never written to.
    Unformatted,
    /// The marker of an interrupted first mkfs: never mounted.
    Formatting,
    /// No marker and no known signature. It may hold raw data.
    Blank,
    /// A signature; the text names it.
    Data(String),
}

/// The next step. All but `Inspect` and `Done` change the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates the logical volume with this size on these devices, with its format marker.
    Create(Extents, Vec<String>),
    /// Creates the volume's thin pool, with this maximum size in bytes, on these devices.
    CreatePool(PoolCost, Bytes, Vec<String>),
    /// Creates the logical volume with this size in bytes in its thin pool, with its format marker.
    CreateThin(Bytes),
    /// Creates the logical volume for its cache, with this size, on these devices.
    CreateCache(Extents, Vec<String>),
    /// Attaches the cache.
    AttachCache,
    /// Removes the volume's thin pool if there is no volume in it.
    RemovePool(LvUuid),
    /// Removes the logical volume for its cache.
    RemoveCache(LvUuid),
    /// Extends the volume to this size on these devices.
    Extend(Extents, Vec<String>),
    /// Adds integrity checksums to its images.
    AddIntegrity,
    /// Activates the volume, which creates its device.
    Activate(LvUuid),
    /// Inspects its content.
    Inspect(LvUuid),
    /// Writes the format marker: the volume is blank and was never published.
    Mark(LvUuid),
    /// Removes the volume if it is of this type.
    Remove(LvUuid, SegmentType),
    /// No step for now: the outcome.
    Done(Box<Outcome>),
}

impl From<Outcome> for Step {
    fn from(outcome: Outcome) -> Self {
        Self::Done(Box::new(outcome))
    }
}

/// Returns the next step for one volume.
#[must_use]
pub fn plan(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Step {
    match spec.state {
        State::Present => plan_present(spec, seen),
        State::Absent | State::AbsentIfNeverUsed => removal::plan_absent(spec, seen),
    }
}

/// Returns the type of a new volume with this spec.
#[must_use]
pub fn initial_type(spec: &VolumeSpec) -> SegmentType {
    match spec.layout {
        Layout::Linear | Layout::Striped(_) | Layout::Cached => SegmentType::Plain,
        Layout::Raid { .. } => SegmentType::Raid,
        Layout::Thin => SegmentType::Thin,
    }
}

/// The spec's logical volume, or what exists in its place.
enum ObservedLv<'a> {
    /// No volume with this name, and none with the published uuid.
    Nothing,
    /// The spec's logical volume.
    Ours(&'a Vg, &'a Lv),
    /// Another volume has the name; the text names the difference.
    Foreign(String),
    /// The spec's volume has another name.
    Renamed(String),
}

/// Finds the volume: by uuid once it was published, by tag before.
fn find<'a>(spec: &VolumeSpec, groups: &'a [Vg]) -> ObservedLv<'a> {
    let all = || {
        groups
            .iter()
            .flat_map(|vg| vg.lvs.iter().map(move |lv| (vg, lv)))
    };
    let has_name =
        |vg: &Vg, lv: &Lv| vg.name == spec.group.as_str() && lv.name == spec.name.as_str();
    let named = all().find(|(vg, lv)| has_name(vg, lv));
    match (&spec.published, named) {
        (None, None) => ObservedLv::Nothing,
        (None, Some((vg, lv))) if lv.has_tag(spec.identity.as_str()) => ObservedLv::Ours(vg, lv),
        (None, Some(_)) => ObservedLv::Foreign(format!("it lacks the tag {}", spec.identity)),
        (Some(uuid), named) => match (all().find(|(_, lv)| lv.uuid == *uuid), named) {
            (Some((vg, lv)), _) if has_name(vg, lv) => ObservedLv::Ours(vg, lv),
            (Some((vg, lv)), _) => ObservedLv::Renamed(format!("{}/{}", vg.name, lv.name)),
            (None, Some((_, lv))) => ObservedLv::Foreign(format!(
                "its LVM uuid is {}, this volume's is {uuid}",
                lv.uuid
            )),
            (None, None) => ObservedLv::Nothing,
        },
    }
}

fn plan_present(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Step {
    let path = spec.path();
    let node = &spec.node;
    match find(spec, seen.groups) {
        ObservedLv::Ours(vg, lv) => plan_ours(spec, vg, lv, seen),
        ObservedLv::Foreign(why) => {
            let message = format!(
                "logical volume {path} on {node} is not this object's volume, and is left unchanged: {why}"
            );
            Outcome::not_ready(reason::FOREIGN_LOGICAL_VOLUME, message).into()
        }
        ObservedLv::Renamed(now) => {
            let message =
                format!("logical volume {path} on {node} was renamed to {now}; rename it back");
            Outcome::not_ready(reason::LOGICAL_VOLUME_MISSING, message).into()
        }
        ObservedLv::Nothing => match usable(spec, seen.groups) {
            Err(outcome) => Step::Done(outcome),
            Ok(_) if spec.published.is_some() => {
                let message = format!(
                    "logical volume {path} is missing on {node}; it is not recreated, since its data would be lost"
                );
                Outcome::not_ready(reason::LOGICAL_VOLUME_MISSING, message).into()
            }
            Ok(_) if spec.deleted => {
                let message =
                    "the object was deleted before its volume was created, so the volume is not created"
                        .to_owned();
                Outcome::not_ready(reason::DELETION_BLOCKED, message).into()
            }
            Ok(vg) => plan_new(spec, vg),
        },
    }
}

/// Returns the volume group, if volumes can be created in it.
fn usable<'a>(spec: &VolumeSpec, groups: &'a [Vg]) -> Result<&'a Vg, Box<Outcome>> {
    let group = &spec.group;
    let node = &spec.node;
    let Some(vg) = groups.iter().find(|vg| vg.name == group.as_str()) else {
        let message = format!("{node} has no volume group {group}");
        return Err(Box::new(Outcome::not_ready(
            reason::VOLUME_GROUP_MISSING,
            message,
        )));
    };
    match &vg.fault {
        None => Ok(vg),
        Some(fault) => Err(Box::new(Outcome::not_ready(
            reason::VOLUME_GROUP_UNUSABLE,
            unusable(spec, fault),
        ))),
    }
}

fn unusable(spec: &VolumeSpec, fault: &str) -> String {
    format!(
        "volume group {} on {} is unusable: {fault}",
        spec.group, spec.node
    )
}

fn plan_new(spec: &VolumeSpec, vg: &Vg) -> Step {
    let cost = match cost(spec, vg) {
        Ok(cost) => cost,
        Err(message) => return Outcome::not_ready(reason::LAYOUT_UNSUITABLE, message).into(),
    };
    if let Some(pool) = &spec.pool {
        let made = pool_and_cache::pool_for_new(spec, pool, vg);
        return made.map_or_else(
            |step| step,
            |()| Step::CreateThin(cost.size.bytes(vg.extent_size)),
        );
    }
    match allocation::for_new(spec, cost, vg) {
        Ok(devices) => Step::Create(cost.size, devices),
        Err(message) => Outcome::not_ready(reason::INSUFFICIENT_SPACE, message).into(),
    }
}

fn cost(spec: &VolumeSpec, vg: &Vg) -> Result<Cost, String> {
    let cost = spec.layout.cost(spec.size, vg.extent_size);
    cost.map_err(|error| {
        format!(
            "volume group {} on {} can't hold the volume: {error}",
            spec.group, spec.node
        )
    })
}

/// Plans for an existing volume: extends it if necessary, and completes its creation.
fn plan_ours(spec: &VolumeSpec, vg: &Vg, lv: &Lv, seen: ObservedVolume<'_>) -> Step {
    let published = spec.published.is_some();
    let mut outcome = Outcome {
        volume: published.then(|| (lv.uuid.clone(), lv.size)),
        ..deletion_blocked(spec)
    };
    let mut not_ready = |reason, message| {
        outcome.ready = Some(ConditionUpdate {
            status: false,
            reason,
            message,
        });
        Step::from(outcome.clone())
    };
    if let Some(fault) = &vg.fault {
        return not_ready(reason::VOLUME_GROUP_UNUSABLE, unusable(spec, fault));
    }
    if spec.layout.has_integrity() && !lv.integrity && !published {
        return Step::AddIntegrity;
    }
    if let Some(step) = pool_and_cache::cache_for(spec, vg, lv) {
        return step;
    }
    let cost = match cost(spec, vg) {
        Ok(cost) => cost,
        Err(message) => return not_ready(reason::LAYOUT_UNSUITABLE, message),
    };
    if cost.size > lv.size.extents_up(vg.extent_size) {
        if let Some(update) = pool_and_cache::growth_fault(spec, vg, lv) {
            return not_ready(update.reason, update.message);
        }
        return match allocation::for_growth(spec, cost, vg, lv) {
            Ok(devices) => Step::Extend(cost.size, devices),
            Err(message) => not_ready(reason::INSUFFICIENT_SPACE, message),
        };
    }
    if !published && let Some(step) = plan_unfinished(spec, lv, seen.content) {
        return step;
    }
    let ready = ConditionUpdate {
        status: true,
        reason: reason::READY,
        message: String::new(),
    };
    Outcome {
        ready: Some(ready),
        volume: Some((lv.uuid.clone(), lv.size)),
        ..outcome
    }
    .into()
}

/// Plans for a volume whose uuid was never published: the agent or the node stopped in between, or
/// the object was restored from a backup, which has no status.
///
/// Returns `None` if it can be published as it is.
fn plan_unfinished(spec: &VolumeSpec, lv: &Lv, content: Option<&Content>) -> Option<Step> {
    if !lv.active {
        return Some(Step::Activate(lv.uuid.clone()));
    }
    // A volume older than its object was in use before the object was restored, and its content is
    // the claim's. A blank one gets no marker, which would allow a mkfs: the admin may still have
    // to recover raw data.
    let is_restored = spec.created_at > lv.made.saturating_add(MAX_CLOCK_SKEW);
    match content {
        None => Some(Step::Inspect(lv.uuid.clone())),
        Some(Content::Blank) if !is_restored => Some(Step::Mark(lv.uuid.clone())),
        Some(Content::Data(what)) if !is_restored => Some(not_wiped(spec, what).into()),
        Some(Content::Blank | Content::Unformatted | Content::Formatting | Content::Data(_)) => {
            None
        }
    }
}

/// Rejects a new volume with content: LVM tags a volume before it wipes an older volume's data,
/// which may belong to another tenant.
fn not_wiped(spec: &VolumeSpec, what: &str) -> Outcome {
    let path = spec.path();
    let node = &spec.node;
    let message = format!(
        "logical volume {path} on {node} was created for this claim, but is not empty ({what}): \
         most likely LVM was interrupted before it wiped the data of a former volume, so the \
         volume is not used; inspect it on the node, and if the data is not this claim's, have \
         it recreated by: lvremove {path}"
    );
    Outcome::not_ready(reason::NOT_EMPTY, message)
}

/// Returns the outcome for a volume whose object was deleted but whose claim was not.
fn deletion_blocked(spec: &VolumeSpec) -> Outcome {
    if !spec.deleted {
        return Outcome::default();
    }
    let message =
        "the object was deleted, but not its claim or PersistentVolume: the logical volume is kept"
            .to_owned();
    Outcome::kept(reason::DELETION_BLOCKED, message)
}

#[cfg(test)]
mod tests;
