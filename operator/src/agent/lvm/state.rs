//! The node's LVM: the last report, updated with the agent's own changes, and the lock that
//! serializes changes.
//!
//! A full report takes LVM a second, so the agent requests it rarely. That is safe because each
//! command checks its own preconditions: `lvcreate` the name and the space, `lvremove` name, uuid
//! and tag. If a command is rejected, or the plan would report a failure, the agent takes a new
//! report first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::condition::reason;
use host::lvm::{Lv, Lvm, NodeReport, Vg, backup};
use host::{Error, Exec, LvName, LvUuid, VgName};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::agent::blocking::blocking;
use crate::agent::condition::ReportedError;
use crate::agent::error;
use crate::agent::thin_pools::plan::Growth;

/// The agent's copy of LVM's report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LvmReport {
    /// The volume groups of the last successful report, with the agent's own changes since. `None`
    /// before the first.
    pub groups: Option<Arc<Vec<Vg>>>,
    /// What LVM warned of in the last successful report.
    pub warnings: Vec<String>,
    /// Error of the last report, if it failed.
    pub failure: Option<ReportedError>,
}

impl LvmReport {
    /// Takes over a new report or its failure, which leaves the groups unchanged.
    fn update(&mut self, report: &Result<NodeReport, Error>) {
        match report {
            Ok(report) => {
                self.groups = Some(Arc::new(report.groups.clone()));
                self.warnings.clone_from(&report.warnings);
                self.failure = None;
            }
            Err(error) => {
                let message = error::message(error);
                self.failure = Some(ReportedError::new(reason::LVM_FAILED, message));
            }
        }
    }

    /// Returns whether the state of LVM differs. Volumes are planned by it; messages of LVM may
    /// differ with each report.
    fn differs_from(&self, old: &Self) -> bool {
        (&self.groups, &self.failure) != (&old.groups, &old.failure)
    }
}

/// The node's LVM: cached report and lock.
pub struct LvmState {
    exec: Arc<dyn Exec>,
    /// Start of the last successful report. Its mutex is the lock for all of LVM.
    taken: Arc<Mutex<Option<Instant>>>,
    report: watch::Sender<LvmReport>,
    /// Counts the reports that differed from the cached one.
    changes: watch::Sender<u64>,
    /// Time of the agent's last change.
    changed: watch::Sender<Option<Instant>>,
}

/// LVM with the lock held.
pub struct LockedLvm {
    state: Arc<LvmState>,
    taken: OwnedMutexGuard<Option<Instant>>,
}

impl LvmState {
    /// Returns a state without a report.
    #[must_use]
    pub fn new(exec: Arc<dyn Exec>) -> Self {
        Self {
            exec,
            taken: Arc::default(),
            report: watch::Sender::default(),
            changes: watch::Sender::default(),
            changed: watch::Sender::default(),
        }
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

    /// Returns LVM's version.
    ///
    /// # Errors
    /// If LVM fails.
    pub async fn version(self: &Arc<Self>) -> Result<String, Error> {
        self.locked(|lvm| lvm.commands().version()).await
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
    /// `lvm` is the node's folder `/etc/lvm`.
    ///
    /// # Errors
    /// If LVM fails; the cached report stays.
    pub async fn catch_up(self: &Arc<Self>, lvm: &std::path::Path) -> Result<bool, Error> {
        let folder = lvm.to_owned();
        self.locked(move |lvm| {
            let known = lvm.state.report.borrow().clone();
            let is_known = known.failure.is_none()
                && known
                    .groups
                    .is_some_and(|groups| backup::agrees(&folder, &groups));
            if is_known {
                Ok(false)
            } else {
                lvm.take_report().map(|()| true)
            }
        })
        .await
    }

    /// Extends a thin pool.
    ///
    /// # Errors
    /// If LVM fails.
    pub async fn extend_pool(self: &Arc<Self>, growth: Growth) -> Result<(), Error> {
        self.locked(move |lvm| {
            lvm.note_change();
            let Growth {
                group,
                pool,
                extents,
                disks,
            } = &growth;
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

    /// Runs `work` with the lock held, on a thread that may block, to completion even if the caller
    /// is dropped.
    pub(in crate::agent) async fn locked<T, F>(self: &Arc<Self>, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut LockedLvm) -> Result<T, Error> + Send + 'static,
    {
        let taken = self.taken.clone().lock_owned().await;
        let mut lvm = LockedLvm {
            state: self.clone(),
            taken,
        };
        blocking(move || work(&mut lvm)).await
    }
}

impl LockedLvm {
    /// Returns LVM's commands.
    pub(in crate::agent) fn commands(&self) -> Lvm<'_> {
        Lvm(&*self.state.exec)
    }

    /// Returns the start of the last successful report.
    pub(in crate::agent) fn report_taken(&self) -> Option<Instant> {
        *self.taken
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
        let report = self.commands().report();
        if report.is_ok() {
            *self.taken = Some(begins);
        }
        let mut is_changed = false;
        self.state.report.send_if_modified(|known| {
            let old = known.clone();
            known.update(&report);
            is_changed = known.differs_from(&old);
            *known != old
        });
        if is_changed && report.is_ok() {
            self.state
                .changes
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        report.map(drop)
    }

    /// Inserts a volume that the agent just created into the cached report, if `describe` can
    /// predict its entry; returns whether it could.
    pub(in crate::agent) fn insert(
        &self,
        group: &VgName,
        describe: impl FnOnce(&Vg) -> Option<Lv>,
    ) -> bool {
        let mut is_known = false;
        self.state.report.send_if_modified(|known| {
            let groups = known.groups.get_or_insert_default();
            if let Some(vg) = Arc::make_mut(groups)
                .iter_mut()
                .find(|vg| vg.name == group.as_str())
                && let Some(lv) = describe(vg)
            {
                vg.insert(lv);
                is_known = true;
            }
            is_known
        });
        is_known
    }

    /// Returns LVM's uuid of a volume, as of the cached report.
    pub(in crate::agent) fn uuid(&self, group: &VgName, name: &LvName) -> Option<LvUuid> {
        let groups = self.groups();
        let vg = groups.iter().find(|vg| vg.name == group.as_str())?;
        vg.lv(name.as_str()).map(|lv| lv.uuid.clone())
    }
}
