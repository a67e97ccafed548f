//! Does with one LogicalVolume of this node what its plan says, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use host::lvm::{Layout, Lv, LvKind, NewLv, NewPool, Pv, Vg};
use host::{Bytes, Error, Extents, Kind, LvUuid};

use super::device::{Devices, Path};
use super::plan::{self, Content, Seen, Step, Verdict};
use super::spec::Order;
use crate::agent::lvm::state::{LockedLvm, LvmState};

/// One pass never takes more turns: create, or activate, look, mark; each with a surprise.
const MOST_TURNS: u32 = 12;

/// So often in a pass LVM may refuse what the report allowed.
const MOST_SURPRISES: u32 = 2;

/// Carries out what LogicalVolumes ask of this node, with its LVM and its devices.
#[derive(Clone)]
pub struct VolumeExecutor {
    lvm: Arc<LvmState>,
    devices: Arc<dyn Devices>,
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

impl VolumeExecutor {
    /// By this LVM and these devices.
    #[must_use]
    pub fn new(lvm: Arc<LvmState>, devices: Arc<dyn Devices>) -> Self {
        Self { lvm, devices }
    }

    /// Does for one order what can be done now, and says how things stand then.
    ///
    /// # Errors
    /// When LVM, or looking at a device, fails.
    pub async fn settle(&self, order: &Arc<Order>) -> Result<Verdict, Error> {
        let mut pass = Pass {
            began: Instant::now(),
            content: None,
            removed: false,
            changed: None,
            surprises: 0,
        };
        for _ in 0..MOST_TURNS {
            let (executor, order) = (self.clone(), order.clone());
            let turn = move |lvm: &mut LockedLvm| {
                let verdict = executor.turn(lvm, &order, &mut pass);
                verdict.map(|verdict| (verdict, pass))
            };
            // Between two turns others have theirs: one report then serves all who wait for one.
            match self.lvm.locked(turn).await? {
                (Some(verdict), _) => return Ok(verdict),
                (None, next) => pass = next,
            }
        }
        Err(Error::refused(
            Kind::Failed,
            format!("logical volume {} does not settle", order.path()),
        ))
    }

    /// Plans, and does one step. A verdict ends the pass.
    fn turn(
        &self,
        lvm: &mut LockedLvm,
        order: &Order,
        pass: &mut Pass,
    ) -> Result<Option<Verdict>, Error> {
        if lvm
            .report_taken()
            .is_none_or(|taken| pass.changed.is_some_and(|changed| taken < changed))
        {
            lvm.take_report()?;
        }
        let mut step = Self::plan(lvm, order, pass);
        if let Step::Settle(verdict) = &step
            && lvm
                .report_taken()
                .is_none_or(|taken| taken < pass.began && taken.elapsed() > verdict.oldest_report())
        {
            lvm.take_report()?;
            step = Self::plan(lvm, order, pass);
        }
        if let Step::Settle(verdict) = step {
            return Ok(Some(self.with_holders(lvm, order, *verdict)));
        }
        match self.act(lvm, order, step, pass) {
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

    fn plan(lvm: &LockedLvm, order: &Order, pass: &Pass) -> Step {
        plan::plan(
            order,
            Seen {
                groups: &lvm.groups(),
                content: pass.content.as_ref(),
                removed: pass.removed,
            },
        )
    }

    fn act(
        &self,
        lvm: &LockedLvm,
        order: &Order,
        step: Step,
        pass: &mut Pass,
    ) -> Result<(), Error> {
        let path = Path {
            group: &order.group,
            name: &order.name,
        };
        lvm.note_change();
        match step {
            Step::Settle(_) => {}
            Step::Look(uuid) => pass.content = Some(self.devices.look(path, &uuid)?),
            Step::Mark(uuid) => {
                self.devices.mark_blank(path, &uuid)?;
                pass.content = Some(Content::Unformatted);
            }
            Step::Create(..) | Step::CreateThin(_) => {
                if !self.create(lvm, order, &step)? {
                    pass.changed = Some(Instant::now());
                }
                pass.content = Some(Content::Unformatted);
            }
            change => {
                Self::change(lvm, order, &change)?;
                pass.removed |= matches!(change, Step::Remove(..));
                pass.changed = Some(Instant::now());
            }
        }
        lvm.note_change();
        Ok(())
    }

    /// A command of LVM, what became of which only a report tells.
    fn change(locked: &LockedLvm, order: &Order, step: &Step) -> Result<(), Error> {
        let (lvm, group, name) = (locked.commands(), &order.group, &order.name);
        match (step, &order.pool, &order.cache) {
            (Step::AddIntegrity, ..) => lvm.add_integrity(group, name),
            (Step::Extend(extents, disks), ..) => lvm.extend(group, name, *extents, disks),
            (Step::Activate(uuid), ..) => lvm.activate(group, name, uuid),
            (Step::Remove(uuid, kind), ..) => lvm.remove(group, name, uuid, &order.identity, *kind),
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
            (Step::RemovePool(uuid), Some(pool), _) => {
                lvm.remove(group, &pool.name, uuid, &pool.identity, LvKind::ThinPool)
            }
            (Step::CreateCache(extents, disks), _, Some(cache)) => {
                let tags = [order.identity.clone()];
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
    fn create(&self, locked: &LockedLvm, order: &Order, step: &Step) -> Result<bool, Error> {
        let (lvm, path) = (
            locked.commands(),
            Path {
                group: &order.group,
                name: &order.name,
            },
        );
        let tags = order.tags();
        let (extents, disks) = match (step, &order.pool) {
            (Step::Create(extents, disks), _) => {
                let new = NewLv {
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
        Ok(locked.insert(&order.group, |vg| {
            let shares = shares(order, vg, extents, disks)?;
            Some(new_lv(order, uuid, size, shares))
        }))
    }

    /// Says who has the volume open, where that can be seen.
    fn with_holders(&self, lvm: &LockedLvm, order: &Order, mut verdict: Verdict) -> Verdict {
        if verdict.is_in_use()
            && let Some(removed) = &mut verdict.removed
            && let Some(uuid) = lvm.uuid(&order.group, &order.name)
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
