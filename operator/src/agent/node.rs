//! This node's LVM: the last report, kept in step with our own changes, and one change at a time.
//! Called by `reconcile` (turns) and `changes` (refreshes); `report` watches what is known.
//!
//! LVM needs a second to say everything, so it is asked seldom. That is safe because every command
//! checks for itself what it needs: `lvcreate` the name and the space, `lvremove` name, uuid and
//! tag. When one refuses, or the plan has bad news, a new report decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::StorageBackend;
use host::lvm::{Layout, Lv, LvKind, Lvm, New, NewPool, Pv, Vg};
use host::{Bytes, Error, Exec, Extents, Kind, LvUuid, VgName};
use tokio::sync::{Mutex, watch};

use super::backup;
use super::blocking::blocking;
use super::cache_paths;
use super::device::{Devices, Path};
use super::order::Order;
use super::plan::{self, Content, Seen, Step, Verdict};
use super::pools::plan::Growth;

/// One pass never takes more turns: create, or activate, look, mark; each with a surprise.
const MOST_TURNS: u32 = 12;

/// So often in a pass LVM may refuse what the report allowed.
const MOST_SURPRISES: u32 = 2;

/// What is known of the node.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The volume groups as of the last report that succeeded, with our own changes since. `None`
    /// before the first.
    pub groups: Option<Arc<Vec<Vg>>>,
    /// Why the last report failed, if it did.
    pub failure: Option<String>,
}

/// This node's LVM.
pub struct Node {
    exec: Arc<dyn Exec>,
    devices: Arc<dyn Devices>,
    /// When the last report was taken. Its lock is the one for all of LVM.
    taken: Arc<Mutex<Option<Instant>>>,
    view: watch::Sender<View>,
    /// Counts the reports that said something that was not known.
    news: watch::Sender<u64>,
    /// When we last changed something.
    changed: watch::Sender<Option<Instant>>,
}

/// What one pass has learned so far.
#[derive(Clone, Debug)]
struct Pass {
    began: Instant,
    content: Option<Content>,
    removed: bool,
    /// When this pass last changed something that only a report tells the outcome of.
    changed: Option<Instant>,
    surprises: u32,
}

