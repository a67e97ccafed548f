//! Stable paths of the node's physical volumes.

use std::collections::BTreeMap;

use host::lvm::Vg;
use host::{DevNum, DevicePath};

use crate::agent::volumes::device::Devices;

/// The stable paths, searched again only after the disks have changed: a node with many disks has
/// hundreds of links, and each change of a volume builds the inventory.
#[derive(Debug, Default)]
pub struct DiskPaths {
    /// Names and numbers of the devices at the last search.
    numbers: BTreeMap<String, DevNum>,
    /// The result of the last search, by the device's name in LVM.
    paths: BTreeMap<String, String>,
}

impl DiskPaths {
    /// Returns a stable path of each physical volume that has any, by the device's name in LVM.
    pub fn find(&mut self, groups: &[Vg], devices: &dyn Devices) -> &BTreeMap<String, String> {
        let numbers = numbers(groups, |path| devices.number_at(path));
        if numbers != self.numbers {
            self.paths = by_name(&numbers, &devices.stable_paths());
            self.numbers = numbers;
        }
        &self.paths
    }
}

/// Returns the number of each physical volume's device, by its name in LVM; without missing ones.
fn numbers(
    groups: &[Vg],
    number_at: impl Fn(&DevicePath) -> Option<DevNum>,
) -> BTreeMap<String, DevNum> {
    let mut numbers = BTreeMap::new();
    for pv in groups.iter().flat_map(|vg| &vg.pvs) {
        // LVM's name for a missing disk is not a path.
        let Ok(path) = DevicePath::new(pv.name.as_str()) else {
            continue;
        };
        if let Some(number) = number_at(&path) {
            numbers.insert(pv.name.clone(), number);
        }
    }
    numbers
}

fn by_name(
    numbers: &BTreeMap<String, DevNum>,
    paths: &BTreeMap<DevNum, String>,
) -> BTreeMap<String, String> {
    let mut by_name = BTreeMap::new();
    for (name, number) in numbers {
        if let Some(path) = paths.get(number) {
            by_name.insert(name.clone(), path.clone());
        }
    }
    by_name
}
