//! Plans the next step for one logical volume, from its spec and the observed state. Pure.
//!
//! `execute` observes, plans, does one step, and observes again. Every rule that protects data is
//! here, in [`unpublished`], [`never_active`], [`removal`], [`retained`] and [`rolled_back`]; [`step`]
//! lists the steps,
//! [`health`] judges whether a volume works, [`device`] compares its device with LVM's metadata,
//! [`pool_and_cache`] plans the parts of a volume, [`allocation`] selects disks, [`adopted`] takes over
//! an existing volume, [`erase`] erases a volume before its removal, and [`abandoned`] keeps one
//! that was abandoned.

mod abandoned;
mod adopted;
mod allocation;
mod claim_tag;
mod device;
mod erase;
mod health;
mod lookup;
mod never_active;
mod pool_and_cache;
mod removal;
mod retained;
mod rolled_back;
mod step;
mod unpublished;

use std::fmt;

use crds::condition::reason;
use crds::logical_volume::{ReclaimPolicy, State};
use host::block::DeviceState;
use host::fs::NewBlocks;
use host::lvm::{Cost, Layout, Lv, SegmentType, Vg, VgFault};

use super::erasure::Erasure;
use super::outcome::Outcome;
use super::spec::VolumeSpec;
use crate::agent::condition::{ConditionUpdate, ReportedError};
use crate::agent::lvm::rollback::Rollback;
use health::VolumeHealth;
use lookup::find_by_claim;

pub use adopted::{claim_uid, unsuitable};
pub use device::RefreshResult;
pub use lookup::{ObservedLv, find};
pub use pool_and_cache::extended;
pub use step::{Action, LvmChange, NewVolume, Step, blocks_of};

/// Observed state of the node.
#[derive(Clone, Copy, Debug)]
pub struct ObservedVolume<'a> {
    /// All volume groups of the node.
    pub groups: &'a [Vg],
    /// Evidence that the metadata of the volume's group went back.
    pub rollback: Option<&'a Rollback>,
    /// Content of the logical volume; `None` before its inspection.
    pub content: Option<&'a Content>,
    /// How far its erasure has come; `None` before the agent has looked in this pass.
    pub erasure: Option<&'a Erasure>,
    /// Whether the agent removed the volume in this pass.
    pub removed: bool,
    /// State of the volume's device; `None` if the volume is inactive, or can't be examined.
    pub device: Option<DeviceState>,
    /// Result of the last refresh in this pass.
    pub refresh: Option<&'a RefreshResult>,
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
    let step = plan_as_reported(spec, seen);
    rolled_back::hold_back(spec, seen.rollback, step)
}

