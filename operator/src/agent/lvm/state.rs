//! The node's LVM: the last report, updated with the agent's own changes, and the lock that
//! serializes changes.
//!
//! A full report takes LVM a second, so the agent requests it rarely. That is safe because each
//! command checks its own preconditions: `lvcreate` the name and the space, `lvremove` name, uuid
//! and tag. If a command is rejected, or the plan would report a failure, the agent takes a new
//! report first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use host::block::mapped::mapped_volumes;
use host::lvm::on_disk::{self, Fingerprint};
use host::lvm::{Lv, Lvm, LvmStatistics, Vg, backup};
use host::{Error, Exec, LvName, LvUuid, VgName};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::activity::LvmActivity;
use super::observe::{EvidencePaths, OwnGroups, observe, record_states};
use super::report::LvmReport;
use super::rollback::Rollback;
use crate::agent::blocking::blocking;
use crate::agent::lvm::waits::LockWaits;
use crate::agent::thin_pools::plan::Growth;

/// Interval between two queries of LVM's version, which changes only when LVM is updated.
const VERSION_AGE: Duration = Duration::from_mins(10);

/// The node's LVM: cached report and lock.
pub struct LvmState {
    exec: Arc<dyn Exec>,
    evidence: EvidencePaths,
    own: OwnGroups,
    /// The last queries. Its mutex is the lock for all of LVM.
    taken: Arc<Mutex<Taken>>,
    report: watch::Sender<LvmReport>,
    /// The metadata on the disks that the cached report describes, by the groups' uuids.
    fingerprints: StdMutex<BTreeMap<LvUuid, Fingerprint>>,
    /// Counts the reports that differed from the cached one.
    changes: watch::Sender<u64>,
    /// Time of the agent's last change.
    changed: watch::Sender<Option<Instant>>,
    /// The last successful report for metrics; not part of `report`, since nothing depends on it.
    statistics: StdMutex<TakenStatistics>,
    lock_waits: LockWaits,
    activity: LvmActivity,
}

/// When LVM was queried last with success.
#[derive(Debug, Default)]
struct Taken {
    /// Start of the last report.
    report: Option<Instant>,
    /// End of the last query of the version.
    version: Option<Instant>,
}

/// The statistics of the last successful report.
#[derive(Clone, Debug, Default)]
pub struct TakenStatistics {
    /// What LVM reported.
    pub statistics: Arc<LvmStatistics>,
    /// When the agent requested it; `None` before the first.
    pub taken: Option<Instant>,
}

/// LVM with the lock held.
pub struct LockedLvm {
    state: Arc<LvmState>,
    taken: OwnedMutexGuard<Taken>,
}

impl LvmState {
    /// Returns a state without a report; `activity` records what `exec` runs.
    #[must_use]
    pub fn new(exec: Arc<dyn Exec>, evidence: EvidencePaths, activity: LvmActivity) -> Self {
        Self {
            exec,
            evidence,
            own: OwnGroups::default(),
            taken: Arc::default(),
            report: watch::Sender::default(),
            fingerprints: StdMutex::default(),
            changes: watch::Sender::default(),
            changed: watch::Sender::default(),
            statistics: StdMutex::default(),
            lock_waits: LockWaits::default(),
            activity,
        }
    }

    /// Returns the statistics of the last successful report.
    #[must_use]
    pub fn statistics(&self) -> TakenStatistics {
        let statistics = self.statistics.lock();
        statistics.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the waits for the lock.
    #[must_use]
    pub fn lock_waits(&self) -> &LockWaits {
        &self.lock_waits
    }

    /// Returns what runs, and what hangs.
    #[must_use]
    pub fn activity(&self) -> &LvmActivity {
        &self.activity
    }

    /// Returns a receiver that observes each report that differed from the cached one: another
    /// program changed LVM, or it shows effects of the agent's own change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns a receiver of the cached report.
    #[must_use]
    pub fn report(&self) -> watch::Receiver<LvmReport> {
        self.report.subscribe()
    }

    /// Returns the time since the agent's last change.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.changed
            .borrow()
            .map_or(Duration::MAX, |last| last.elapsed())
    }

    /// Takes a new report.
    ///
    /// # Errors
    /// If LVM fails; the cached report stays.
    pub async fn refresh(self: &Arc<Self>) -> Result<(), Error> {
        self.locked(LockedLvm::take_report).await
    }

