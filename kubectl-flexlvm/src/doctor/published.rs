//! Checks of PersistentVolumes and of mounts. Pure.

use crds::LogicalVolume;
use k8s_openapi::api::core::v1::{Event, PersistentVolume};
use kube::ResourceExt as _;

use super::check::{Check, Fault, Probe};
use super::facts::Facts;
use crate::objects::{affinity_hosts, hostname, option, volume_phase};
use crate::snapshot::kind::Kind;
use crate::snapshot::prune::is_ours;

/// Seconds after which an Event about a mount no longer describes the present: a kubelet repeats it
/// every two minutes.
const EVENT_SECONDS: i64 = 600;

/// What the driver reports about a program that the node lacks.
const NOT_INSTALLED: &str = "is not installed";

pub(super) const CHECKS: &[Check] = &[
    Check::fault(
        "persistent-volume-edited",
        "a PersistentVolume differs from its LogicalVolume, so the driver does not mount it",
        "restore it: kubectl get OBJECT -o yaml, set the differing fields, and kubectl replace --force after removing its finalizers; keep the option key",
        Probe::Rule(edited),
    ),
    Check::fault(
        "persistent-volume-mount-options",
        "a PersistentVolume has mountOptions, with which kubelets mount no flexVolume",
        "remove spec.mountOptions of OBJECT; set them in the StorageClass for new volumes",
        Probe::Rule(mount_options),
    ),
    Check::fault(
        "persistent-volume-without-node",
        "no node has the hostname label that a PersistentVolume names",
        "give the volume's node its former label kubernetes.io/hostname",
        Probe::Rule(unknown_host),
    ),
    Check::fault(
        "persistent-volume-without-volume",
        "a bound PersistentVolume has no LogicalVolume, so it can neither grow nor be removed",
        "restore the LogicalVolume from a backup (docs/operations.md); pods can use the volume meanwhile",
        Probe::Rule(without_volume),
    ),
    Check::fault(
        "persistent-volume-failed",
        "a PersistentVolume is Failed, so its space is not freed",
        "kubectl describe OBJECT; set its persistentVolumeReclaimPolicy to Retain to keep the data",
        Probe::Rule(failed),
    ),
    Check::fault(
        "mount-program-missing",
        "a node lacks a program that a mount needs, such as mkfs",
        "install the package on the node: lvm2, e2fsprogs, xfsprogs, btrfs-progs or util-linux",
        Probe::Rule(missing_programs),
    ),
    Check::fault(
        "mount-failed",
        "a kubelet can't mount a volume",
        "docs/driver.md lists the message with its remedy",
        Probe::Rule(failed_mounts),
    ),
];

/// Returns the faults of PersistentVolumes with FlexLVM's driver, or of FlexLVM's name.
fn each(
    facts: &Facts<'_>,
    fault: impl Fn(&str, &PersistentVolume) -> Option<String>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, volume) in &facts.snapshot.persistent_volumes {
        if let Some(detail) = fault(name, volume) {
            faults.push(Fault::new(format!("persistentvolume/{name}"), detail));
        }
    }
    faults
}

/// Returns how a PersistentVolume differs from what the controller wrote.
fn difference(volume: &PersistentVolume, of: &LogicalVolume) -> Option<String> {
    let name = volume.name_any();
    let source = volume.spec.as_ref()?.flex_volume.as_ref()?;
    if !is_ours(&source.driver) {
        return Some(format!(
            "its driver is {}, not {}",
            source.driver,
            flexvolume::DRIVER
        ));
    }
    let status = of.status.as_ref();
    let uuid = status.and_then(|status| status.uuid.as_deref());
    let expected = [
        (
            flexvolume::options::GROUP,
            Some(of.spec.volume_group.as_str()),
        ),
        (flexvolume::options::VOLUME, Some(name.as_str())),
        (flexvolume::options::UUID, uuid),
    ];
    for (key, expected) in expected {
        let Some(expected) = expected else {
            continue;
        };
        let actual = option(volume, key);
        if actual != Some(expected) {
            return Some(format!(
                "its option {key} is {}, not {expected}",
                actual.unwrap_or("missing")
            ));
        }
    }
    let fs_type = source.fs_type.as_deref();
    let expected = of.spec.filesystem.type_.as_str();
    (fs_type != Some(expected)).then(|| {
        format!(
            "its fsType is {}, not {expected}",
            fs_type.unwrap_or("missing")
        )
    })
}

