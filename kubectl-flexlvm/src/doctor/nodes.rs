//! Checks of nodes: whether they are up, LVM works, and the kubelet has the driver. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crds::condition::{self, DRIVER_INSTALLED, KUBELET_READY, READY, reason};
use crds::layout::LayoutType;
use crds::logical_volume::State;

use super::check::{Check, Fault, Probe};
use super::facts::Facts;
use crate::objects::{hostname, storage_conditions};
use crate::snapshot::kind::Kind;

/// The oldest LVM that reports what the agent reads, without mixing it with warnings.
const OLDEST_LVM: [u32; 3] = [2, 2, 165];

/// The oldest LVM that creates volumes with a cache as the agent does.
const OLDEST_LVM_FOR_CACHES: [u32; 3] = [2, 3, 0];

/// What LVM prints about a device that its devices file excludes or does not match.
const DEVICES_FILE: &str = "devices file";

pub(super) const CHECKS: &[Check] = &[
    Check::fault(
        "node-gone",
        "volumes are on a node that no longer exists",
        "if the node does not come back: kubectl flexlvm release-node NAME (docs/operations.md, a node is lost)",
        Probe::Rule(gone_nodes),
    ),
    Check::fault(
        "node-not-ready",
        "a node with volumes, or of a backend, is not Ready",
        "kubectl describe OBJECT; if it does not come back, follow docs/operations.md, a node is lost",
        Probe::Rule(down_nodes),
    ),
    Check::fault(
        "hostname-duplicate",
        "several nodes have the same hostname label: pods may start where their volume is not",
        "give each node its own label kubernetes.io/hostname (kubelet --hostname-override, then kubectl label node)",
        Probe::Rule(duplicate_hostnames),
    ),
    Check::fault(
        "hostname-missing",
        "a node has no hostname label, so no volume can be bound to it",
        "kubectl label OBJECT kubernetes.io/hostname=NAME",
        Probe::Rule(missing_hostnames),
    ),
    Check::fault(
        "lvm-hangs",
        "an LVM command hangs: nothing is created, expanded or removed on the node",
        "follow docs/operations.md, LVM hangs; never kill -9 the command",
        Probe::Node(READY, reason::LVM_HANGS),
    ),
    Check::fault(
        "lvm-failed",
        "LVM fails on a node",
        "run the LVM command of the message on the node, and correct what it reports",
        Probe::Node(READY, reason::LVM_FAILED),
    ),
    Check::fault(
        "node-storage-not-ready",
        "a node can't provide volumes",
        "kubectl get nodestorage NAME -o yaml: the message of the condition Ready",
        Probe::Rule(other_unready),
    ),
    Check::fault(
        "lvm-too-old",
        "the LVM of a node is too old",
        "upgrade the package lvm2 of the node to 2.02.165 or later, for caches to 2.03 or later",
        Probe::Rule(old_lvm),
    ),
    Check::warning(
        "lvm-devices-file",
        "LVM's devices file does not match a device of the node",
        "on the node: lvmdevices --check, then lvmdevices --adddev DEVICE or --deldev for disks that are gone",
        Probe::Rule(devices_file_warnings),
    ),
    Check::warning(
        "lvm-warning",
        "LVM warns on a node",
        "run vgs and pvs on the node: LVM prints the warning with its context",
        Probe::Rule(lvm_warnings),
    ),
    Check::fault(
        "driver-not-installed",
        "the driver can't be installed on a node",
        "correct what the message names: usually a plugin folder that is read-only or full (docs/limitations.md)",
        Probe::Node(DRIVER_INSTALLED, reason::INSTALL_FAILED),
    ),
    Check::warning(
        "driver-change-waits",
        "the attach mode or a name of the driver changes once no volume is mounted on a node",
        "kubectl drain NAME, and kubectl uncordon NAME afterwards",
        Probe::Node(DRIVER_INSTALLED, reason::VOLUMES_MOUNTED),
    ),
    Check::fault(
        "kubelet-driver-not-loaded",
        "the kubelet never called the driver: the node gets no new volumes",
        "on the node: journalctl -u kubelet | grep -i flexvolume, then restart the kubelet",
        Probe::Node(KUBELET_READY, reason::DRIVER_NOT_LOADED),
    ),
    Check::fault(
        "kubelet-plugin-folder-noexec",
        "the driver can't be executed in the kubelet's plugin folder",
        "mount the folder's file system with exec, or move the folder (volumePluginDir) and restart the kubelet",
        Probe::Node(KUBELET_READY, reason::DRIVER_NOT_EXECUTABLE),
    ),
    Check::fault(
        "kubelet-not-found",
        "the agent finds no kubelet on a node",
        "start the kubelet; if it is part of another program, set FLEXLVM_PLUGIN_DIR of the agents",
        Probe::Node(KUBELET_READY, reason::KUBELET_NOT_FOUND),
    ),
    Check::fault(
        "kubelet-plugin-folder-unknown",
        "the agent can't read which plugin folder the kubelet uses",
        "set FLEXLVM_PLUGIN_DIR of the agents to the kubelet's volumePluginDir",
        Probe::Node(KUBELET_READY, reason::PLUGIN_FOLDER_UNKNOWN),
    ),
    Check::fault(
        "kubelet-plugin-folder-other",
        "the kubelet uses another plugin folder than the agents are set to",
        "remove FLEXLVM_PLUGIN_DIR of the agents, or set it to the kubelet's folder",
        Probe::Node(KUBELET_READY, reason::OTHER_PLUGIN_FOLDER),
    ),
    Check::fault(
        "orphaned-volume",
        "a logical volume has the tag of a claim, and no LogicalVolume describes it",
        "use its data (kubectl flexlvm adopt), or remove its tag; kubectl flexlvm orphans -o wide has both commands",
        Probe::Rule(orphans),
    ),
];

