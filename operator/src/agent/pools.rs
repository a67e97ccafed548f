//! Extends the thin pools that the agent made as they fill up, within what was promised to them. Started by the agent, for
//! ever.
//!
//! A pool fills up without LVM hearing of it, so where there is one, LVM is asked every few seconds.

use std::sync::Arc;
use std::time::Duration;

use crds::LogicalVolume;
use crds::thin_pool::ThinPool;
use host::lvm::{Lv, LvKind, Vg};
use host::tags::THIN_POOL;
use host::{Extents, LvName, VgName};
use tokio::time::timeout;

use super::backends::Backends;
use super::node::Node;
use super::order::{MakePool, Order};
use super::orders::Orders;
use super::plan::extended;

/// How long until a pool is looked at again.
const LOOK: Duration = Duration::from_secs(10);

/// How long until it is seen that there is a pool.
const LONGEST: Duration = Duration::from_mins(10);

/// A pool that is to be made larger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The volume group.
    pub group: VgName,
    /// The pool.
    pub pool: LvName,
    /// The size of its data then.
    pub extents: Extents,
    /// The devices that have room for it.
    pub disks: Vec<String>,
}

/// Keeps pools large enough.
pub async fn run(node: Arc<Node>, orders: Arc<Orders>, backends: Arc<Backends>) {
    let mut view = node.view();
    loop {
        let groups = view.borrow_and_update().groups.clone().unwrap_or_default();
        let is_pool = |lv: &Lv| backend_of(lv).is_some();
        let has_pools = groups.iter().any(|vg| vg.lvs.iter().any(is_pool));
        if has_pools {
            extend(&node, &orders, &backends, &groups).await;
        }
        let wait = if has_pools { LOOK } else { LONGEST };
        if timeout(wait, view.changed()).await.is_err()
            && has_pools
            && let Err(error) = node.refresh().await
        {
            tracing::warn!(error = host::error::chain(&error), "LVM does not say how full its thin pools are");
        }
    }
}

async fn extend(node: &Arc<Node>, orders: &Orders, backends: &Backends, groups: &[Vg]) {
    let read = |object: Arc<LogicalVolume>| Order::read(&object, &object.status.clone().unwrap_or_default()).ok();
    let orders: Vec<Order> = orders.all().filter_map(read).collect();
    let rules = |backend: &str| backends.get(backend).and_then(|backend| backend.spec.thin_pool.clone());
    for growth in plan(groups, &orders, rules) {
        let (group, pool, extents) = (growth.group.to_string(), growth.pool.to_string(), growth.extents.0);
        match node.extend_pool(growth).await {
            Ok(()) => tracing::info!(group, pool, extents, "the thin pool is larger now"),
            Err(error) => {
                tracing::warn!(
                    group,
                    pool,
                    error = host::error::chain(&error),
                    "the thin pool can't be extended, for now"
                );
            }
        }
    }
}

/// The pools that are to be made larger. Pure.
#[must_use]
pub fn plan(groups: &[Vg], orders: &[Order], rules: impl Fn(&str) -> Option<ThinPool>) -> Vec<Growth> {
    let pools = groups.iter().filter(|vg| vg.fault.is_none()).flat_map(|vg| vg.lvs.iter().map(move |lv| (vg, lv)));
    pools.filter_map(|(vg, lv)| grow(vg, lv, orders, rules(backend_of(lv)?).unwrap_or_default())).collect()
}

fn grow(vg: &Vg, lv: &Lv, orders: &[Order], rules: ThinPool) -> Option<Growth> {
    // What was promised for a volume ends with it.
    let is_in = |order: &&Order| order.group.as_str() == vg.name && vg.lv(order.name.as_str()).is_some();
    let in_it = orders.iter().filter(is_in).filter_map(|order| order.pool.as_ref());
    let promised: Vec<&MakePool> =
        in_it.filter(|pool| pool.name.as_str() == lv.name).filter_map(|pool| pool.make.as_ref()).collect();
    let most = promised.iter().map(|make| make.most.extents_up(vg.extent_size)).max()?;
    let extents = extended(lv, most, vg.extent_size, rules.extend_at(), rules.extend_by())?;
    let is_promised = |uuid| promised.iter().any(|make| make.disks.contains_key(uuid));
    let with_room = vg.pvs.iter().filter(|pv| pv.available().0 > 0 && is_promised(&pv.uuid));
    Some(Growth {
        group: VgName::new(&vg.name).ok()?,
        pool: LvName::new(&lv.name).ok()?,
        extents,
        disks: with_room.map(|pv| pv.name.clone()).collect(),
    })
}

/// The backend that an agent made the pool for.
fn backend_of(lv: &Lv) -> Option<&str> {
    let tags = (lv.kind == LvKind::ThinPool).then_some(&lv.tags)?;
    tags.iter().find_map(|tag| tag.strip_prefix(THIN_POOL))
}

#[cfg(test)]
mod tests;
