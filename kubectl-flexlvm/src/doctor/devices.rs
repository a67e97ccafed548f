//! Checks of the devices from which agents create volume groups. Pure.

use crds::devices::{NodeDevice, reason as device};
use kube::ResourceExt as _;

use super::check::{Check, Fault, Probe};
use super::facts::Facts;

pub(super) const CHECKS: &[Check] = &[
    Check::fault(
        "device-has-data",
        "a device of a backend carries data, so no volume group is created from it",
        "only if nothing on it is needed: the command in the message erases it",
        Probe::Rule(devices_with_data),
    ),
    Check::fault(
        "device-unusable",
        "a device of a backend can't be used for a volume group",
        "correct what the message names, or take the device off spec.devices of the backend",
        Probe::Rule(unusable_devices),
    ),
    Check::fault(
        "device-conflict",
        "a device is listed for two volume groups",
        "take it off spec.devices of one of the backends",
        Probe::Rule(contested_devices),
    ),
    Check::fault(
        "devices-not-found",
        "a node has none of the devices of a backend",
        "correct spec.devices: use names of /dev/disk/by-id that exist on the node",
        Probe::Rule(devices_not_found),
    ),
    Check::fault(
        "volume-group-create-failed",
        "LVM could not create a volume group",
        "correct what LVM reports on the node",
        Probe::Rule(failed_creations),
    ),
];

/// Returns the devices that backends list on a node for a volume group that it doesn't have.
pub(super) fn missing_devices<'a>(
    facts: &'a Facts<'_>,
    node: &str,
    group: &str,
) -> Vec<&'a NodeDevice> {
    let status = facts
        .snapshot
        .storages
        .get(node)
        .and_then(|it| it.status.as_ref());
    let exists =
        status.is_some_and(|status| status.volume_groups.iter().any(|it| it.name == group));
    let devices = status.into_iter().flat_map(|status| &status.devices);
    devices
        .filter(|device| !exists && device.volume_group == group && !device.in_volume_group)
        .collect()
}

/// Returns true if the volume group was on the node before.
pub(super) fn has_vanished(facts: &Facts<'_>, node: &str, group: &str) -> bool {
    let status = facts
        .snapshot
        .storages
        .get(node)
        .and_then(|it| it.status.as_ref());
    status.is_some_and(|status| status.missing_volume_groups.iter().any(|it| it == group))
}

/// Finds devices with one of these reasons, on nodes that lack the volume group.
fn devices(facts: &Facts<'_>, reasons: &[&str]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for place in &facts.places {
        let node = place.node.name_any();
        let group = place.backend.spec.volume_group.as_str();
        for device in missing_devices(facts, &node, group) {
            let reason = device.reason.as_deref().unwrap_or_default();
            if reasons.contains(&reason) && !has_vanished(facts, &node, group) {
                let message = device.message.as_deref().unwrap_or(reason);
                let detail = format!("{} for volume group {group}: {message}", device.path);
                faults.push(Fault::new(format!("node/{node}"), detail));
            }
        }
    }
    faults
}

fn devices_with_data(facts: &Facts<'_>) -> Vec<Fault> {
    devices(
        facts,
        &[
            device::NOT_BLANK,
            device::PARTITIONED,
            device::PHYSICAL_VOLUME,
        ],
    )
}

fn unusable_devices(facts: &Facts<'_>) -> Vec<Fault> {
    let reasons = [
        device::NOT_A_BLOCK_DEVICE,
        device::UNREADABLE,
        device::READ_ONLY,
        device::IN_USE,
        device::TOO_SMALL,
        device::DUPLICATE_DEVICE,
        device::SECTOR_SIZE,
    ];
    devices(facts, &reasons)
}

fn contested_devices(facts: &Facts<'_>) -> Vec<Fault> {
    devices(facts, &[device::CONFLICT])
}

fn failed_creations(facts: &Facts<'_>) -> Vec<Fault> {
    devices(facts, &[device::CREATE_FAILED])
}

fn devices_not_found(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for place in &facts.places {
        let node = place.node.name_any();
        let group = place.backend.spec.volume_group.as_str();
        let missing = missing_devices(facts, &node, group);
        let not_found = missing
            .iter()
            .filter(|it| it.reason.as_deref() == Some(device::NOT_FOUND))
            .count();
        if not_found > 0 && not_found == missing.len() && !has_vanished(facts, &node, group) {
            let detail = format!(
                "for StorageBackend {}, none of {not_found} devices exists",
                place.backend.name_any()
            );
            faults.push(Fault::new(format!("node/{node}"), detail));
        }
    }
    faults
}
