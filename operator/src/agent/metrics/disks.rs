//! Metrics of physical volumes. Pure.

use std::fmt;

use host::lvm::statistics::{DiskStatistics, GroupStatistics};

use crate::metrics::series::{Gauge, Scrape};

/// A gauge of physical volumes, and its value; `None` if LVM did not report it.
type DiskGauge = (
    Gauge<3>,
    fn(&GroupStatistics, &DiskStatistics) -> Option<u64>,
);

const fn of_disk(name: &'static str, help: &'static str) -> Gauge<3> {
    Gauge::new(name, help, ["volume_group", "device", "uuid"])
}

const NUMBERS: [DiskGauge; 8] = [
    (
        of_disk(
            "flexlvm_physical_volume_size_bytes",
            "Total size of the physical volume's extents.",
        ),
        |group, disk| group.bytes(disk.extents),
    ),
    (
        of_disk(
            "flexlvm_physical_volume_used_bytes",
            "Size of its extents that logical volumes occupy.",
        ),
        |group, disk| group.bytes(disk.allocated_extents),
    ),
    (
        of_disk(
            "flexlvm_physical_volume_free_bytes",
            "Size of its extents that no logical volume occupies, reserved or not.",
        ),
        |group, disk| group.bytes(disk.extents?.checked_sub(disk.allocated_extents?)),
    ),
    (
        of_disk(
            "flexlvm_physical_volume_device_size_bytes",
            "Size of the underlying device.",
        ),
        |_, disk| disk.device_size,
    ),
    (
        of_disk(
            "flexlvm_physical_volume_metadata_size_bytes",
            "Size of its smallest metadata area.",
        ),
        |_, disk| disk.metadata_size,
    ),
    (
        of_disk(
            "flexlvm_physical_volume_metadata_free_bytes",
            "Free space of its fullest metadata area.",
        ),
        |_, disk| disk.metadata_free,
    ),
    (
        of_disk(
            "flexlvm_physical_volume_missing",
            "1 if the device is missing, else 0.",
        ),
        |_, disk| Some(disk.is_missing().into()),
    ),
    (
        of_disk(
            "flexlvm_physical_volume_allocatable",
            "1 if LVM may allocate its free extents, else 0.",
        ),
        |_, disk| Some(disk.is_allocatable().into()),
    ),
];

/// Writes the samples of the physical volumes of these volume groups.
pub(super) fn samples(scrape: &mut Scrape<'_>, groups: &[&GroupStatistics]) -> fmt::Result {
    for (gauge, value) in &NUMBERS {
        let mut samples = Vec::new();
        for group in groups {
            for disk in &group.disks {
                if let Some(value) = value(group, disk) {
                    let labels = [group.name.as_str(), disk.name.as_str(), disk.uuid.as_str()];
                    samples.push((labels, value.into()));
                }
            }
        }
        scrape.gauge(gauge, samples)?;
    }
    Ok(())
}
