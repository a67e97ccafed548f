//! Finds the volumes whose device lags behind LVM's metadata, and queues them.
//!
//! An LVM command that is killed between its first and last change may leave a device suspended
//! without a trace in LVM's metadata, so no report of LVM differs. The check reads sysfs only.

use std::sync::Arc;
use std::time::Duration;

use host::lvm::tags::CLAIM_UID;
use host::lvm::{Lv, Vg};
use host::{LvName, VgName};

use super::device::{Devices, LvPath};
use crate::agent::blocking::blocking;
use crate::agent::lvm::state::LvmState;
use crate::agent::watches::logical_volumes::NodeVolumes;

/// Interval between two checks.
const INTERVAL: Duration = Duration::from_secs(15);

/// Checks the devices of all claims' volumes at intervals; never returns.
pub async fn run(lvm: Arc<LvmState>, devices: Arc<dyn Devices>, volumes: Arc<NodeVolumes>) {
    let report = lvm.report();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let groups = report.borrow().groups.clone().unwrap_or_default();
        let devices = devices.clone();
        let lagging = blocking(move || Ok(find(&groups, &*devices))).await;
        for name in lagging.unwrap_or_default() {
            volumes.queue.enqueue(&name);
        }
    }
}

/// Returns the names of claims' volumes with a device that is suspended, or smaller than in LVM's
/// metadata. They are those of their LogicalVolumes.
fn find(groups: &[Vg], devices: &dyn Devices) -> Vec<String> {
    let mut lagging = Vec::new();
    for vg in groups {
        let Ok(group) = VgName::new(&vg.name) else {
            continue;
        };
        for lv in vg.lvs.iter().filter(|lv| is_of_claim(lv)) {
            let Ok(name) = LvName::new(&lv.name) else {
                continue;
            };
            let path = LvPath {
                group: &group,
                name: &name,
            };
            if let Some(device) = devices.device_state(path, &lv.uuid)
                && (device.is_suspended || device.size < lv.size)
            {
                lagging.push(lv.name.clone());
            }
        }
    }
    lagging
}

fn is_of_claim(lv: &Lv) -> bool {
    lv.tags.iter().any(|tag| tag.starts_with(CLAIM_UID))
}
