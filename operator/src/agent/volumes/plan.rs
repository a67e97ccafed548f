//! Plans the next step for one logical volume, from its spec and the observed state. Pure.
//!
//! `execute` observes, plans, does one step, and observes again. Every rule that protects data is
//! here, in [`removal`] and in [`retained`]; [`step`] lists the steps, [`pool_and_cache`] plans the
//! parts of a volume, and [`allocation`] selects disks.

mod allocation;
mod claim_tag;
mod pool_and_cache;
mod removal;
mod retained;
mod step;

use crds::condition::reason;
use crds::logical_volume::{ReclaimPolicy, State};
use host::fs::NewBlocks;
use host::lvm::tags::OBJECT_UID;
use host::lvm::{Cost, Layout, Lv, SegmentType, Vg};

use super::outcome::Outcome;
use super::spec::VolumeSpec;
use crate::agent::condition::{ConditionUpdate, ReportedError};

pub use pool_and_cache::extended;
pub use step::{Action, LvmChange, NewVolume, Step};

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

/// Returns the next step for one volume.
#[must_use]
pub fn plan(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Step {
    if let Some(ended) = retained::ended(spec, seen.groups) {
        return ended.into();
    }
    match spec.state {
        State::Present => plan_present(spec, seen)
            .unwrap_or_else(|not_ready| without_volume(spec, not_ready).into()),
        State::Absent | State::AbsentIfNeverUsed => {
            removal::plan_absent(spec, seen).unwrap_or_else(|blocker| Outcome::kept(blocker).into())
        }
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
    let mut named = None;
    let mut published = None;
    for vg in groups {
        for lv in &vg.lvs {
            if has_name(spec, vg, lv) {
                named = named.or(Some((vg, lv)));
            }
            if spec.published.as_ref() == Some(&lv.uuid) {
                published = published.or(Some((vg, lv)));
            }
        }
    }
    let Some(uuid) = &spec.published else {
        return match named {
            None => ObservedLv::Nothing,
            Some((vg, lv)) if lv.has_tag(spec.identity.as_str()) => ObservedLv::Ours(vg, lv),
            Some(_) => ObservedLv::Foreign(format!("it lacks the tag {}", spec.identity)),
        };
    };
    match (published, named) {
        (Some((vg, lv)), _) if has_name(spec, vg, lv) => ObservedLv::Ours(vg, lv),
        (Some((vg, lv)), _) => ObservedLv::Renamed(format!("{}/{}", vg.name, lv.name)),
        (None, Some((_, lv))) => ObservedLv::Foreign(format!(
            "its LVM uuid is {}, this volume's is {uuid}",
            lv.uuid
        )),
        (None, None) => ObservedLv::Nothing,
    }
}

fn has_name(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> bool {
    vg.name == spec.group.as_str() && lv.name == spec.name.as_str()
}

/// Plans for a volume that should exist.
///
/// # Errors
/// Why it is not ready.
fn plan_present(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Result<Step, ReportedError> {
    let path = spec.path();
    let node = &spec.node;
    match find(spec, seen.groups) {
        ObservedLv::Ours(vg, lv) => return Ok(plan_ours(spec, vg, lv, seen.content)),
        ObservedLv::Foreign(why) => {
            let message = format!(
                "logical volume {path} on {node} is not this object's volume, and is left unchanged: {why}"
            );
            return Err(ReportedError::new(reason::FOREIGN_LOGICAL_VOLUME, message));
        }
        ObservedLv::Renamed(now) => {
            let message =
                format!("logical volume {path} on {node} was renamed to {now}; rename it back");
            return Err(ReportedError::new(reason::LOGICAL_VOLUME_MISSING, message));
        }
        ObservedLv::Nothing => {}
    }
    let vg = usable_group(spec, seen.groups)?;
    if spec.published.is_some() {
        let message = format!(
            "logical volume {path} is missing on {node}; it is not recreated, since its data would be lost"
        );
        return Err(ReportedError::new(reason::LOGICAL_VOLUME_MISSING, message));
    }
    if spec.deleted {
        let message =
            "the object was deleted before its volume was created, so the volume is not created";
        return Err(ReportedError::new(reason::DELETION_BLOCKED, message));
    }
    plan_new(spec, vg)
}

/// Returns the volume group, if volumes can be created in it.
fn usable_group<'a>(spec: &VolumeSpec, groups: &'a [Vg]) -> Result<&'a Vg, ReportedError> {
    let Some(vg) = groups.iter().find(|vg| vg.name == spec.group.as_str()) else {
        let message = format!("{} has no volume group {}", spec.node, spec.group);
        return Err(ReportedError::new(reason::VOLUME_GROUP_MISSING, message));
    };
    check_group(spec, vg)?;
    Ok(vg)
}

/// Checks that the volume group is usable.
fn check_group(spec: &VolumeSpec, vg: &Vg) -> Result<(), ReportedError> {
    let Some(fault) = &vg.fault else {
        return Ok(());
    };
    let message = format!(
        "volume group {} on {} is unusable: {fault}",
        spec.group, spec.node
    );
    Err(ReportedError::new(reason::VOLUME_GROUP_UNUSABLE, message))
}

fn plan_new(spec: &VolumeSpec, vg: &Vg) -> Result<Step, ReportedError> {
    let cost = cost(spec, vg)?;
    let new = match &spec.pool {
        None => NewVolume::OnDisks {
            extents: cost.size,
            disks: allocation::for_new(spec, cost, vg)?,
        },
        Some(pool) => {
            if let Some(change) = pool_and_cache::pool_for_new(spec, pool, vg)? {
                return Ok(change.into());
            }
            NewVolume::InPool {
                pool: pool.name.clone(),
                size: cost.size.bytes(vg.extent_size),
            }
        }
    };
    Ok(Step::Act(Action::Create(new)))
}

fn cost(spec: &VolumeSpec, vg: &Vg) -> Result<Cost, ReportedError> {
    let cost = spec.layout.cost(spec.size, vg.extent_size);
    cost.map_err(|error| {
        let message = format!(
            "volume group {} on {} can't hold the volume: {error}",
            spec.group, spec.node
        );
        ReportedError::new(reason::LAYOUT_UNSUITABLE, message)
    })
}

/// Plans for an existing volume.
fn plan_ours(spec: &VolumeSpec, vg: &Vg, lv: &Lv, content: Option<&Content>) -> Step {
    let outcome = match plan_change(spec, vg, lv, content) {
        Ok(Some(action)) => return Step::Act(action),
        Ok(None) => Outcome {
            ready: Some(ConditionUpdate::ready()),
            removed: deletion_blocked(spec),
            volume: Some((lv.uuid.clone(), lv.size)),
        },
        Err(error) => Outcome {
            ready: Some(error.into()),
            removed: deletion_blocked(spec),
            volume: spec.published.as_ref().map(|_| (lv.uuid.clone(), lv.size)),
        },
    };
    outcome.into()
}

/// Plans the next change of an existing volume: extends it if necessary, and completes its
/// creation. `None` if the volume is ready.
///
/// # Errors
/// Why it is not ready.
fn plan_change(
    spec: &VolumeSpec,
    vg: &Vg,
    lv: &Lv,
    content: Option<&Content>,
) -> Result<Option<Action>, ReportedError> {
    check_group(spec, vg)?;
    let is_published = spec.published.is_some();
    if spec.layout.has_integrity() && !lv.integrity && !is_published {
        return Ok(Some(Action::Change(LvmChange::AddIntegrity)));
    }
    if let Some(change) = pool_and_cache::cache_for(spec, vg, lv)? {
        return Ok(Some(Action::Change(change)));
    }
    let cost = cost(spec, vg)?;
    if cost.size > lv.size.extents_up(vg.extent_size) {
        pool_and_cache::check_growth(spec, vg, lv)?;
        return Ok(Some(Action::Change(LvmChange::Extend {
            extents: cost.size,
            disks: allocation::for_growth(spec, cost, vg, lv)?,
        })));
    }
    if is_published {
        return Ok(claim_tag::plan(spec, lv));
    }
    plan_unfinished(spec, lv, content)
}

/// Plans for a volume whose uuid was never published: the agent or the node stopped in between, or
/// the object was restored from a backup, which has no status.
///
/// Returns `None` if it can be published as it is.
fn plan_unfinished(
    spec: &VolumeSpec,
    lv: &Lv,
    content: Option<&Content>,
) -> Result<Option<Action>, ReportedError> {
    let uuid = lv.uuid.clone();
    if !lv.active {
        return Ok(Some(Action::Change(LvmChange::Activate { uuid })));
    }
    match (content, created_for(spec, lv)) {
        (None, _) => Ok(Some(Action::Inspect { uuid })),
        // With a marker, the volume was wiped, and no pod has used it since. Without one, the
        // content is the claim's; a blank volume gets no marker, which would allow a mkfs, since
        // the admin may still have to recover raw data.
        (Some(Content::Unformatted | Content::Formatting), _)
        | (Some(Content::Blank | Content::Data(_)), CreatedFor::FormerObject) => Ok(None),
        (Some(Content::Blank), CreatedFor::ThisObject) => {
            let blocks = match lv.segment_type {
                SegmentType::Thin => NewBlocks::Zeros,
                _ => NewBlocks::Undefined,
            };
            Ok(Some(Action::Mark { uuid, blocks }))
        }
        (Some(Content::Data(what)), CreatedFor::ThisObject) => Err(not_wiped(spec, what)),
        (Some(Content::Blank), CreatedFor::Unknown) => {
            Err(unknown_origin(spec, "a blank start and end"))
        }
        (Some(Content::Data(what)), CreatedFor::Unknown) => Err(unknown_origin(spec, what)),
    }
}

/// The object that a volume with the claim's tag was created for.
#[derive(Clone, Copy)]
enum CreatedFor {
    /// This object: if its uuid was never published, its creation was interrupted.
    ThisObject,
    /// Another object of the same claim: this object was restored from a backup, and the volume was
    /// in use before.
    FormerObject,
    /// Its tags don't show that: an earlier version created it.
    Unknown,
}

fn created_for(spec: &VolumeSpec, lv: &Lv) -> CreatedFor {
    let mut created_for = CreatedFor::Unknown;
    for tag in lv.tags.iter().filter(|tag| tag.starts_with(OBJECT_UID)) {
        if *tag != spec.object.as_str() {
            return CreatedFor::FormerObject;
        }
        created_for = CreatedFor::ThisObject;
    }
    created_for
}

/// Rejects a new volume with content: LVM tags a volume before it wipes an older volume's data,
/// which may belong to another tenant.
fn not_wiped(spec: &VolumeSpec, what: &str) -> ReportedError {
    let path = spec.path();
    let message = format!(
        "logical volume {path} on {} was created for this claim, but is not empty ({what}): most \
         likely LVM was interrupted before it wiped the data of a former volume, so the volume is \
         not used; {}",
        spec.node,
        ways_out(&path)
    );
    ReportedError::new(reason::NOT_EMPTY, message)
}

/// Rejects a volume that an earlier version created: it was either interrupted before it wiped the
/// volume, or the volume was in use and its object restored.
fn unknown_origin(spec: &VolumeSpec, what: &str) -> ReportedError {
    let path = spec.path();
    let message = format!(
        "logical volume {path} on {} has the tag of this claim, but none of its LogicalVolume, \
         and has {what}: an earlier version of FlexLVM created it, and was interrupted, or the \
         LogicalVolume was restored from a backup, so the volume is not used; {}",
        spec.node,
        ways_out(&path)
    );
    ReportedError::new(reason::NOT_EMPTY, message)
}

/// Returns what an admin can do about a volume of which only the admin can know whose data it has.
fn ways_out(path: &str) -> String {
    format!(
        "inspect it on the node: if the data is this claim's, keep it by: lvchange --addtag \
         {OBJECT_UID}restored {path}; if not, have it recreated by: lvremove {path}"
    )
}

/// Returns the outcome for a volume that was not found.
fn without_volume(spec: &VolumeSpec, error: ReportedError) -> Outcome {
    Outcome {
        removed: spec.published.as_ref().and_then(|_| deletion_blocked(spec)),
        ..Outcome::not_ready(error)
    }
}

/// Returns the condition `Removed` of a volume whose object was deleted, but whose logical volume
/// the agent keeps. `None` if the object was not deleted.
fn deletion_blocked(spec: &VolumeSpec) -> Option<ConditionUpdate> {
    if !spec.deleted {
        return None;
    }
    let message = match spec.reclaim_policy {
        ReclaimPolicy::Delete => format!(
            "the object was deleted, but not its claim or PersistentVolume: logical volume {} is kept",
            spec.path()
        ),
        ReclaimPolicy::Retain => retained::kept(spec),
    };
    Some(ReportedError::new(reason::DELETION_BLOCKED, message).into())
}

#[cfg(test)]
mod tests;
