//! What is to be done next about one logical volume, from what is ordered and what is seen on the
//! node. Pure: `execute` observes, asks here, does one step, and observes again. Every rule that keeps
//! data is here and in `plan/removal.rs`.

mod allocation;
mod pool_and_cache;
mod removal;

use crds::condition::reason;
use crds::logical_volume::State;
use host::lvm::{Cost, Layout, Lv, LvKind, PoolCost, Vg};
use host::{Bytes, Extents, LvUuid};

use super::outcome::{ConditionUpdate, Outcome};
use super::spec::VolumeSpec;

pub use pool_and_cache::extended;

/// Clocks of servers and nodes differ by less, or somebody has other worries.
const CLOCKS_DIFFER: u64 = 600;

/// What is seen on the node.
#[derive(Clone, Copy, Debug)]
pub struct ObservedVolume<'a> {
    /// Every volume group.
    pub groups: &'a [Vg],
    /// What is on the logical volume; `None` while nobody has looked.
    pub content: Option<&'a Content>,
    /// Whether we removed the volume in this pass.
    pub removed: bool,
}

/// What is on a logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The format marker, and nothing else: nobody ever wrote to it.
    Unformatted,
    /// The mark of a mkfs that was begun: nobody ever mounted it.
    Formatting,
    /// Neither a mark nor anything known. It may hold raw data.
    Blank,
    /// Something, in words.
    Data(String),
}

/// The next step. All but `Inspect` and `Done` change the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the logical volume of this size on these devices, mark it as fresh.
    Create(Extents, Vec<String>),
    /// Make the thin pool that it is to be in, which may become so large, on these devices.
    CreatePool(PoolCost, Bytes, Vec<String>),
    /// Make the logical volume of this size in its thin pool, mark it as fresh.
    CreateThin(Bytes),
    /// Make what is to be its cache, of this size, on these devices.
    CreateCache(Extents, Vec<String>),
    /// Put the cache in front of it.
    AttachCache,
    /// Remove its thin pool, as long as there is no volume in it.
    RemovePool(LvUuid),
    /// Remove what was to be its cache.
    RemoveCache(LvUuid),
    /// Extend it to this size on these devices.
    Extend(Extents, Vec<String>),
    /// Give its images their checksums.
    AddIntegrity,
    /// Make its device.
    Activate(LvUuid),
    /// Look at what is on it.
    Inspect(LvUuid),
    /// It was made and never given away, and is blank: mark it as fresh.
    Mark(LvUuid),
    /// Remove it, as long as it is of this kind.
    Remove(LvUuid, LvKind),
    /// Nothing is to be done, for now: this is how things stand.
    Done(Box<Outcome>),
}

impl From<Outcome> for Step {
    fn from(outcome: Outcome) -> Self {
        Self::Done(Box::new(outcome))
    }
}

/// The next step for one order.
#[must_use]
pub fn plan(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Step {
    match spec.state {
        State::Present => plan_present(spec, seen),
        State::Absent | State::AbsentIfNeverUsed => removal::plan_absent(spec, seen),
    }
}

/// What a volume of this order is when it is made, as long as it is nothing beside: an origin of
/// snapshots is another kind.
#[must_use]
pub fn kind_of(spec: &VolumeSpec) -> LvKind {
    match spec.layout {
        Layout::Linear | Layout::Striped(_) | Layout::Cached => LvKind::Plain,
        Layout::Raid { .. } => LvKind::Raid,
        Layout::Thin => LvKind::Thin,
    }
}

/// Whether a volume of this order may be of this kind: one with a cache is also itself without it.
fn is_of_kind(spec: &VolumeSpec, kind: LvKind) -> bool {
    kind == kind_of(spec) || (spec.layout == Layout::Cached && kind == LvKind::Cached)
}

/// The order's logical volume, or what is in its place.
enum ObservedLv<'a> {
    /// Nothing of this name, and nothing of the uuid that was reported.
    Nothing,
    /// The one.
    Ours(&'a Vg, &'a Lv),
    /// Another one has the name; why it is another one.
    Foreign(String),
    /// Ours, under another name.
    Renamed(String),
}

