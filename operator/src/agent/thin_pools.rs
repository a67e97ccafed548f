//! Extends the thin pools that the agent made as they fill up, within what was promised to them.
//!
//! A pool fills up without LVM hearing of it, so where there is one, LVM is asked every few
//! seconds.

pub mod plan;

use std::sync::Arc;
use std::time::Duration;

use crds::LogicalVolume;
use host::lvm::{Lv, Vg};
use tokio::time::timeout;

use super::lvm::state::LvmState;
use super::volumes::spec::VolumeSpec;
use super::watches::backends::Backends;
use super::watches::logical_volumes::NodeVolumes;
use plan::{backend_of, plan};

/// How long until a pool is looked at again.
const LOOK: Duration = Duration::from_secs(10);

/// How long until it is seen that there is a pool.
const LONGEST: Duration = Duration::from_mins(10);

/// Keeps pools large enough.
pub async fn run(lvm: Arc<LvmState>, volumes: Arc<NodeVolumes>, backends: Arc<Backends>) {
    let mut report = lvm.report();
    loop {
        let groups = report
            .borrow_and_update()
            .groups
            .clone()
            .unwrap_or_default();
        let is_pool = |lv: &Lv| backend_of(lv).is_some();
        let has_pools = groups.iter().any(|vg| vg.lvs.iter().any(is_pool));
        if has_pools {
            extend(&lvm, &volumes, &backends, &groups).await;
        }
        let wait = if has_pools { LOOK } else { LONGEST };
        if timeout(wait, report.changed()).await.is_err()
            && has_pools
            && let Err(error) = lvm.refresh().await
        {
            tracing::warn!(
                error = host::error::chain(&error),
                "LVM does not say how full its thin pools are"
            );
        }
    }
}

async fn extend(lvm: &Arc<LvmState>, volumes: &NodeVolumes, backends: &Backends, groups: &[Vg]) {
    let read = |object: Arc<LogicalVolume>| {
        VolumeSpec::read(&object, &object.status.clone().unwrap_or_default()).ok()
    };
    let specs: Vec<VolumeSpec> = volumes.all().filter_map(read).collect();
    let rules = |backend: &str| {
        backends
            .get(backend)
            .and_then(|backend| backend.spec.thin_pool.clone())
    };
    for growth in plan(groups, &specs, rules) {
        let (group, pool, extents) = (
            growth.group.to_string(),
            growth.pool.to_string(),
            growth.extents.0,
        );
        match lvm.extend_pool(growth).await {
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