/// Returns the next step if LVM's report is right.
fn plan_as_reported(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Step {
    if let Some(ended) = retained::ended(spec, seen.groups) {
        return ended.into();
    }
    match spec.state {
        State::Abandoned => abandoned::plan_abandoned(spec, seen),
        // An adopted volume was in use before: there is no proof that it is empty.
        State::AbsentIfNeverUsed if spec.adopted.is_some() => adopted::cancelled(spec).into(),
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

/// Plans for a volume that should exist.
///
/// # Errors
/// Why it is not ready.
fn plan_present(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Result<Step, ReportedError> {
    let path = spec.path();
    let node = &spec.node;
    match find(spec, seen.groups) {
        ObservedLv::Ours(vg, lv) => return Ok(plan_ours(spec, vg, lv, seen)),
        ObservedLv::Foreign { why, .. } => {
            let message = format!(
                "logical volume {path} on {node} is not this object's volume, and is left unchanged: {why}"
            );
            return Err(ReportedError::new(reason::FOREIGN_LOGICAL_VOLUME, message));
        }
        ObservedLv::Renamed(vg, lv) => {
            let message = format!(
                "logical volume {path} on {node} was renamed to {}/{}; rename it back",
                vg.name, lv.name
            );
            return Err(ReportedError::new(reason::LOGICAL_VOLUME_MISSING, message));
        }
        ObservedLv::Nothing => {}
    }
    check_no_other(spec, seen.groups)?;
    let vg = usable_group(spec, seen.groups)?;
    if spec.published.is_some() || spec.adopted.is_some() {
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

/// Checks that the claim has no logical volume under another name: a new one would be empty.
fn check_no_other(spec: &VolumeSpec, groups: &[Vg]) -> Result<(), ReportedError> {
    if spec.published.is_some() {
        return Ok(()); // it is never created anew
    }
    let Some((vg, lv)) = find_by_claim(spec, groups) else {
        return Ok(());
    };
    let found = format!("{}/{}", vg.name, lv.name);
    let wanted = spec.path();
    let tag = &spec.identity;
    let message = format!(
        "logical volume {found} on {} has the tag of this claim, so {wanted}, which would be empty, is not created: if the data \
         is this claim's, rename {found} to {wanted}; if not, remove its tag: lvchange --deltag {tag} {found}",
        spec.node
    );
    Err(ReportedError::new(reason::NOT_EMPTY, message))
}

/// Returns the volume group, if volumes can be created in it.
fn usable_group<'a>(spec: &VolumeSpec, groups: &'a [Vg]) -> Result<&'a Vg, ReportedError> {
    let Some(vg) = groups.iter().find(|vg| vg.name == spec.group.as_str()) else {
        let message = format!("{} has no volume group {}", spec.node, spec.group);
        return Err(ReportedError::new(reason::VOLUME_GROUP_MISSING, message));
    };
    check_group(spec, vg)?;
    check_changes(spec, vg)?;
    Ok(vg)
}

/// Checks that the volume group is usable.
fn check_group(spec: &VolumeSpec, vg: &Vg) -> Result<(), ReportedError> {
    match &vg.fault {
        None => Ok(()),
        Some(fault) => Err(unusable(spec, fault)),
    }
}

/// Checks that LVM accepts changes of the volume group.
fn check_changes(spec: &VolumeSpec, vg: &Vg) -> Result<(), ReportedError> {
    match &vg.change_fault {
        None => Ok(()),
        Some(fault) => Err(unusable(spec, fault)),
    }
}

fn unusable(spec: &VolumeSpec, fault: &impl fmt::Display) -> ReportedError {
    let message = format!(
        "volume group {} on {} is unusable: {fault}",
        spec.group, spec.node
    );
    ReportedError::new(reason::VOLUME_GROUP_UNUSABLE, message)
}

/// Checks that LVM lets the volume group have the logical volumes of a new volume.
fn check_number(spec: &VolumeSpec, vg: &Vg) -> Result<(), ReportedError> {
    let (Some(maximum), Some(remaining)) = (vg.max_lvs, vg.remaining_lvs()) else {
        return Ok(());
    };
    let mut needs = u64::from(spec.layout.lvs_at_creation());
    if let Some(pool) = &spec.pool
        && pool.create.is_some()
        && vg.lv(pool.name.as_str()).is_none()
    {
        needs += 1;
    }
    if needs <= remaining {
        return Ok(());
    }
    let message = format!(
        "volume group {} on {} has {} of {maximum} logical volumes (max_lv), but the volume needs \
         {needs} more; raise the limit with vgchange --logicalvolume",
        spec.group,
        spec.node,
        vg.lvs.len()
    );
    Err(ReportedError::new(reason::VOLUME_LIMIT_REACHED, message))
}

fn plan_new(spec: &VolumeSpec, vg: &Vg) -> Result<Step, ReportedError> {
    check_number(spec, vg)?;
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
                blocks: vg
                    .lv(pool.name.as_str())
                    .map_or(NewBlocks::Stale, blocks_of),
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
fn plan_ours(spec: &VolumeSpec, vg: &Vg, lv: &Lv, seen: ObservedVolume<'_>) -> Step {
    let health = health::judge(spec, vg, lv);
    let ready = match plan_change(spec, vg, lv, seen, &health) {
        Ok(Some(action)) => return Step::Act(action),
        Ok(None) => ConditionUpdate::ready(),
        Err(error) => error.into(),
    };
    let mut outcome = Outcome {
        removed: deletion_blocked(spec),
        ..Outcome::default()
    };
    if ready.status || unpublished::is_identified(spec, lv, seen.content) {
        let size = device::usable_size(lv, seen.device);
        outcome.volume = Some((lv.uuid.clone(), size));
        // A suspended device does not work, even if LVM reports no fault.
        let is_suspended = seen.device.is_some_and(|device| device.is_suspended);
        outcome.healthy = Some(if is_suspended && !ready.status {
            ready.clone()
        } else {
            health.update()
        });
    }
    outcome.ready = Some(ready);
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
    seen: ObservedVolume<'_>,
    health: &VolumeHealth,
) -> Result<Option<Action>, ReportedError> {
    let is_published = spec.published.is_some();
    let fault = vg.fault.as_ref();
    let works_all_the_same = is_published && fault.is_some_and(VgFault::leaves_volumes_working);
    if !works_all_the_same {
        check_group(spec, vg)?;
    }
    if let Some(removal) = never_active::check_works(spec, vg, lv, health)? {
        return Ok(Some(removal));
    }
    if let Some(adopted) = &spec.adopted {
        if !is_published && let Some(retag) = adopted::plan(spec, adopted, vg, lv)? {
            return Ok(Some(retag));
        }
    } else if spec.has_published_another(lv)
        && let Some(action) = unpublished::plan(spec, lv, seen.content)?
    {
        return Ok(Some(action));
    }
    if let Some(refresh) = device::plan(spec, lv, seen)? {
        return Ok(Some(refresh));
    }
    let cost = cost(spec, vg)?;
    let is_too_small = cost.size > lv.size.extents_up(vg.extent_size);
    if works_all_the_same {
        if is_too_small {
            check_group(spec, vg)?;
        }
        return Ok(None);
    }
    let is_created_here = spec.adopted.is_none();
    if spec.layout.has_integrity() && !lv.integrity && !is_published && is_created_here {
        return Ok(Some(Action::Change(LvmChange::AddIntegrity)));
    }
    if let Some(change) = pool_and_cache::cache_for(spec, vg, lv)? {
        return Ok(Some(Action::Change(change)));
    }
    if is_too_small {
        check_changes(spec, vg)?;
        pool_and_cache::check_growth(spec, vg, lv)?;
        return Ok(Some(Action::Change(LvmChange::Extend {
            extents: cost.size,
            disks: allocation::for_growth(spec, cost, vg, lv)?,
        })));
    }
    if is_published || !is_created_here {
        // The tag is for people only: a volume without it stays Ready in a group that is held back.
        return Ok(match seen.rollback {
            Some(_) => None,
            None => claim_tag::plan(spec, lv),
        });
    }
    unpublished::plan(spec, lv, seen.content)
}

/// Returns the outcome for a volume that was not found. A published one is not healthy then.
fn without_volume(spec: &VolumeSpec, error: ReportedError) -> Outcome {
    let mut outcome = Outcome::not_ready(error.clone());
    if spec.published.is_some() {
        outcome.removed = deletion_blocked(spec);
        outcome.healthy = Some(error.into());
    }
    outcome
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
