//! Metrics of volume groups. Pure.

use std::fmt;

use host::lvm::statistics::GroupStatistics;

use crate::metrics::series::{Gauge, Scrape, Value};

/// A gauge of volume groups, and its value; `None` if LVM did not report it.
type GroupGauge = (Gauge<1>, fn(&GroupStatistics) -> Option<u64>);

const fn of_group(name: &'static str, help: &'static str) -> Gauge<1> {
    Gauge::new(name, help, ["volume_group"])
}

const NUMBERS: [GroupGauge; 13] = [
    (
        of_group(
            "flexlvm_volume_group_size_bytes",
            "Total size of the volume group's extents.",
        ),
        GroupStatistics::size,
    ),
    (
        of_group(
            "flexlvm_volume_group_free_bytes",
            "Size of the extents that no logical volume occupies, reserved or not.",
        ),
        GroupStatistics::free,
    ),
    (
        of_group(
            "flexlvm_volume_group_logical_volumes",
            "Number of logical volumes, without LVM's internal ones.",
        ),
        |group| u64::try_from(group.volumes.len()).ok(),
    ),
    (
        of_group(
            "flexlvm_volume_group_maximum_logical_volumes",
            "Maximum number of logical volumes; 0 without a limit.",
        ),
        |group| group.max_volumes,
    ),
    (
        of_group(
            "flexlvm_volume_group_snapshots",
            "Number of snapshots, without thin snapshots.",
        ),
        |group| group.snapshots,
    ),
    (
        of_group(
            "flexlvm_volume_group_physical_volumes",
            "Number of physical volumes.",
        ),
        |group| u64::try_from(group.disks.len()).ok(),
    ),
    (
        of_group(
            "flexlvm_volume_group_maximum_physical_volumes",
            "Maximum number of physical volumes; 0 without a limit.",
        ),
        |group| group.max_disks,
    ),
    (
        of_group(
            "flexlvm_volume_group_missing_physical_volumes",
            "Number of physical volumes whose device is missing.",
        ),
        |group| group.missing_disks,
    ),
    (
        of_group(
            "flexlvm_volume_group_metadata_areas",
            "Number of metadata areas on its physical volumes.",
        ),
        |group| group.metadata_areas,
    ),
    (
        of_group(
            "flexlvm_volume_group_used_metadata_areas",
            "Number of metadata areas that LVM writes to.",
        ),
        |group| group.used_metadata_areas,
    ),
    (
        of_group(
            "flexlvm_volume_group_metadata_size_bytes",
            "Size of the smallest metadata area.",
        ),
        |group| group.metadata_size,
    ),
    (
        of_group(
            "flexlvm_volume_group_metadata_free_bytes",
            "Free space of the fullest metadata area; a full one prevents changes.",
        ),
        |group| group.metadata_free,
    ),
    (
        of_group(
            "flexlvm_volume_group_extent_size_bytes",
            "Size of one extent.",
        ),
        |group| group.extent_size,
    ),
];

const PERMISSION: Gauge<2> = Gauge::new(
    "flexlvm_volume_group_permission",
    "Permission of the volume group, writeable or read-only; always 1.",
    ["volume_group", "permission"],
);

const ALLOCATION_POLICY: Gauge<2> = Gauge::new(
    "flexlvm_volume_group_allocation_policy",
    "LVM's allocation policy of the volume group, such as normal; always 1.",
    ["volume_group", "policy"],
);

/// Writes the samples of these volume groups.
pub(super) fn samples(scrape: &mut Scrape<'_>, groups: &[&GroupStatistics]) -> fmt::Result {
    for (gauge, value) in &NUMBERS {
        let mut samples = Vec::with_capacity(groups.len());
        for group in groups {
            if let Some(value) = value(group) {
                samples.push(([group.name.as_str()], value.into()));
            }
        }
        scrape.gauge(gauge, samples)?;
    }
    let mut permissions = Vec::new();
    let mut policies = Vec::new();
    for group in groups {
        if !group.permissions.is_empty() {
            permissions.push(([group.name.as_str(), &group.permissions], Value::ONE));
        }
        if !group.allocation_policy.is_empty() {
            policies.push(([group.name.as_str(), &group.allocation_policy], Value::ONE));
        }
    }
    scrape.gauge(&PERMISSION, permissions)?;
    scrape.gauge(&ALLOCATION_POLICY, policies)
}