fn gone_nodes(facts: &Facts<'_>) -> Vec<Fault> {
    if !facts.snapshot.is_readable(Kind::Nodes) {
        return Vec::new();
    }
    let mut volumes: BTreeMap<&str, usize> = BTreeMap::new();
    for volume in facts.snapshot.logical_volumes.values() {
        let node = volume.spec.node.as_str();
        let is_released = volume.spec.state == State::Abandoned;
        if !is_released && !facts.snapshot.nodes.contains_key(node) {
            *volumes.entry(node).or_default() += 1;
        }
    }
    volumes
        .into_iter()
        .map(|(node, count)| {
            Fault::new(format!("node/{node}"), format!("{count} volumes are on it"))
        })
        .collect()
}

fn down_nodes(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, node) in &facts.snapshot.nodes {
        if !facts.is_lost(name) {
            continue;
        }
        let volumes = facts.snapshot.volumes_on(name).count();
        let mut backends = facts.snapshot.backends.values();
        if volumes > 0 || backends.any(|backend| facts.serves(backend, node)) {
            let detail = format!("its kubelet does not report; {volumes} volumes are on it");
            faults.push(Fault::new(format!("node/{name}"), detail));
        }
    }
    faults
}

fn duplicate_hostnames(facts: &Facts<'_>) -> Vec<Fault> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, node) in &facts.snapshot.nodes {
        if let Some(hostname) = hostname(node) {
            nodes.entry(hostname).or_default().push(name);
        }
    }
    let mut faults = Vec::new();
    for (hostname, names) in nodes {
        if let [first, _, ..] = names.as_slice() {
            let detail = format!(
                "kubernetes.io/hostname={hostname} is the label of {}",
                names.join(" and ")
            );
            faults.push(Fault::new(format!("node/{first}"), detail));
        }
    }
    faults
}

fn missing_hostnames(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for node in facts.storage_nodes() {
        let node_object = facts.snapshot.nodes.get(node);
        if node_object.is_some_and(|node| hostname(node).is_none()) {
            let detail = "it has no label kubernetes.io/hostname";
            faults.push(Fault::new(format!("node/{node}"), detail));
        }
    }
    faults
}

/// Finds NodeStorages that are not ready for a reason without a check of its own.
fn other_unready(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, storage) in &facts.snapshot.storages {
        let Some(ready) = condition::get(storage_conditions(storage), READY) else {
            continue;
        };
        let has_own_check = [reason::LVM_HANGS, reason::LVM_FAILED].contains(&&*ready.reason);
        if ready.status != "True" && !has_own_check && !facts.is_lost(name) {
            faults.push(Fault::new(format!("node/{name}"), &ready.message));
        }
    }
    faults
}

/// Returns the numbers of a version such as `2.03.16(2)`.
fn version(text: &str) -> Option<[u32; 3]> {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.map_while(|number| number.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

fn old_lvm(facts: &Facts<'_>) -> Vec<Fault> {
    let with_caches: BTreeSet<String> = facts
        .places
        .iter()
        .filter(|place| place.backend.spec.layout.type_ == LayoutType::Cached)
        .filter_map(|place| place.node.metadata.name.clone())
        .collect();
    let mut faults = Vec::new();
    for (name, storage) in &facts.snapshot.storages {
        let status = storage.status.as_ref();
        let Some(text) = status.and_then(|status| status.lvm_version.as_deref()) else {
            continue;
        };
        let oldest = if with_caches.contains(name) {
            OLDEST_LVM_FOR_CACHES
        } else {
            OLDEST_LVM
        };
        if version(text).is_some_and(|version| version < oldest) {
            faults.push(Fault::new(
                format!("node/{name}"),
                format!("it has LVM {text}"),
            ));
        }
    }
    faults
}

/// Returns LVM's warnings on nodes that are up.
fn warnings(facts: &Facts<'_>, is: impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, storage) in &facts.snapshot.storages {
        let warnings = storage
            .status
            .iter()
            .flat_map(|status| &status.lvm_warnings);
        for warning in warnings.filter(|warning| is(warning)) {
            if !facts.is_lost(name) {
                faults.push(Fault::new(format!("node/{name}"), warning));
            }
        }
    }
    faults
}

fn devices_file_warnings(facts: &Facts<'_>) -> Vec<Fault> {
    warnings(facts, |warning| {
        warning.to_lowercase().contains(DEVICES_FILE)
    })
}

fn lvm_warnings(facts: &Facts<'_>) -> Vec<Fault> {
    warnings(facts, |warning| {
        !warning.to_lowercase().contains(DEVICES_FILE)
    })
}

fn orphans(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, storage) in &facts.snapshot.storages {
        for orphan in storage.status.iter().flat_map(|status| &status.orphans) {
            let claim = orphan.claim.as_deref().unwrap_or(&orphan.claim_uid);
            let detail = format!(
                "logical volume {}/{} of claim {claim}",
                orphan.volume_group, orphan.name
            );
            faults.push(Fault::new(format!("node/{name}"), detail));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::{OLDEST_LVM, version};

    #[test]
    fn versions_of_lvm_are_compared_by_number() {
        assert_eq!(version("2.03.16(2)"), Some([2, 3, 16]));
        assert!(version("2.02.98(2)-RHEL6").unwrap() < OLDEST_LVM);
        assert!(version("2.02.165").unwrap() >= OLDEST_LVM);
        assert_eq!(version("unknown"), None);
    }
}
