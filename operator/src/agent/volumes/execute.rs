//! Executes the plan of one LogicalVolume of this node, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use host::lvm::{Layout, Lv, LvRole, NewLv, NewPool, Pv, SegmentType, Vg};
use host::{Bytes, Error, Extents, Kind, LvUuid};

use super::device::{Devices, LvPath};
use super::outcome::Outcome;
use super::plan::{self, Action, Content, LvmChange, NewVolume, ObservedVolume, Step};
use super::spec::VolumeSpec;
use crate::agent::error::AgentError;
use crate::agent::lvm::state::{LockedLvm, LvmState};

/// Maximum number of steps in one pass: create, or activate, inspect, mark; each with one
/// unexpected error.
const MAX_STEPS: u32 = 12;

/// Maximum number of errors in one pass where LVM rejects what the report allowed.
const MAX_UNEXPECTED_ERRORS: u32 = 2;

/// Carries out LogicalVolumes with the node's LVM and its devices.
#[derive(Clone)]
pub struct VolumeExecutor {
    lvm: Arc<LvmState>,
    devices: Arc<dyn Devices>,
}

/// State of one pass.
#[derive(Debug)]
struct Progress {
    began: Instant,
    content: Option<Content>,
    removed: bool,
    /// Time of the last change in this pass whose result only a report shows.
    changed: Option<Instant>,
    unexpected_errors: u32,
    /// Why the volume could not be created, which ends the pass.
    create_error: Option<Error>,
}

impl VolumeExecutor {
    /// Returns an executor for this LVM and these devices.
    #[must_use]
    pub fn new(lvm: Arc<LvmState>, devices: Arc<dyn Devices>) -> Self {
        Self { lvm, devices }
    }

    /// Executes what is possible now for one volume, and returns the outcome.
    ///
    /// # Errors
    /// If LVM or a device operation fails.
    pub async fn reconcile(&self, spec: &Arc<VolumeSpec>) -> Result<Outcome, AgentError> {
        let mut progress = Progress {
            began: Instant::now(),
            content: None,
            removed: false,
            changed: None,
            unexpected_errors: 0,
            create_error: None,
        };
        for _ in 0..MAX_STEPS {
            let executor = self.clone();
            let spec = spec.clone();
            let next_step = move |lvm: &mut LockedLvm| {
                let outcome = executor.next_step(lvm, &spec, &mut progress);
                outcome.map(|outcome| (outcome, progress))
            };
            // Releases the lock between steps: all volumes that wait for a report then share one.
            match self.lvm.locked(next_step).await? {
                (Some(outcome), _) => return Ok(outcome),
                (None, next) => progress = next,
            }
            if let Some(error) = progress.create_error {
                return Err(AgentError::Create(error));
            }
        }
        let message = format!(
            "logical volume {} needs more steps than expected (this is a bug, please report it)",
            spec.path()
        );
        Err(Error::failed(message).into())
    }

