//! This node's LVM: the last report, kept in step with our own changes, and one change at a time.
//!
//! LVM needs a second to say everything, so it is asked seldom. That is safe because every command
//! checks for itself what it needs: `lvcreate` the name and the space, `lvremove` name, uuid and
//! tag. When one refuses, or the plan has bad news, a new report decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use host::lvm::{Lv, Lvm, Vg, backup};
use host::{Bytes, Error, Exec, LvName, LvUuid, VgName};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::agent::blocking::blocking;
use crate::agent::thin_pools::plan::Growth;

/// What is known of the node's LVM.
#[derive(Clone, Debug, Default)]
pub struct LvmReport {
    /// The volume groups as of the last report that succeeded, with our own changes since. `None`
    /// before the first.
    pub groups: Option<Arc<Vec<Vg>>>,
    /// Why the last report failed, if it did.
    pub failure: Option<String>,
}

/// This node's LVM: what is known of it, and its lock.
pub struct LvmState {
    exec: Arc<dyn Exec>,
    /// When the last report was taken. Its lock is the one for all of LVM.
    taken: Arc<Mutex<Option<Instant>>>,
    report: watch::Sender<LvmReport>,
    /// Counts the reports that said something that was not known.
    news: watch::Sender<u64>,
    /// When we last changed something.
    changed: watch::Sender<Option<Instant>>,
}

/// LVM with its lock held.
pub struct LockedLvm {
    state: Arc<LvmState>,
    taken: OwnedMutexGuard<Option<Instant>>,
}

impl LvmState {
    /// LVM of which nothing is known yet.
    #[must_use]
    pub fn new(exec: Arc<dyn Exec>) -> Self {
        Self {
            exec,
            taken: Arc::default(),
            report: watch::Sender::default(),
            news: watch::Sender::default(),
            changed: watch::Sender::default(),
        }
    }

    /// Hears when LVM reported something that was not known: somebody else's doing, or what a
    /// change of ours led to.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// What is known, and hears when that changes.
    #[must_use]
    pub fn report(&self) -> watch::Receiver<LvmReport> {
        self.report.subscribe()
    }

    /// How long ago our last change was.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.changed
            .borrow()
            .map_or(Duration::MAX, |last| last.elapsed())
    }

    /// The version of LVM.
    ///
    /// # Errors
    /// When LVM doesn't answer.
    pub async fn version(self: &Arc<Self>) -> Result<String, Error> {
        self.locked(|lvm| lvm.commands().version()).await
    }

    /// Asks LVM for everything.
    ///
    /// # Errors
    /// When LVM fails; what was known stays.
    pub async fn refresh(self: &Arc<Self>) -> Result<(), Error> {
        self.locked(LockedLvm::take_report).await
    }

    /// Asks LVM for everything, unless its backups agree with what is known: returns whether it was
    /// asked. `lvm` is the node's folder `/etc/lvm`.
    ///
    /// # Errors
    /// As above.
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

    /// Makes a thin pool larger.
    ///
    /// # Errors
    /// When LVM fails.
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

    /// Has `work` make volume groups while nobody else changes anything; LVM is asked for
    /// everything afterwards, whatever came of it.
    ///
    /// # Errors
    /// When `work` fails, or LVM's report does.
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

    /// Runs `work` with the lock held, on a thread that may block, to its end even if nobody waits
    /// for it any more.
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
    /// LVM's commands.
    pub(in crate::agent) fn commands(&self) -> Lvm<'_> {
        Lvm(&*self.state.exec)
    }

    /// When the last report was taken.
    pub(in crate::agent) fn report_taken(&self) -> Option<Instant> {
        *self.taken
    }

    /// The volume groups as of the last report, with our own changes since.
    pub(in crate::agent) fn groups(&self) -> Arc<Vec<Vg>> {
        self.state
            .report
            .borrow()
            .groups
            .clone()
            .unwrap_or_default()
    }

    /// Notes that we change something just now: what LVM writes meanwhile is our own doing.
    pub(in crate::agent) fn note_change(&self) {
        self.state.changed.send_replace(Some(Instant::now()));
    }

    /// Asks LVM for everything.
    ///
    /// # Errors
    /// When LVM fails; what was known stays.
    pub(in crate::agent) fn take_report(&mut self) -> Result<(), Error> {
        let begins = Instant::now();
        let report = self.commands().report();
        if report.is_ok() {
            *self.taken = Some(begins);
        }
        let (groups, failure) = match &report {
            Ok(groups) => (Some(groups), None),
            Err(error) => (None, Some(host::error::chain(error))),
        };
        let is_news = self.state.report.send_if_modified(|known| {
            let turned = std::mem::replace(&mut known.failure, failure.clone()) != failure;
            let news = groups.is_some_and(|groups| known.groups.as_deref() != Some(groups));
            if let Some(groups) = groups {
                known.groups = Some(Arc::new(groups.clone()));
            }
            turned || news
        });
        if is_news && report.is_ok() {
            self.state
                .news
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        report.map(drop)
    }

    /// Adds to what is known a volume that was made just now, if `describe` knows what a report
    /// would say of it; returns whether it did.
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

    /// The size of an extent, as of the last report.
    pub(in crate::agent) fn extent_size(&self, group: &VgName) -> Bytes {
        self.groups()
            .iter()
            .find(|vg| vg.name == group.as_str())
            .map_or(Bytes(0), |vg| vg.extent_size)
    }

    /// LVM's uuid of a volume, as of the last report.
    pub(in crate::agent) fn uuid(&self, group: &VgName, name: &LvName) -> Option<LvUuid> {
        let groups = self.groups();
        let vg = groups.iter().find(|vg| vg.name == group.as_str())?;
        vg.lv(name.as_str()).map(|lv| lv.uuid.clone())
    }
}
