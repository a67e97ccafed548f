//! Executes the plan of one LogicalVolume of this node, step by step.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use host::block::DeviceState;
use host::lvm::{Layout, NewLv, NewPool, SegmentType};
use host::{Error, Kind, LvUuid};

use super::device::{Devices, LvPath};
use super::new_entry;
use super::outcome::Outcome;
use super::plan::{
    self, Action, Content, LvmChange, NewVolume, ObservedVolume, RefreshResult, Step,
};
use super::spec::VolumeSpec;
use crate::agent::error::{self, AgentError};
use crate::agent::lvm::state::{LockedLvm, LvmState};

/// Maximum number of steps in one pass: create, or activate, inspect, mark; each with one
/// unexpected error.
const MAX_STEPS: u32 = 12;

/// Maximum number of errors in one pass where LVM rejects what the report allowed.
const MAX_UNEXPECTED_ERRORS: u32 = 2;

/// Time for which a device may be suspended before it is refreshed.
const SUSPENDED_TIME: Duration = Duration::from_secs(1);

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
    /// Result of the last refresh of the volume's device.
    refresh: Option<RefreshResult>,
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
            refresh: None,
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
        let mut step = self.plan(lvm, spec, progress);
        if let Step::Done(outcome) = &step
            && lvm.report_taken().is_none_or(|taken| {
                taken < progress.began && taken.elapsed() > outcome.oldest_report()
            })
        {
            lvm.take_report()?;
            step = self.plan(lvm, spec, progress);
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

    fn plan(&self, lvm: &LockedLvm, spec: &VolumeSpec, progress: &Progress) -> Step {
        plan::plan(
            spec,
            ObservedVolume {
                groups: &lvm.groups(),
                content: progress.content.as_ref(),
                removed: progress.removed,
                device: self.device_state(lvm, spec, progress),
                refresh: progress.refresh.as_ref(),
            },
        )
    }

    /// Returns the state of the volume's device, if the volume is active.
    ///
    /// Waits for a moment while it is suspended: an LVM command of another program has it suspended
    /// for as long.
    fn device_state(
        &self,
        lvm: &LockedLvm,
        spec: &VolumeSpec,
        progress: &Progress,
    ) -> Option<DeviceState> {
        let uuid = lvm.uuid(&spec.group, &spec.name)?;
        let deadline = Instant::now() + SUSPENDED_TIME;
        loop {
            let state = self.devices.device_state(lv_path(spec), &uuid)?;
            let has_waited = progress.refresh.is_some() || Instant::now() >= deadline;
            if !state.is_suspended || has_waited {
                return Some(state);
            }
            thread::sleep(Duration::from_millis(20));
        }
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
            Action::Refresh { uuid } => Self::refresh(lvm, spec, &uuid, progress),
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

    /// Refreshes the volume's device. A failure is a result for the plan: the pass has to report
    /// that the device still lags.
    fn refresh(lvm: &LockedLvm, spec: &VolumeSpec, uuid: &LvUuid, progress: &mut Progress) {
        let volume = spec.path();
        tracing::warn!(
            volume,
            "the device is suspended, or smaller than in LVM's metadata; refreshing it"
        );
        match lvm.commands().refresh(&spec.group, &spec.name, uuid) {
            Ok(()) => {
                progress.refresh = Some(RefreshResult::Succeeded);
                progress.changed = Some(Instant::now());
            }
            Err(error) => {
                let cause = error::message(&error);
                tracing::warn!(volume, error = cause, "can't refresh the device");
                progress.refresh = Some(RefreshResult::Failed(cause));
            }
        }
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
            let shares = new_entry::shares(spec, vg, new)?;
            Some(new_entry::build(spec, uuid, size, shares))
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