impl Node {
    /// A node of which nothing is known yet.
    #[must_use]
    pub fn new(exec: Arc<dyn Exec>, devices: Arc<dyn Devices>) -> Self {
        let (view, news, changed) = (
            watch::Sender::default(),
            watch::Sender::default(),
            watch::Sender::default(),
        );
        Self {
            exec,
            devices,
            taken: Arc::default(),
            view,
            news,
            changed,
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
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
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
        self.blocking(|node, _| Lvm(&*node.exec).version()).await
    }

    /// Asks LVM for everything.
    ///
    /// # Errors
    /// When LVM fails; what was known stays.
    pub async fn refresh(self: &Arc<Self>) -> Result<(), Error> {
        self.blocking(Self::take_report).await
    }

    /// Asks LVM for everything, unless its backups agree with what is known: returns whether it was
    /// asked. `lvm` is the node's folder `/etc/lvm`.
    ///
    /// # Errors
    /// As above.
    pub async fn catch_up(self: &Arc<Self>, lvm: &std::path::Path) -> Result<bool, Error> {
        let lvm = lvm.to_owned();
        self.blocking(move |node, taken| {
            let known = node.view.borrow().clone();
            let is_known = known.failure.is_none()
                && known
                    .groups
                    .is_some_and(|groups| backup::agrees(&lvm, &groups));
            if is_known {
                Ok(false)
            } else {
                node.take_report(taken).map(|()| true)
            }
        })
        .await
    }

    /// Makes a thin pool larger.
    ///
    /// # Errors
    /// When LVM fails.
    pub async fn extend_pool(self: &Arc<Self>, growth: Growth) -> Result<(), Error> {
        self.blocking(move |node, taken| {
            node.changed.send_replace(Some(Instant::now()));
            let Growth {
                group,
                pool,
                extents,
                disks,
            } = &growth;
            let extended = Lvm(&*node.exec).extend(group, pool, *extents, disks);
            node.take_report(taken)?;
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
        self.blocking(move |node, taken| {
            node.changed.send_replace(Some(Instant::now()));
            let done = work();
            node.changed.send_replace(Some(Instant::now()));
            let report = node.take_report(taken);
            done.and(report)
        })
        .await
    }

    /// By which paths these backends name each device as one for caches.
    #[must_use]
    pub fn cache_paths(
        &self,
        backends: &[Arc<StorageBackend>],
        groups: &[Vg],
    ) -> BTreeMap<String, Vec<String>> {
        cache_paths::find(backends, groups, &*self.devices)
    }

    /// Does for one order what can be done now, and says how things stand then.
    ///
    /// # Errors
    /// When LVM, or looking at a device, fails.
    pub async fn settle(self: &Arc<Self>, order: &Arc<Order>) -> Result<Verdict, Error> {
        let mut pass = Pass {
            began: Instant::now(),
            content: None,
            removed: false,
            changed: None,
            surprises: 0,
        };
        for _ in 0..MOST_TURNS {
            let order = order.clone();
            let turn = move |node: &Self, taken: &mut _| {
                let verdict = node.turn(&order, &mut pass, taken);
                verdict.map(|verdict| (verdict, pass))
            };
            // Between two turns others have theirs: one report then serves all who wait for one.
            match self.blocking(turn).await? {
                (Some(verdict), _) => return Ok(verdict),
                (None, next) => pass = next,
            }
        }
        Err(Error::refused(
            Kind::Failed,
            format!("logical volume {} does not settle", order.path()),
        ))
    }

    /// Runs `work` with the lock held, on a thread that may block, to its end even if nobody waits
    /// for it any more.
    async fn blocking<T, F>(self: &Arc<Self>, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Self, &mut Option<Instant>) -> Result<T, Error> + Send + 'static,
    {
        let mut taken = self.taken.clone().lock_owned().await;
        let node = self.clone();
        blocking(move || work(&node, &mut taken)).await
    }

    fn take_report(&self, taken: &mut Option<Instant>) -> Result<(), Error> {
        let begins = Instant::now();
        let report = Lvm(&*self.exec).report();
        if report.is_ok() {
            *taken = Some(begins);
        }
        let (groups, failure) = match &report {
            Ok(groups) => (Some(groups), None),
            Err(error) => (None, Some(host::error::chain(error))),
        };
        let is_news = self.view.send_if_modified(|view| {
            let turned = std::mem::replace(&mut view.failure, failure.clone()) != failure;
            let news = groups.is_some_and(|groups| view.groups.as_deref() != Some(groups));
            if let Some(groups) = groups {
                view.groups = Some(Arc::new(groups.clone()));
            }
            turned || news
        });
        if is_news && report.is_ok() {
            self.news
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        report.map(drop)
    }

    /// Plans, and does one step. A verdict ends the pass.
    fn turn(
        &self,
        order: &Order,
        pass: &mut Pass,
        taken: &mut Option<Instant>,
    ) -> Result<Option<Verdict>, Error> {
        if taken.is_none_or(|taken| pass.changed.is_some_and(|changed| taken < changed)) {
            self.take_report(taken)?;
        }
        let mut step = self.plan(order, pass);
        if let Step::Settle(verdict) = &step
            && taken
                .is_none_or(|taken| taken < pass.began && taken.elapsed() > verdict.oldest_report())
        {
            self.take_report(taken)?;
            step = self.plan(order, pass);
        }
        if let Step::Settle(verdict) = step {
            return Ok(Some(self.with_holders(order, *verdict)));
        }
        match self.act(order, step, pass) {
            Ok(()) => Ok(None),
            Err(error) => {
                pass.changed = Some(Instant::now());
                pass.surprises += 1;
                let is_hint = matches!(
                    error.kind(),
                    Kind::NoSpace | Kind::Exists | Kind::NotFound | Kind::Busy
                );
                if is_hint && pass.surprises <= MOST_SURPRISES {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        }
    }

    fn plan(&self, order: &Order, pass: &Pass) -> Step {
        let view = self.view.borrow();
        let groups = view
            .groups
            .as_deref()
            .map(Vec::as_slice)
            .unwrap_or_default();
        plan::plan(
            order,
            Seen {
                groups,
                content: pass.content.as_ref(),
                removed: pass.removed,
            },
        )
    }

    fn act(&self, order: &Order, step: Step, pass: &mut Pass) -> Result<(), Error> {
        let path = Path {
            group: &order.group,
            name: &order.name,
        };
        self.changed.send_replace(Some(Instant::now()));
        match step {
            Step::Settle(_) => {}
            Step::Look(uuid) => pass.content = Some(self.devices.look(path, &uuid)?),
            Step::Mark(uuid) => {
                self.devices.mark_blank(path, &uuid)?;
                pass.content = Some(Content::Fresh);
            }
            Step::Create(..) | Step::CreateThin(_) => {
                if !self.create(order, &step)? {
                    pass.changed = Some(Instant::now());
                }
                pass.content = Some(Content::Fresh);
            }
            change => {
                self.change(order, &change)?;
                pass.removed |= matches!(change, Step::Remove(..));
                pass.changed = Some(Instant::now());
            }
        }
        self.changed.send_replace(Some(Instant::now()));
        Ok(())
    }

    /// A command of LVM, what became of which only a report tells.
    fn change(&self, order: &Order, step: &Step) -> Result<(), Error> {
        let (lvm, group, name) = (Lvm(&*self.exec), &order.group, &order.name);
        match (step, &order.pool, &order.cache) {
            (Step::AddIntegrity, ..) => lvm.add_integrity(group, name),
            (Step::Extend(extents, disks), ..) => lvm.extend(group, name, *extents, disks),
            (Step::Activate(uuid), ..) => lvm.activate(group, name, uuid),
            (Step::Remove(uuid, kind), ..) => lvm.remove(group, name, uuid, &order.identity, *kind),
            (Step::CreatePool(cost, most, disks), Some(pool), _) => {
                let extent = self.extent_size(group);
                let new = NewPool {
                    cost: *cost,
                    extent,
                    most: *most,
                    disks,
                    tag: &pool.identity,
                };
                lvm.create_pool(group, &pool.name, &new)
            }
            (Step::RemovePool(uuid), Some(pool), _) => {
                lvm.remove(group, &pool.name, uuid, &pool.identity, LvKind::ThinPool)
            }
            (Step::CreateCache(extents, disks), _, Some(cache)) => {
                let tags = [order.identity.clone()];
                let new = New {
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
                lvm.remove(group, &cache.name, uuid, &order.identity, LvKind::Plain)
            }
            (step, ..) => Err(Error::refused(
                Kind::Invalid,
                format!("{step:?} is no change of {}", order.path()),
            )),
        }
    }

    /// Makes the volume and marks it: it is blank, since nobody else knows of it yet. The report is
    /// brought up to date without asking LVM again, if it is known what the volume took of which
    /// disk; else this returns false.
    fn create(&self, order: &Order, step: &Step) -> Result<bool, Error> {
        let (lvm, path) = (
            Lvm(&*self.exec),
            Path {
                group: &order.group,
                name: &order.name,
            },
        );
        let tags = order.tags();
        let (extents, disks) = match (step, &order.pool) {
            (Step::Create(extents, disks), _) => {
                let new = New {
                    extents: *extents,
                    layout: order.layout,
                    disks,
                    tags: &tags,
                };
                lvm.create(&order.group, &order.name, &new)?;
                (*extents, disks.as_slice())
            }
            (Step::CreateThin(size), Some(pool)) => {
                lvm.create_thin(&order.group, &pool.name, &order.name, *size, &tags)?;
                (Extents(0), [].as_slice())
            }
            _ => return Ok(false),
        };
        let (uuid, size) = self.devices.identify(path)?;
        self.devices.mark_new(path, &uuid)?;
        // Only spares the driver a question.
        let _ = self.devices.tell_key(&uuid, &order.key);
        let mut is_known = false;
        self.view.send_if_modified(|view| {
            let groups = view.groups.get_or_insert_default();
            if let Some(vg) = Arc::make_mut(groups)
                .iter_mut()
                .find(|vg| vg.name == order.group.as_str())
                && let Some(shares) = shares(order, vg, extents, disks)
            {
                vg.insert(new_lv(order, uuid, size, shares));
                is_known = true;
            }
            is_known
        });
        Ok(is_known)
    }

    /// The size of an extent, as of the last report.
    fn extent_size(&self, group: &VgName) -> Bytes {
        let view = self.view.borrow();
        let vg = view
            .groups
            .iter()
            .flat_map(|groups| groups.iter())
            .find(|vg| vg.name == group.as_str());
        vg.map_or(Bytes(0), |vg| vg.extent_size)
    }

    /// Says who has the volume open, where that can be seen.
    fn with_holders(&self, order: &Order, mut verdict: Verdict) -> Verdict {
        if verdict.is_in_use()
            && let Some(removed) = &mut verdict.removed
            && let Some(uuid) = self.uuid(order)
        {
            let path = Path {
                group: &order.group,
                name: &order.name,
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
        verdict
    }

    fn uuid(&self, order: &Order) -> Option<LvUuid> {
        let view = self.view.borrow();
        let vg = view
            .groups
            .iter()
            .flat_map(|groups| groups.iter())
            .find(|vg| vg.name == order.group.as_str())?;
        vg.lv(order.name.as_str()).map(|lv| lv.uuid.clone())
    }
}

/// What a volume that was made just now took of each disk, where that is beyond doubt.
fn shares(
    order: &Order,
    vg: &Vg,
    extents: Extents,
    disks: &[String],
) -> Option<BTreeMap<LvUuid, Extents>> {
    let images = usize::try_from(order.layout.images())
        .ok()
        .filter(|images| *images > 0);
    // A thin volume takes nothing of the disks itself.
    let Some(images) = images else {
        return Some(BTreeMap::new());
    };
    let used: Vec<&Pv> = match vg.pvs.as_slice() {
        [only] => vec![only],
        all => all.iter().filter(|pv| disks.contains(&pv.name)).collect(),
    };
    let cost = order
        .layout
        .cost(extents.bytes(vg.extent_size), vg.extent_size)
        .ok()?;
    (used.len() == images).then(|| {
        used.iter()
            .map(|pv| (pv.uuid.clone(), cost.image))
            .collect()
    })
}

/// What a report would say of a volume that was made just now.
fn new_lv(order: &Order, uuid: LvUuid, size: Bytes, shares: BTreeMap<LvUuid, Extents>) -> Lv {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Lv {
        name: order.name.to_string(),
        uuid,
        size,
        tags: order.tags().iter().map(ToString::to_string).collect(),
        active: true,
        open: false,
        kind: plan::kind_of(order),
        shares,
        integrity: order.layout.has_integrity(),
        made: now.map_or(0, |now| now.as_secs()),
        pool: order.pool.as_ref().map(|pool| pool.name.to_string()),
        state: None,
    }
}