    /// Takes a new report unless LVM's backups agree with the cached one; returns whether it took
    /// one.
    ///
    /// # Errors
    /// If LVM fails; the cached report stays.
    pub async fn catch_up(self: &Arc<Self>) -> Result<bool, Error> {
        self.locked(|lvm| {
            let known = lvm.state.report.borrow().clone();
            let evidence = &lvm.state.evidence;
            if let Some(groups) = &known.groups
                && known.failure.is_none()
                && backup::agrees(&evidence.lvm, groups)
            {
                // The agent's own changes since the report.
                record_states(evidence, groups, &known.rollbacks);
                Ok(false)
            } else {
                lvm.take_report().map(|()| true)
            }
        })
        .await
    }

    /// Extends a thin pool, unless the metadata of its group went back.
    ///
    /// # Errors
    /// If LVM fails, or the metadata went back.
    pub async fn extend_pool(self: &Arc<Self>, growth: Growth) -> Result<(), Error> {
        self.locked(move |lvm| {
            let Growth {
                group,
                pool,
                extents,
                disks,
            } = &growth;
            if !lvm.is_current(group) {
                lvm.take_report()?;
            }
            if let Some(rollback) = lvm.rollback(group) {
                let message = format!("volume group {group} gets no larger pool: {rollback}");
                return Err(Error::failed(message));
            }
            lvm.note_change();
            let extended = lvm.commands().extend(group, pool, *extents, disks);
            lvm.take_report()?;
            extended
        })
        .await
    }

    /// Runs `work`, which creates volume groups, with the lock held, and takes a new report
    /// afterwards, also on failure.
    ///
    /// # Errors
    /// If `work` or the report fails.
    pub async fn change_groups<F>(self: &Arc<Self>, work: F) -> Result<(), Error>
    where
        F: FnOnce() -> Result<(), Error> + Send + 'static,
    {
        self.locked(move |lvm| {
            lvm.note_change();
            let done = work();
            lvm.note_change();
            let report = lvm.take_report();
            done.and(report)
        })
        .await
    }

    fn keep_statistics(&self, statistics: &LvmStatistics, taken: Instant) {
        let statistics = TakenStatistics {
            statistics: Arc::new(statistics.clone()),
            taken: Some(taken),
        };
        let mut kept = self
            .statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = statistics;
    }

    /// Runs `work` with the lock held, on a thread that may block, to completion even if the caller
    /// is dropped.
    pub(in crate::agent) async fn locked<T, F>(self: &Arc<Self>, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut LockedLvm) -> Result<T, Error> + Send + 'static,
    {
        let wait = self.lock_waits.start();
        let taken = self.taken.clone().lock_owned().await;
        drop(wait);
        let mut lvm = LockedLvm {
            state: self.clone(),
            taken,
        };
        blocking(move || {
            let held = lvm.state.activity.hold_lock();
            let done = work(&mut lvm);
            drop(held);
            done
        })
        .await
    }
}

