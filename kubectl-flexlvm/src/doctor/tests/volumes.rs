//! Faults of volumes, PersistentVolumes, mounts and claims.

use serde_json::{Value, json};

use super::{Seed, seed};
use crate::fixture::{NOW, VOLUME, condition};

fn volume_key() -> String {
    format!("LogicalVolume/{VOLUME}")
}

/// Returns the seed of a change of the volume.
fn volume(check: &'static str, change: Value) -> Seed {
    seed(check, [(volume_key().as_str(), change)])
}

/// Returns the seed of a condition of the volume that is False.
fn reason(check: &'static str, type_: &str, reason: &str) -> Seed {
    let mut conditions = vec![condition(type_, "False", reason, "why")];
    if type_ != "Ready" {
        conditions.push(condition("Ready", "True", "Ready", "Ready"));
    }
    volume(check, json!({"status": {"conditions": conditions}}))
}

/// Returns the seed of a change of the PersistentVolume.
fn published(check: &'static str, change: Value) -> Seed {
    seed(
        check,
        [(format!("PersistentVolume/{VOLUME}").as_str(), change)],
    )
}

/// Returns the seed of a claim that waits, with further changes.
fn claim<const N: usize>(check: &'static str, spec: Value, further: [(&str, Value); N]) -> Seed {
    let mut waiting = json!({"storageClassName": "fast", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}});
    for (key, value) in spec.as_object().unwrap() {
        waiting[key] = value.clone();
    }
    let annotations = json!({"volume.kubernetes.io/storage-provisioner": "flexlvm.dev",
        "volume.kubernetes.io/selected-node": "n1"});
    let metadata = json!({"namespace": "shop", "uid": "u2", "annotations": annotations});
    let claim = json!({"metadata": metadata, "spec": waiting, "status": {"phase": "Pending"}});
    let mut seed = seed(check, further);
    let key = "PersistentVolumeClaim/more".to_owned();
    seed.patches.insert(0, (key, claim));
    seed
}

fn mount(check: &'static str, message: &str) -> Seed {
    let event = json!({"metadata": {"namespace": "shop"}, "reason": "FailedMount",
        "message": message, "lastTimestamp": NOW,
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web"}});
    seed(check, [("Event/web", event)])
}

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = volumes();
    seeds.extend(further());
    seeds.extend(published_and_mounted());
    seeds.extend(claims());
    seeds
}

fn volumes() -> Vec<Seed> {
    vec![
        reason("volume-failed", "Healthy", "Failed"),
        reason("volume-degraded", "Healthy", "Degraded"),
        reason("volume-cache-failed", "Healthy", "CacheFailed"),
        reason("volume-integrity", "Healthy", "IntegrityMismatches"),
        reason("volume-images", "Healthy", "ImageMismatches"),
        reason("volume-pool-full", "Healthy", "PoolFull"),
        reason("volume-pool-metadata-full", "Healthy", "PoolMetadataFull"),
        reason("volume-pool-read-only", "Healthy", "PoolReadOnly"),
        reason("volume-read-only", "Healthy", "ReadOnly"),
        reason("volume-resyncing", "Healthy", "Resyncing"),
        reason("volume-abandoned", "Ready", "Abandoned"),
        reason("volume-missing", "Ready", "LogicalVolumeMissing"),
        reason("volume-device-outdated", "Ready", "DeviceOutdated"),
        reason("volume-foreign", "Ready", "ForeignLogicalVolume"),
        reason("volume-not-empty", "Ready", "NotEmpty"),
        reason("volume-create-failed", "Ready", "CreateFailed"),
        reason("volume-no-space", "Ready", "InsufficientSpace"),
        reason("volume-lvm-failed", "Ready", "LvmFailed"),
        reason("volume-invalid", "Ready", "InvalidSpec"),
        reason("volume-removal-waits", "Removed", "InUse"),
        reason("volume-removal-failed", "Removed", "LvmFailed"),
        reason("volume-deletion-blocked", "Removed", "DeletionBlocked"),
        reason("volume-erase-failed", "Removed", "EraseFailed"),
        reason("volume-job-stalled", "Progressing", "JobStalled"),
        reason("volume-job-failed", "Progressing", "JobFailed"),
    ]
}

fn further() -> Vec<Seed> {
    let retained = json!({"spec": {"reclaimPolicy": "Retain",
        "currentClaim": {"name": "gone", "namespace": "shop", "uid": "u0"}}});
    vec![
        volume("volume-not-reported", json!({"status": {"conditions": []}})),
        volume("volume-unlabelled", json!({"metadata": {"labels": null}})),
        published("volume-not-published", Value::Null),
        volume("volume-kept", retained),
    ]
}

fn published_and_mounted() -> Vec<Seed> {
    let options = |options: Value| json!({"spec": {"flexVolume": {"options": options}}});
    let host = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": ["old"]}]);
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": host}]}});
    let other = format!("PersistentVolume/{VOLUME}x");
    let source = json!({"driver": "flexlvm.dev/lvm", "options": {}});
    let without = json!({"spec": {"flexVolume": source}, "status": {"phase": "Bound"}});
    let program = "MountVolume.SetUp failed for volume \"data\": flexlvm.dev/lvm: mkfs.xfs could \
        not be started: it is not installed: not found in /sbin";
    vec![
        published(
            "persistent-volume-edited",
            options(json!({"uuid": "other"})),
        ),
        published(
            "persistent-volume-edited",
            options(json!({"volumegroup": "vg1"})),
        ),
        published(
            "persistent-volume-edited",
            json!({"spec": {"flexVolume": {"driver": "other/driver"}}}),
        ),
        published(
            "persistent-volume-mount-options",
            json!({"spec": {"mountOptions": ["noatime"]}}),
        ),
        published(
            "persistent-volume-without-node",
            json!({"spec": {"nodeAffinity": affinity}}),
        ),
        seed(
            "persistent-volume-without-volume",
            [(other.as_str(), without)],
        ),
        published(
            "persistent-volume-failed",
            json!({"status": {"phase": "Failed", "message": "no plugin"}}),
        ),
        mount("mount-program-missing", program),
        mount(
            "mount-failed",
            "flexlvm.dev/lvm: the volume is in use elsewhere",
        ),
    ]
}

fn claims() -> Vec<Seed> {
    let size = |size: &str| json!({"resources": {"requests": {"storage": size}}});
    let stopped = json!({"reason": "ProvisioningFailed", "message":
            "Secret flexlvm-system/flexlvm-volume-keys has 0 bytes in entry hmac",
        "source": {"component": "flexlvm.dev"}, "involvedObject":
            {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": "more"}});
    vec![
        claim(
            "claim-invalid",
            json!({"accessModes": ["ReadWriteMany"]}),
            [],
        ),
        claim(
            "claim-invalid",
            size("2Gi"),
            [(
                "StorageBackend/fast",
                json!({"spec": {"volumeSize": {"maximum": "1Gi"}}}),
            )],
        ),
        claim("claim-without-space", size("1Ti"), []),
        claim("claim-not-served", json!({}), []),
        claim(
            "claim-lost",
            json!({"volumeName": "pvc-lost"}),
            [(
                "PersistentVolumeClaim/more",
                json!({"status": {"phase": "Lost"}}),
            )],
        ),
        seed(
            "claim-growth-waits",
            [("PersistentVolumeClaim/data", json!({"spec": size("20Gi")}))],
        ),
        claim("key-secret-unusable", json!({}), [("Event/more", stopped)]),
    ]
}
