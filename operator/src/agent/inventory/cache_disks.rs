//! Finds the physical volumes for caches: device names change at each boot, so StorageBackends list
//! stable paths, which only the node can resolve.

use std::collections::{BTreeMap, BTreeSet};

use crds::StorageBackend;
use host::lvm::Vg;
use host::{DevNum, DevicePath};

/// Returns the backends' paths by the device's name in LVM.
///
/// `number_at` returns the number of the block device at a path of the node.
#[must_use]
pub fn find(
    backends: &[impl AsRef<StorageBackend>],
    groups: &[Vg],
    number_at: impl Fn(&DevicePath) -> Option<DevNum>,
) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for backend in backends {
        let spec = &backend.as_ref().spec;
        let Some(cache) = &spec.cache else { continue };
        let of_backend = groups.iter().filter(|vg| vg.name == spec.volume_group);
        for disk in of_backend.flat_map(|vg| &vg.pvs) {
            // LVM's name for a missing disk is not a path.
            let Ok(name) = DevicePath::new(disk.name.as_str()) else {
                continue;
            };
            let number = number_at(&name);
            for path in &cache.devices {
                if leads_to(path, &name, number, &number_at) {
                    let paths = found.entry(disk.name.clone()).or_default();
                    paths.insert(path.clone());
                }
            }
        }
    }
    found
        .into_iter()
        .map(|(disk, paths)| (disk, paths.into_iter().collect()))
        .collect()
}

/// Returns whether a backend's path leads to the disk with this name and number.
fn leads_to(
    path: &str,
    name: &DevicePath,
    number: Option<DevNum>,
    number_at: impl Fn(&DevicePath) -> Option<DevNum>,
) -> bool {
    let Ok(path) = DevicePath::new(path) else {
        return false;
    };
    path == *name || (number.is_some() && number_at(&path) == number)
}

#[cfg(test)]
mod tests {
    use super::find;
    use crds::StorageBackend;
    use host::lvm::{Pv, Vg};
    use host::{Bytes, DevNum, DevicePath, Extents, LvUuid};
    use serde_json::json;
    use std::sync::Arc;

    fn uuid(number: u32) -> LvUuid {
        LvUuid::from_plain(&format!("{number:032}")).unwrap()
    }

    fn group(disks: &[&str]) -> Vg {
        let pvs = disks.iter().map(|name| Pv {
            uuid: uuid(1),
            name: (*name).to_owned(),
            extents: Extents(10),
            free: Extents(10),
            allocatable: true,
            is_missing: false,
        });
        Vg {
            name: "vg0".to_owned(),
            uuid: uuid(0),
            extent_size: Bytes(4 << 20),
            extents: Extents(10),
            free: Extents(10),
            fault: None,
            change_fault: None,
            max_lvs: None,
            lvs: Vec::new(),
            pvs: pvs.collect(),
            system_id: String::new(),
            internal: vec![],
            seqno: 1,
        }
    }

    fn backend(group: &str, devices: &[&str]) -> Arc<StorageBackend> {
        let object = json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": "b"},
            "spec": {"volumeGroup": group, "layout": {"type": "Cached"}, "cache": {"devices": devices, "size": "1Gi"}},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn number_at(path: &DevicePath) -> Option<DevNum> {
        match path.as_str() {
            "/dev/sdb" | "/dev/disk/by-id/fast" => Some(DevNum::new(8, 16)),
            "/dev/sdc" | "/dev/disk/by-id/slow" => Some(DevNum::new(8, 32)),
            _ => None,
        }
    }

    #[test]
    fn cache_disks_are_found_by_every_path_that_leads_to_them() {
        let groups = [group(&["/dev/sdb", "/dev/sdc", "/dev/sdd", "[unknown]"])];
        let listed = [
            "/dev/disk/by-id/fast",
            "/dev/disk/by-id/none",
            "/dev/sdb",
            "/dev/sdd",
            "/dev//sdc",
            "[unknown]",
        ];
        let found = find(&[backend("vg0", &listed)], &groups, number_at);
        let found: Vec<(&str, Vec<&str>)> = found
            .iter()
            .map(|(disk, paths)| (disk.as_str(), paths.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            found,
            [
                ("/dev/sdb", vec!["/dev/disk/by-id/fast", "/dev/sdb"]),
                // Its name is enough if it can't be resolved.
                ("/dev/sdd", vec!["/dev/sdd"]),
            ]
        );
        assert!(find(&[backend("vg1", &listed)], &groups, number_at).is_empty());
    }
}