    /// Plans, and executes one step. Returns an outcome at the end of the pass.
    fn next_step(
        &self,
        lvm: &mut LockedLvm,
        spec: &VolumeSpec,
        progress: &mut Progress,
    ) -> Result<Option<Outcome>, Error> {
        if lvm
            .report_taken()
            .is_none_or(|taken| progress.changed.is_some_and(|changed| taken < changed))
        {
            lvm.take_report()?;
        }
        let mut step = Self::plan(lvm, spec, progress);
        if let Step::Done(outcome) = &step
            && lvm.report_taken().is_none_or(|taken| {
                taken < progress.began && taken.elapsed() > outcome.oldest_report()
            })
        {
            lvm.take_report()?;
            step = Self::plan(lvm, spec, progress);
        }
        let action = match step {
            Step::Done(outcome) => return Ok(Some(self.with_holders(lvm, spec, *outcome))),
            Step::Act(action) => action,
        };
        let creates = matches!(action, Action::Create(_));
        match self.act(lvm, spec, action, progress) {
            Ok(()) => Ok(None),
            Err(error) => {
                progress.changed = Some(Instant::now());
                progress.unexpected_errors += 1;
                let is_expected_race = matches!(
                    error.kind(),
                    Kind::NoSpace | Kind::Exists | Kind::NotFound | Kind::Busy
                );
                if is_expected_race && progress.unexpected_errors <= MAX_UNEXPECTED_ERRORS {
                    Ok(None)
                } else if creates {
                    progress.create_error = Some(error);
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        }
    }

    fn plan(lvm: &LockedLvm, spec: &VolumeSpec, progress: &Progress) -> Step {
        plan::plan(
            spec,
            ObservedVolume {
                groups: &lvm.groups(),
                content: progress.content.as_ref(),
                removed: progress.removed,
            },
        )
    }

    fn act(
        &self,
        lvm: &LockedLvm,
        spec: &VolumeSpec,
        action: Action,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let path = lv_path(spec);
        lvm.note_change();
        match action {
            Action::Inspect { uuid } => {
                progress.content = Some(self.devices.inspect(path, &uuid)?);
            }
            Action::Mark { uuid, blocks } => {
                self.devices.mark_blank(path, &uuid, blocks)?;
                progress.content = Some(Content::Unformatted);
            }
            Action::Create(new) => {
                if !self.create(lvm, spec, &new)? {
                    progress.changed = Some(Instant::now());
                }
                progress.content = Some(Content::Unformatted);
            }
            Action::Change(change) => {
                Self::change(lvm, spec, &change)?;
                progress.removed |= matches!(change, LvmChange::Remove { .. });
                progress.changed = Some(Instant::now());
            }
        }
        lvm.note_change();
        Ok(())
    }

    fn change(lvm: &LockedLvm, spec: &VolumeSpec, change: &LvmChange) -> Result<(), Error> {
        let lvm = lvm.commands();
        let group = &spec.group;
        let name = &spec.name;
        match change {
            LvmChange::AddIntegrity => lvm.add_integrity(group, name),
            LvmChange::Extend { extents, disks } => lvm.extend(group, name, *extents, disks),
            LvmChange::Retag { uuid, remove, add } => {
                lvm.change_tags(group, name, uuid, remove, add.as_slice())
            }
            LvmChange::Activate { uuid } => lvm.activate(group, name, uuid),
            LvmChange::Remove { uuid, segment_type } => {
                lvm.remove(group, name, uuid, &spec.identity, *segment_type)
            }
            LvmChange::CreatePool {
                pool,
                tag,
                cost,
                extent,
                most,
                disks,
            } => {
                let new = NewPool {
                    cost: *cost,
                    extent: *extent,
                    most: *most,
                    disks,
                    tag,
                };
                lvm.create_pool(group, pool, &new)
            }
            LvmChange::RemovePool { pool, tag, uuid } => {
                lvm.remove(group, pool, uuid, tag, SegmentType::ThinPool)
            }
            LvmChange::CreateCache {
                cache,
                extents,
                disks,
            } => {
                let new = NewLv {
                    extents: *extents,
                    layout: Layout::Linear,
                    disks,
                    tags: std::slice::from_ref(&spec.identity),
                };
                lvm.create(group, cache, &new)
            }
            LvmChange::AttachCache { cache, mode } => {
                lvm.attach_cache(group, name, cache, mode.as_str())
            }
            LvmChange::RemoveCache { cache, uuid } => {
                lvm.remove(group, cache, uuid, &spec.identity, SegmentType::Plain)
            }
        }
    }

    /// Creates the volume, zeroes its ends, and writes its format marker: no other program uses it
    /// yet.
    ///
    /// Inserts it into the cached report without running LVM again, if its extents on each disk are
    /// known; else returns false.
    fn create(
        &self,
        locked: &LockedLvm,
        spec: &VolumeSpec,
        new: &NewVolume,
    ) -> Result<bool, Error> {
        let lvm = locked.commands();
        let path = lv_path(spec);
        let tags = spec.tags();
        match new {
            NewVolume::OnDisks { extents, disks } => {
                let new = NewLv {
                    extents: *extents,
                    layout: spec.layout,
                    disks,
                    tags: &tags,
                };
                lvm.create(&spec.group, &spec.name, &new)?;
            }
            NewVolume::InPool { pool, size } => {
                lvm.create_thin(&spec.group, pool, &spec.name, *size, &tags)?;
            }
        }
        let (uuid, size) = self.devices.identify(path)?;
        self.devices.mark_new(path, &uuid, new.blocks())?;
        // Best effort: saves the driver an LVM command.
        let _ = self.devices.record_key(&uuid, &spec.key);
        Ok(locked.insert(&spec.group, |vg| {
            let shares = shares(spec, vg, new)?;
            Some(new_lv(spec, uuid, size, shares))
        }))
    }

    /// Adds mount points to the message of a volume that is in use.
    fn with_holders(&self, lvm: &LockedLvm, spec: &VolumeSpec, mut outcome: Outcome) -> Outcome {
        if outcome.is_in_use()
            && let Some(removed) = &mut outcome.removed
            && let Some(uuid) = lvm.uuid(&spec.group, &spec.name)
        {
            let path = lv_path(spec);
            let mut points: Vec<_> = self
                .devices
                .mount_points(path, &uuid)
                .iter()
                .map(|at| at.display().to_string())
                .collect();
            points.sort();
            points.truncate(3);
            if !points.is_empty() {
                removed.message = format!(
                    "{}; it is mounted at {}",
                    removed.message,
                    points.join(" and ")
                );
            }
        }
        outcome
    }
}

fn lv_path(spec: &VolumeSpec) -> LvPath<'_> {
    LvPath {
        group: &spec.group,
        name: &spec.name,
    }
}

/// Returns the extents that a new volume occupies on each disk, if that is certain.
fn shares(spec: &VolumeSpec, vg: &Vg, new: &NewVolume) -> Option<BTreeMap<LvUuid, Extents>> {
    let NewVolume::OnDisks { extents, disks } = new else {
        // A thin volume occupies no extents of its own.
        return Some(BTreeMap::new());
    };
    let used: Vec<&Pv> = match vg.pvs.as_slice() {
        [only] => vec![only],
        all => all.iter().filter(|pv| disks.contains(&pv.name)).collect(),
    };
    let images = usize::try_from(spec.layout.images()).ok()?;
    if used.len() != images {
        return None;
    }
    let size = extents.bytes(vg.extent_size);
    let cost = spec.layout.cost(size, vg.extent_size).ok()?;
    let shares = used.iter().map(|pv| (pv.uuid.clone(), cost.image));
    Some(shares.collect())
}

/// Returns the entry that a report would contain for a new volume.
fn new_lv(spec: &VolumeSpec, uuid: LvUuid, size: Bytes, shares: BTreeMap<LvUuid, Extents>) -> Lv {
    Lv {
        name: spec.name.to_string(),
        uuid,
        size,
        tags: spec.tags().iter().map(ToString::to_string).collect(),
        active: true,
        open: false,
        segment_type: plan::initial_type(spec),
        role: LvRole::Volume,
        shares,
        integrity: spec.layout.has_integrity(),
        pool: spec.pool.as_ref().map(|pool| pool.name.to_string()),
        state: None,
    }
}
