//! Finds the physical volumes for caches: device names change at each boot, so StorageBackends list
//! stable paths, which only the node can resolve.

use std::collections::{BTreeMap, BTreeSet};

use crds::StorageBackend;
use host::lvm::Vg;

use crate::agent::volumes::device::Devices;

/// Returns the backends' paths by the device's name in LVM.
#[must_use]
pub fn find(
    backends: &[impl AsRef<StorageBackend>],
    groups: &[Vg],
    devices: &dyn Devices,
) -> BTreeMap<String, Vec<String>> {
    let named = backends
        .iter()
        .filter_map(|backend| Some((backend.as_ref(), backend.as_ref().spec.cache.as_ref()?)));
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (backend, cache) in named {
        let disks = groups
            .iter()
            .filter(|vg| vg.name == backend.spec.volume_group)
            .flat_map(|vg| &vg.pvs);
        for disk in disks {
            let paths = cache
                .devices
                .iter()
                .filter(|path| **path == disk.name || devices.is_same(&disk.name, path));
            if paths.clone().next().is_none() {
                continue;
            }
            found
                .entry(disk.name.clone())
                .or_default()
                .extend(paths.cloned());
        }
    }
    found
        .into_iter()
        .map(|(disk, paths)| (disk, paths.into_iter().collect()))
        .collect()
}