fn edited(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |name, volume| {
        difference(volume, facts.snapshot.logical_volumes.get(name)?)
    })
}

fn mount_options(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |_, volume| {
        let options = volume.spec.as_ref()?.mount_options.as_ref()?;
        (!options.is_empty()).then(|| format!("spec.mountOptions: {}", options.join(",")))
    })
}

fn unknown_host(facts: &Facts<'_>) -> Vec<Fault> {
    let snapshot = facts.snapshot;
    if !snapshot.is_readable(Kind::Nodes) {
        return Vec::new();
    }
    each(facts, |name, volume| {
        let hosts = affinity_hosts(volume);
        let mut nodes = snapshot.nodes.values().filter_map(hostname);
        if hosts.is_empty() || nodes.any(|host| hosts.contains(&host)) {
            return None;
        }
        // The finding about the node explains it.
        let of = snapshot.logical_volumes.get(name);
        if of.is_some_and(|of| facts.is_lost(&of.spec.node)) {
            return None;
        }
        Some(format!("it names {}", hosts.join(", ")))
    })
}

fn without_volume(facts: &Facts<'_>) -> Vec<Fault> {
    let snapshot = facts.snapshot;
    if !snapshot.is_readable(Kind::LogicalVolumes) {
        return Vec::new();
    }
    each(facts, |name, volume| {
        // A PersistentVolume that an admin wrote for a volume without a claim has any other name.
        let is_dynamic = name.starts_with(placement::claim::VOLUME_PREFIX);
        let exists = snapshot.logical_volumes.contains_key(name);
        (is_dynamic && volume_phase(volume) == "Bound" && !exists)
            .then(|| format!("LogicalVolume {name} does not exist"))
    })
}

fn failed(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |_, volume| {
        let message = volume.status.as_ref()?.message.clone();
        (volume_phase(volume) == "Failed").then(|| message.unwrap_or_default())
    })
}

/// Returns true if an Event is recent.
fn is_recent(event: &Event, facts: &Facts<'_>) -> bool {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let last = last.or_else(|| event.event_time.as_ref().map(|time| time.0));
    last.is_none_or(|last| facts.snapshot.now.duration_since(last).as_secs() < EVENT_SECONDS)
}

/// Returns true if a kubelet's message is about a volume of FlexLVM: it has the driver's name, or
/// that of a PersistentVolume.
fn names_volume(message: &str, facts: &Facts<'_>) -> bool {
    const UUID: usize = 36;
    if message.contains(crds::GROUP) {
        return true;
    }
    let prefix = placement::claim::VOLUME_PREFIX;
    message.match_indices(prefix).any(|(start, _)| {
        let name = message.get(start..start + prefix.len() + UUID);
        name.is_some_and(|name| facts.snapshot.persistent_volumes.contains_key(name))
    })
}

/// Finds pods whose last mount of a volume of FlexLVM failed.
fn mounts(facts: &Facts<'_>, is: impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for event in &facts.snapshot.events {
        let message = event.message.as_deref().unwrap_or_default();
        let is_mount = event.reason.as_deref() == Some("FailedMount");
        if is_mount && names_volume(message, facts) && is(message) && is_recent(event, facts) {
            let pod = &event.involved_object;
            let object = format!("pod/{}", pod.name.as_deref().unwrap_or_default());
            let namespace = pod.namespace.as_deref().unwrap_or_default();
            faults.push(Fault::new(
                object,
                format!("namespace {namespace}: {message}"),
            ));
        }
    }
    faults.dedup();
    faults
}

fn missing_programs(facts: &Facts<'_>) -> Vec<Fault> {
    mounts(facts, |message| message.contains(NOT_INSTALLED))
}

fn failed_mounts(facts: &Facts<'_>) -> Vec<Fault> {
    mounts(facts, |message| !message.contains(NOT_INSTALLED))
}