/// Which it is, says the uuid once that was reported, the tag before.
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
    let (path, node) = (spec.path(), &spec.node);
    match find(spec, seen.groups) {
        ObservedLv::Ours(vg, lv) => plan_ours(spec, vg, lv, seen),
        ObservedLv::Foreign(why) => {
            let message =
                format!("logical volume {path} on {node} is another one, and is left alone: {why}");
            Outcome::not_ready(reason::FOREIGN_LOGICAL_VOLUME, message).into()
        }
        ObservedLv::Renamed(now) => {
            let message =
                format!("logical volume {path} on {node} is called {now} now; rename it back");
            Outcome::not_ready(reason::LOGICAL_VOLUME_MISSING, message).into()
        }
        ObservedLv::Nothing => match usable(spec, seen.groups) {
            Err(outcome) => Step::Done(outcome),
            Ok(_) if spec.published.is_some() => {
                let message = format!(
                    "logical volume {path} is not on {node} any more; it is not made anew, since its data would not be in it"
                );
                Outcome::not_ready(reason::LOGICAL_VOLUME_MISSING, message).into()
            }
            Ok(_) if spec.deleted => {
                let message =
                    "the object was deleted before its volume was made, so it is not made"
                        .to_owned();
                Outcome::not_ready(reason::DELETION_BLOCKED, message).into()
            }
            Ok(vg) => plan_new(spec, vg),
        },
    }
}

/// The volume group, if something can be made in it.
fn usable<'a>(spec: &VolumeSpec, groups: &'a [Vg]) -> Result<&'a Vg, Box<Outcome>> {
    let (group, node) = (&spec.group, &spec.node);
    let Some(vg) = groups.iter().find(|vg| vg.name == group.as_str()) else {
        let message = format!("there is no volume group {group} on {node}");
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
        "volume group {} on {} can't be used: {fault}",
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

/// The volume is there: is it large enough, and was it finished?
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

/// The volume was made, and its uuid never reported: we, or the node, died in between; or the
/// object was restored from a backup, which has no status. `None` when it can be reported as it is.
fn plan_unfinished(spec: &VolumeSpec, lv: &Lv, content: Option<&Content>) -> Option<Step> {
    if !lv.active {
        return Some(Step::Activate(lv.uuid.clone()));
    }
    // A volume older than its object was in use before the object was restored, and what is on it
    // is the claim's. If it is blank, somebody may still want to rescue something: the mark would
    // allow a mkfs, so it gets none.
    let is_restored = spec.created_at > lv.made.saturating_add(CLOCKS_DIFFER);
    match content {
        None => Some(Step::Inspect(lv.uuid.clone())),
        Some(Content::Blank) if !is_restored => Some(Step::Mark(lv.uuid.clone())),
        Some(Content::Data(what)) if !is_restored => Some(not_wiped(spec, what).into()),
        Some(Content::Blank | Content::Unformatted | Content::Formatting | Content::Data(_)) => {
            None
        }
    }
}

/// LVM gives a volume its tags before it wipes what an older one has left there; whoever had that
/// is not whose claim this is.
fn not_wiped(spec: &VolumeSpec, what: &str) -> Outcome {
    let (path, node) = (spec.path(), &spec.node);
    let message = format!(
        "logical volume {path} on {node} was made for this claim, but is not empty ({what}): most likely LVM was cut short \
         before it wiped what another volume had left there, so nobody gets it; look at it on the node, and if it is not \
         this claim's, have it made anew by: lvremove {path}"
    );
    Outcome::not_ready(reason::NOT_EMPTY, message)
}

/// What to say when the object of a volume that is wanted was deleted.
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
