//! Executes the plan of one LogicalVolume of this node, step by step.

mod change;
mod create;
mod erase;
mod known_key;
mod lagging_device;

use std::sync::Arc;
use std::time::Instant;

use crds::Erase;
use crds::logical_volume::State;
use host::{Error, Kind, LvUuid};

use super::device::{Devices, LvPath};
use super::erasure::Erasure;
use super::jobs::runner::JobRunner;
use super::outcome::Outcome;
use super::plan::{self, Action, Content, LvmChange, ObservedVolume, RefreshResult, Step};
use super::spec::VolumeSpec;
use crate::agent::error::AgentError;
use crate::agent::lvm::rollback;
use crate::agent::lvm::state::{LockedLvm, LvmState};
use crate::agent::watches::logical_volumes::NodeVolumes;
use create::{CachedReport, UnmarkedVolume};

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
    volumes: Arc<NodeVolumes>,
    jobs: Arc<JobRunner>,
}

/// State of one pass.
#[derive(Debug)]
struct Progress {
    began: Instant,
    content: Option<Content>,
    /// LVM uuid of the volume that was removed in this pass.
    removed: Option<LvUuid>,
    /// Time of the last change in this pass whose result only a report shows.
    changed: Option<Instant>,
    unexpected_errors: u32,
    erasure: Option<Erasure>,
    /// Result of the last refresh of the volume's device.
    refresh: Option<RefreshResult>,
    /// Whether LVM reported in this pass that it activated the volume.
    activated: bool,
    /// The volume that this pass has created, until it has its format marker.
    unmarked: Option<UnmarkedVolume>,
    /// Why the volume could not be created, which ends the pass.
    create_error: Option<Error>,
}

impl Progress {
    /// Records an unexpected error, and returns whether the pass continues, with a new report: the
    /// cached one may be outdated.
    fn continues_after(&mut self, error: &Error) -> bool {
        self.changed = Some(Instant::now());
        self.unexpected_errors += 1;
        let is_expected_race = matches!(
            error.kind(),
            Kind::NoSpace | Kind::Exists | Kind::NotFound | Kind::Busy
        );
        is_expected_race && self.unexpected_errors <= MAX_UNEXPECTED_ERRORS
    }
}

impl VolumeExecutor {
    /// Returns an executor for this LVM and these devices; `volumes` are all LogicalVolumes of the
    /// node, and `jobs` erases them.
    #[must_use]
    pub fn new(
        lvm: Arc<LvmState>,
        devices: Arc<dyn Devices>,
        volumes: Arc<NodeVolumes>,
        jobs: Arc<JobRunner>,
    ) -> Self {
        Self {
            lvm,
            devices,
            volumes,
            jobs,
        }
    }