impl LockedLvm {
    /// Returns LVM's commands.
    pub(in crate::agent) fn commands(&self) -> Lvm<'_> {
        Lvm(&*self.state.exec)
    }

    /// Returns the start of the last successful report.
    pub(in crate::agent) fn report_taken(&self) -> Option<Instant> {
        self.taken.report
    }

    /// Returns the volume groups of the cached report.
    pub(in crate::agent) fn groups(&self) -> Arc<Vec<Vg>> {
        self.state
            .report
            .borrow()
            .groups
            .clone()
            .unwrap_or_default()
    }

    /// Returns the evidence that the metadata of a group went back, as of the cached report.
    pub(in crate::agent) fn rollback(&self, group: &VgName) -> Option<Rollback> {
        let known = self.state.report.borrow();
        let groups = known.groups.as_deref()?;
        let vg = groups.iter().find(|vg| vg.name == group.as_str())?;
        known.rollbacks.get(&vg.uuid).cloned()
    }

    /// Returns whether the cached report still describes a group: its disks have the same metadata,
    /// and each device belongs to one of its volumes.
    ///
    /// Costs no LVM command, so that it can precede each allocation. LVM's backup does not suffice:
    /// `vgcfgrestore` leaves it as it is.
    pub(in crate::agent) fn is_current(&self, group: &VgName) -> bool {
        self.state.own.add(group.as_str());
        let paths = &self.state.evidence;
        let groups = self.groups();
        let Some(vg) = groups.iter().find(|vg| vg.name == group.as_str()) else {
            return false;
        };
        let Ok(devices) = mapped_volumes(&paths.roots.sys) else {
            return false;
        };
        let mut volumes: BTreeSet<_> = vg.lvs.iter().map(|lv| &lv.uuid).collect();
        volumes.extend(&vg.internal);
        let known = self.fingerprints().get(&vg.uuid).copied();
        known.is_some()
            && known == on_disk::fingerprint(&paths.roots.dev, vg)
            && devices
                .iter()
                .all(|device| device.group != vg.uuid || volumes.contains(&device.volume))
    }

    /// Records a change by the agent at this moment: what LVM writes meanwhile is attributed to it.
    pub(in crate::agent) fn note_change(&self) {
        self.state.changed.send_replace(Some(Instant::now()));
    }

    /// Takes a new report.
    ///
    /// # Errors
    /// If LVM fails; the cached report stays.
    pub(in crate::agent) fn take_report(&mut self) -> Result<(), Error> {
        let begins = Instant::now();
        let cached = self.state.report.borrow().clone();
        let LvmState { evidence, own, .. } = &*self.state;
        let observed = observe(self.commands(), evidence, &cached, own);
        if let Ok(observation) = &observed {
            self.taken.report = Some(begins);
            self.fingerprints().clone_from(&observation.fingerprints);
            let statistics = &observation.report.statistics;
            self.state.keep_statistics(statistics, begins);
        }
        let version = match &observed {
            Ok(_) => self.query_version(),
            Err(_) => None,
        };
        let mut is_changed = false;
        self.state.report.send_if_modified(|known| {
            let old = known.clone();
            known.update(&observed);
            if version.is_some() {
                known.version.clone_from(&version);
            }
            is_changed = known.differs_from(&old);
            *known != old
        });
        if is_changed && observed.is_ok() {
            self.state
                .changes
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        observed.map(drop)
    }

    /// Returns LVM's version if it was not queried lately.
    fn query_version(&mut self) -> Option<String> {
        let last = self.taken.version;
        if last.is_some_and(|last| last.elapsed() < VERSION_AGE) {
            return None;
        }
        // Informational: after a failure, the next report queries it again.
        let version = self.commands().version().ok()?;
        self.taken.version = Some(Instant::now());
        Some(version)
    }

    /// Inserts a volume that the agent just created into the cached report, if `describe` can
    /// predict its entry; returns whether it could.
    pub(in crate::agent) fn insert(
        &self,
        group: &VgName,
        describe: impl FnOnce(&Vg) -> Option<Lv>,
    ) -> bool {
        let mut changed = None;
        self.state.report.send_if_modified(|known| {
            let groups = known.groups.get_or_insert_default();
            if let Some(vg) = Arc::make_mut(groups)
                .iter_mut()
                .find(|vg| vg.name == group.as_str())
                && let Some(lv) = describe(vg)
            {
                vg.insert(lv);
                changed = Some(vg.clone());
            }
            changed.is_some()
        });
        if let Some(vg) = &changed {
            let found = on_disk::fingerprint(&self.state.evidence.roots.dev, vg);
            let mut fingerprints = self.fingerprints();
            fingerprints.remove(&vg.uuid);
            // Another seqno shows that another program changed the group, too.
            if let Some(found) = found
                && found.seqno == vg.seqno
            {
                fingerprints.insert(vg.uuid.clone(), found);
            }
        }
        changed.is_some()
    }

    fn fingerprints(&self) -> std::sync::MutexGuard<'_, BTreeMap<LvUuid, Fingerprint>> {
        let fingerprints = self.state.fingerprints.lock();
        fingerprints.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns LVM's uuid of a volume, as of the cached report.
    pub(in crate::agent) fn uuid(&self, group: &VgName, name: &LvName) -> Option<LvUuid> {
        let groups = self.groups();
        let vg = groups.iter().find(|vg| vg.name == group.as_str())?;
        vg.lv(name.as_str()).map(|lv| lv.uuid.clone())
    }
}
