//! Extends the thin pools that the agent created as they fill up, within their reserved size.
//!
//! LVM's metadata doesn't change when a pool fills up, so on nodes with a pool the agent polls LVM
//! every few seconds.

pub mod plan;

use std::sync::Arc;
use std::time::Duration;

use crds::LogicalVolume;
use host::lvm::{Lv, Vg};
use tokio::time::timeout;

use super::lvm::rollback;
use super::lvm::state::LvmState;
use super::volumes::spec::VolumeSpec;
use super::watches::backends::Backends;
use super::watches::logical_volumes::NodeVolumes;
use plan::{backend_of, plan};

/// Interval between two checks of the pools' usage.
const LOOK: Duration = Duration::from_secs(10);

/// Maximum time until the agent checks whether the node has a pool.
const LONGEST: Duration = Duration::from_mins(10);

/// Extends the pools as they fill up; never returns.
pub async fn run(lvm: Arc<LvmState>, volumes: Arc<NodeVolumes>, backends: Arc<Backends>) {
    let mut report = lvm.report();
    loop {
        let groups = report
            .borrow_and_update()
            .groups
            .clone()
            .unwrap_or_default();
        let has_pools = groups
            .iter()
            .any(|vg| vg.lvs.iter().any(|lv: &Lv| backend_of(lv).is_some()));
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
                "can't read the usage of thin pools from LVM"
            );
        }
    }
}

async fn extend(lvm: &Arc<LvmState>, volumes: &NodeVolumes, backends: &Backends, groups: &[Vg]) {
    let objects: Vec<Arc<LogicalVolume>> = volumes.all().collect();
    let missing = rollback::by_objects(groups, objects.iter().map(Arc::as_ref));
    let specs: Vec<VolumeSpec> = objects
        .iter()
        .filter_map(|object| {
            VolumeSpec::read(object, &object.status.clone().unwrap_or_default()).ok()
        })
        .collect();
    let growths = plan(groups, &specs, |backend| {
        backends
            .get(backend)
            .and_then(|backend| backend.spec.thin_pool.clone())
    });
    for growth in growths {
        let group = growth.group.to_string();
        let pool = growth.pool.to_string();
        let extents = growth.extents.0;
        if let Some(rollback) = missing.get(&group) {
            tracing::warn!(group, pool, "the thin pool is not extended: {rollback}");
            continue;
        }
        match lvm.extend_pool(growth).await {
            Ok(()) => tracing::info!(group, pool, extents, "extended the thin pool"),
            Err(error) => {
                tracing::warn!(
                    group,
                    pool,
                    error = host::error::chain(&error),
                    "can't extend the thin pool; retrying"
                );
            }
        }
    }
}