    /// Executes what is possible now for one volume, and returns the outcome.
    ///
    /// # Errors
    /// If LVM or a device operation fails.
    pub async fn reconcile(&self, spec: &Arc<VolumeSpec>) -> Result<Outcome, AgentError> {
        if spec.state != State::Absent || spec.erase != Erase::Zero {
            self.stop_erasure(spec.name.as_str());
        }
        let mut progress = Progress {
            began: Instant::now(),
            content: None,
            erasure: None,
            removed: None,
            changed: None,
            unexpected_errors: 0,
            refresh: None,
            activated: false,
            unmarked: None,
            create_error: None,
        };
        for _ in 0..MAX_STEPS {
            let executor = self.clone();
            let planned = spec.clone();
            let next_step = move |lvm: &mut LockedLvm| {
                let outcome = executor.next_step(lvm, &planned, &mut progress);
                outcome.map(|outcome| (outcome, progress))
            };
            // Releases the lock between steps: all volumes that wait for a report then share one.
            match self.lvm.locked(next_step).await? {
                (Some(outcome), ended) => {
                    // Also if it is required, but may not go on: the tag or the group has changed.
                    if !matches!(
                        ended.erasure,
                        Some(Erasure::Unfinished(_) | Erasure::Failed(_))
                    ) {
                        self.stop_erasure(spec.name.as_str());
                    }
                    return Ok(outcome);
                }
                (None, next) => progress = next,
            }
            if let Some(error) = progress.create_error {
                return Err(AgentError::Create(error));
            }
            if let Err(error) = self.mark_created(spec, &mut progress).await
                && !progress.continues_after(&error)
            {
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
        let mut is_new_report = false;
        if lvm
            .report_taken()
            .is_none_or(|taken| progress.changed.is_some_and(|changed| taken < changed))
        {
            lvm.take_report()?;
            is_new_report = true;
        }
        let mut step = self.plan(lvm, spec, progress);
        if !is_new_report && self.needs_report(lvm, spec, progress, &step) {
            lvm.take_report()?;
            step = self.plan(lvm, spec, progress);
        }
        let action = match step {
            Step::Done(outcome) => {
                if let Some(uuid) = &progress.removed
                    && outcome
                        .removed
                        .as_ref()
                        .is_some_and(|removed| removed.status)
                {
                    self.devices.forget(uuid);
                }
                self.remember_key(lvm, spec, &outcome);
                return Ok(Some(self.with_holders(lvm, spec, *outcome)));
            }
            Step::Act(action) => action,
        };
        let creates = matches!(action, Action::Create(_));
        match self.act(lvm, spec, action, progress) {
            Ok(()) => Ok(None),
            Err(error) => {
                if progress.continues_after(&error) {
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

    /// Returns whether a step must be planned by a report of this pass.
    fn needs_report(
        &self,
        lvm: &LockedLvm,
        spec: &VolumeSpec,
        progress: &Progress,
        step: &Step,
    ) -> bool {
        match step {
            // LVM checks tag and use of the volume only when it removes it.
            Step::Act(Action::Erase { .. }) => {
                let taken = lvm.report_taken();
                !self.is_erasing(spec) && taken.is_none_or(|taken| taken < progress.began)
            }
            Step::Act(action) => action.allocates() && !lvm.is_current(&spec.group),
            Step::Done(outcome) => lvm.report_taken().is_none_or(|taken| {
                taken < progress.began && taken.elapsed() > outcome.oldest_report()
            }),
        }
    }

    /// Plans the next step; before an allocation or an erasure, also considers whether the logical
    /// volume of another object is missing: it may have the same extents.
    fn plan(&self, lvm: &LockedLvm, spec: &VolumeSpec, progress: &Progress) -> Step {
        let groups = lvm.groups();
        let rollback = lvm.rollback(&spec.group);
        let seen = ObservedVolume {
            groups: &groups,
            rollback: rollback.as_ref(),
            content: progress.content.as_ref(),
            erasure: progress.erasure.as_ref(),
            removed: progress.removed.is_some(),
            device: self.device_state(lvm, spec, progress),
            refresh: progress.refresh.as_ref(),
        };
        let step = plan::plan(spec, seen);
        match &step {
            Step::Act(action) if action.allocates() || matches!(action, Action::Erase { .. }) => {
                let objects: Vec<_> = self.volumes.all().collect();
                let missing = rollback::by_objects(&groups, objects.iter().map(Arc::as_ref));
                let rollback = missing.get(spec.group.as_str());
                plan::plan(spec, ObservedVolume { rollback, ..seen })
            }
            _ => step,
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
            Action::Erase { uuid } => progress.erasure = Some(self.erase(lvm, spec, uuid)),
            Action::Refresh { uuid } => Self::refresh(lvm, spec, &uuid, progress),
            Action::Create(new) => {
                let (unmarked, report) = self.create(lvm, spec, &new)?;
                progress.unmarked = Some(unmarked);
                if report == CachedReport::Outdated {
                    progress.changed = Some(Instant::now());
                }
            }
            Action::Change(change) => {
                let activates = matches!(change, LvmChange::Activate { .. });
                if activates && progress.activated {
                    return Err(not_activated(spec));
                }
                self.change(lvm, spec, &change)?;
                progress.activated |= activates;
                if let LvmChange::Remove { uuid, .. } = change {
                    progress.removed = Some(uuid);
                }
                progress.changed = Some(Instant::now());
            }
        }
        lvm.note_change();
        Ok(())
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

/// Returns the error about a volume that is inactive although LVM reported success.
fn not_activated(spec: &VolumeSpec) -> Error {
    let path = spec.path();
    Error::failed(format!(
        "LVM does not activate logical volume {path}, which must be examined, although `lvchange --activate y` \
         succeeded: either the volume has the flag to skip activation (a k in lv_attr), which `lvchange \
         --setactivationskip n {path}` removes, or activation/volume_list in lvm.conf does not list it"
    ))
}

fn lv_path(spec: &VolumeSpec) -> LvPath<'_> {
    LvPath {
        group: &spec.group,
        name: &spec.name,
    }
}
