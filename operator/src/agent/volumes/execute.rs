//! Executes the plan of one LogicalVolume of this node, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use host::lvm::{Layout, Lv, LvRole, NewLv, NewPool, Pv, SegmentType, Vg};
use host::{Bytes, Error, Extents, Kind, LvUuid};

use super::device::{Devices, LvPath};
use super::outcome::Outcome;
use super::plan::{self, Content, ObservedVolume, Step};
use super::spec::VolumeSpec;
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
#[derive(Clone, Debug)]
struct Progress {
    began: Instant,
    content: Option<Content>,
    removed: bool,
    /// Time of the last change in this pass whose result only a report shows.
    changed: Option<Instant>,
    unexpected_errors: u32,
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
    pub async fn reconcile(&self, spec: &Arc<VolumeSpec>) -> Result<Outcome, Error> {
        let mut progress = Progress {
            began: Instant::now(),
            content: None,
            removed: false,
            changed: None,
            unexpected_errors: 0,
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
        }
        Err(Error::refused(
            Kind::Failed,
            format!(
                "logical volume {} needs more steps than expected (this is a bug, please report it)",
                spec.path()
            ),
        ))
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
        if let Step::Done(outcome) = step {
            return Ok(Some(self.with_holders(lvm, spec, *outcome)));
        }
        match self.act(lvm, spec, step, progress) {
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
        step: Step,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let path = LvPath {
            group: &spec.group,
            name: &spec.name,
        };
        lvm.note_change();
        match step {
            Step::Done(_) => {}
            Step::Inspect(uuid) => progress.content = Some(self.devices.inspect(path, &uuid)?),
            Step::Mark(uuid) => {
                self.devices.mark_blank(path, &uuid)?;
                progress.content = Some(Content::Unformatted);
            }
            Step::Create(..) | Step::CreateThin(_) => {
                if !self.create(lvm, spec, &step)? {
                    progress.changed = Some(Instant::now());
                }
                progress.content = Some(Content::Unformatted);
            }
            change => {
                Self::change(lvm, spec, &change)?;
                progress.removed |= matches!(change, Step::Remove(..));
                progress.changed = Some(Instant::now());
            }
        }
        lvm.note_change();
        Ok(())
    }

    /// Runs an LVM command whose result only a report shows.
    fn change(locked: &LockedLvm, spec: &VolumeSpec, step: &Step) -> Result<(), Error> {
        let lvm = locked.commands();
        let group = &spec.group;
        let name = &spec.name;
        match (step, &spec.pool, &spec.cache) {
            (Step::AddIntegrity, ..) => lvm.add_integrity(group, name),
            (Step::Extend(extents, disks), ..) => lvm.extend(group, name, *extents, disks),
            (Step::Activate(uuid), ..) => lvm.activate(group, name, uuid),
            (Step::Remove(uuid, segment_type), ..) => {
                lvm.remove(group, name, uuid, &spec.identity, *segment_type)
            }
            (Step::CreatePool(cost, most, disks), Some(pool), _) => {
                let extent = locked.extent_size(group);
                let new = NewPool {
                    cost: *cost,
                    extent,
                    most: *most,
                    disks,
                    tag: &pool.identity,
                };
                lvm.create_pool(group, &pool.name, &new)
            }
            (Step::RemovePool(uuid), Some(pool), _) => lvm.remove(
                group,
                &pool.name,
                uuid,
                &pool.identity,
                SegmentType::ThinPool,
            ),
            (Step::CreateCache(extents, disks), _, Some(cache)) => {
                let tags = [spec.identity.clone()];
                let new = NewLv {
                    extents: *extents,
                    layout: Layout::Linear,
                    disks,
                    tags: &tags,
                };
                lvm.create(group, &cache.name, &new)
            }
            (Step::AttachCache, _, Some(cache)) => {
                lvm.attach_cache(group, name, &cache.name, cache.mode.as_str())
            }
            (Step::RemoveCache(uuid), _, Some(cache)) => {
                lvm.remove(group, &cache.name, uuid, &spec.identity, SegmentType::Plain)
            }
            (step, ..) => Err(Error::refused(
                Kind::Invalid,
                format!(
                    "internal error: step {step:?} does not apply to {} (this is a bug, please report it)",
                    spec.path()
                ),
            )),
        }
    }

    /// Creates the volume and writes its format marker: it is blank, since no other program uses it
    /// yet.
    ///
    /// Inserts it into the cached report without running LVM again, if its extents on each disk are
    /// known; else returns false.
    fn create(&self, locked: &LockedLvm, spec: &VolumeSpec, step: &Step) -> Result<bool, Error> {
        let lvm = locked.commands();
        let path = LvPath {
            group: &spec.group,
            name: &spec.name,
        };
        let tags = spec.tags();
        let (extents, disks) = match (step, &spec.pool) {
            (Step::Create(extents, disks), _) => {
                let new = NewLv {
                    extents: *extents,
                    layout: spec.layout,
                    disks,
                    tags: &tags,
                };
                lvm.create(&spec.group, &spec.name, &new)?;
                (*extents, disks.as_slice())
            }
            (Step::CreateThin(size), Some(pool)) => {
                lvm.create_thin(&spec.group, &pool.name, &spec.name, *size, &tags)?;
                (Extents(0), [].as_slice())
            }
            _ => return Ok(false),
        };
        let (uuid, size) = self.devices.identify(path)?;
        self.devices.mark_new(path, &uuid)?;
        // Best effort: saves the driver an LVM command.
        let _ = self.devices.record_key(&uuid, &spec.key);
        Ok(locked.insert(&spec.group, |vg| {
            let shares = shares(spec, vg, extents, disks)?;
            Some(new_lv(spec, uuid, size, shares))
        }))
    }

    /// Adds mount points to the message of a volume that is in use.
    fn with_holders(&self, lvm: &LockedLvm, spec: &VolumeSpec, mut outcome: Outcome) -> Outcome {
        if outcome.is_in_use()
            && let Some(removed) = &mut outcome.removed
            && let Some(uuid) = lvm.uuid(&spec.group, &spec.name)
        {
            let path = LvPath {
                group: &spec.group,
                name: &spec.name,
            };
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

/// Returns the extents that a new volume occupies on each disk, if that is certain.
fn shares(
    spec: &VolumeSpec,
    vg: &Vg,
    extents: Extents,
    disks: &[String],
) -> Option<BTreeMap<LvUuid, Extents>> {
    let images = usize::try_from(spec.layout.images())
        .ok()
        .filter(|images| *images > 0);
    // A thin volume occupies no extents of its own.
    let Some(images) = images else {
        return Some(BTreeMap::new());
    };
    let used: Vec<&Pv> = match vg.pvs.as_slice() {
        [only] => vec![only],
        all => all.iter().filter(|pv| disks.contains(&pv.name)).collect(),
    };
    let cost = spec
        .layout
        .cost(extents.bytes(vg.extent_size), vg.extent_size)
        .ok()?;
    (used.len() == images).then(|| {
        used.iter()
            .map(|pv| (pv.uuid.clone(), cost.image))
            .collect()
    })
}

/// Returns the entry that a report would contain for a new volume.
fn new_lv(spec: &VolumeSpec, uuid: LvUuid, size: Bytes, shares: BTreeMap<LvUuid, Extents>) -> Lv {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
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
        made: now.map_or(0, |now| now.as_secs()),
        pool: spec.pool.as_ref().map(|pool| pool.name.to_string()),
        state: None,
    }
}
