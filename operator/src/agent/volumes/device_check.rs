//! Finds the volumes whose device lags behind LVM's metadata, and queues them; and disks that are
//! gone, for which it takes a new report.
//!
//! An LVM command that is killed between its first and last change may leave a device suspended
//! without a trace in LVM's metadata, so no report of LVM differs. LVM does not change its backup
//! either when a disk disappears. The check reads sysfs and `/dev` only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use host::lvm::tags::CLAIM_UID;
use host::lvm::{Lv, Vg};
use host::{DevNum, DevicePath, LvName, VgName};

use super::device::{Devices, LvPath};
use crate::agent::blocking::blocking;
use crate::agent::lvm::state::LvmState;
use crate::agent::watches::logical_volumes::NodeVolumes;

/// Interval between two checks.
const INTERVAL: Duration = Duration::from_secs(15);

/// Result of a check.
struct Found {
    /// Names of volumes whose device lags behind.
    lagging: Vec<String>,
    /// Whether a disk is gone that LVM has reported.
    is_disk_lost: bool,
    /// The disks that exist.
    disks: PresentDisks,
}

/// Checks the devices of all disks and claims' volumes at intervals; never returns.
pub async fn run(lvm: Arc<LvmState>, devices: Arc<dyn Devices>, volumes: Arc<NodeVolumes>) {
    let report = lvm.report();
    let mut disks = PresentDisks::default();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let groups = report.borrow().groups.clone().unwrap_or_default();
        let devices = devices.clone();
        let mut known = disks.clone();
        let found = blocking(move || {
            Ok(Found {
                lagging: find(&groups, &*devices),
                is_disk_lost: known.update(&groups, |path| devices.number_at(path)),
                disks: known,
            })
        });
        let Ok(found) = found.await else { continue };
        disks = found.disks;
        for name in found.lagging {
            volumes.queue.enqueue(&name);
        }
        if found.is_disk_lost
            && let Err(error) = lvm.refresh().await
        {
            let error = host::error::chain(&error);
            tracing::warn!(
                error,
                "can't read LVM's report after a disk has disappeared"
            );
        }
    }
}

/// Names of the physical volumes whose devices existed at the last check.
#[derive(Clone, Debug, Default)]
struct PresentDisks(BTreeSet<String>);

impl PresentDisks {
    /// Updates the disks; returns whether one of them has disappeared that LVM has not reported as
    /// missing.
    ///
    /// A device that was never found does not count: LVM may know it by a name that does not exist.
    fn update(&mut self, groups: &[Vg], number_at: impl Fn(&DevicePath) -> Option<DevNum>) -> bool {
        let mut present = BTreeSet::new();
        let mut is_lost = false;
        for pv in groups.iter().flat_map(|vg| &vg.pvs) {
            let Ok(path) = DevicePath::new(pv.name.as_str()) else {
                continue;
            };
            if number_at(&path).is_some() {
                present.insert(pv.name.clone());
            } else {
                is_lost |= !pv.is_missing && self.0.contains(&pv.name);
            }
        }
        self.0 = present;
        is_lost
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

#[cfg(test)]
mod tests {
    use super::PresentDisks;
    use host::lvm::{Pv, Vg};
    use host::{Bytes, DevNum, Extents, LvUuid};

    fn group(disks: &[(&str, bool)]) -> Vg {
        let uuid = LvUuid::from_plain(&format!("{:032}", 1)).unwrap();
        let pvs = disks.iter().map(|(name, is_missing)| Pv {
            uuid: uuid.clone(),
            name: (*name).to_owned(),
            extents: Extents(1),
            free: Extents(1),
            allocatable: !is_missing,
            is_missing: *is_missing,
        });
        Vg {
            name: "vg0".to_owned(),
            uuid: uuid.clone(),
            extent_size: Bytes(4 << 20),
            extents: Extents(1),
            free: Extents(1),
            fault: None,
            change_fault: None,
            max_lvs: None,
            lvs: vec![],
            internal: vec![],
            pvs: pvs.collect(),
            system_id: String::new(),
            seqno: 1,
        }
    }

    #[test]
    fn disk_that_disappears_is_noticed_once() {
        let reported = [group(&[("/dev/sda", false), ("/dev/other", false)])];
        let known = [group(&[("[unknown]", true), ("/dev/other", false)])];
        let mut disks = PresentDisks::default();
        let mut update = |groups: &[Vg], present: &str| {
            disks.update(groups, |path| {
                (path.as_str() == present).then(|| DevNum::new(8, 0))
            })
        };
        assert!(!update(&reported, "/dev/sda"), "/dev/other never existed");
        assert!(!update(&reported, "/dev/sda"));
        assert!(update(&reported, ""));
        assert!(!update(&reported, ""), "a report was taken");
        assert!(!update(&known, ""));
        assert!(!update(&reported, "/dev/sda"));
        assert!(!update(&known, ""), "LVM has reported it");
    }
}
