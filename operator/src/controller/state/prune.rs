//! Which objects the watch caches keep, and which of their fields: those that the controller reads.
//! Pure.
//!
//! Tenants may write annotations of 256 KiB into each of their claims, for which the controller's
//! memory would not suffice.

use std::collections::BTreeMap;

use crds::{LogicalVolume, NodeStorage};
use k8s_openapi::api::core::v1::{Node, NodeStatus, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::ResourceExt as _;

use crate::controller::claim;
use crate::kube::names;

/// Prunes a claim. Returns true if it may be FlexLVM's.
pub(super) fn claim(claim: &mut PersistentVolumeClaim) -> bool {
    let is_kept = match claim::provisioner(claim) {
        Some(provisioner) => provisioner == crds::GROUP,
        None => claim::has_no_provisioner(claim) || claim::adopted_volume(claim).is_some(),
    };
    if !is_kept {
        return false;
    }
    let annotations = &mut claim.metadata.annotations;
    retain(annotations, &claim::READ_ANNOTATIONS);
    prune_metadata(&mut claim.metadata);
    claim.metadata.finalizers = None;
    if let Some(spec) = &mut claim.spec
        && spec.selector.is_some()
    {
        spec.selector = Some(LabelSelector::default()); // only its presence matters
    }
    if let Some(status) = &mut claim.status {
        for condition in status.conditions.iter_mut().flatten() {
            condition.message = None;
        }
    }
    true
}

/// Prunes a PersistentVolume. Returns true if FlexLVM created it.
pub(super) fn volume(volume: &mut PersistentVolume) -> bool {
    let provisioner = volume.annotations().get(names::PROVISIONED_BY);
    if provisioner.map(String::as_str) != Some(crds::GROUP) {
        return false;
    }
    retain(&mut volume.metadata.annotations, &[names::PROVISIONED_BY]);
    prune_metadata(&mut volume.metadata);
    true
}

/// Prunes a LogicalVolume.
pub(super) fn logical_volume(logical_volume: &mut LogicalVolume) -> bool {
    retain(&mut logical_volume.metadata.annotations, &[]);
    retain(&mut logical_volume.metadata.labels, &[crds::NODE_LABEL]);
    true
}

/// Drops the lists of a NodeStorage that are for admins only: names of volumes, and paths of disks.
pub(super) fn node_storage(storage: &mut NodeStorage) -> bool {
    let groups = storage
        .status
        .iter_mut()
        .flat_map(|status| &mut status.volume_groups);
    for disk in groups.flat_map(|group| &mut group.physical_volumes) {
        disk.volumes = Vec::new();
        disk.path = None;
    }
    true
}

/// Drops most of a node's status (images, addresses, heartbeats): only the Ready condition is used.
pub(super) fn node(node: &mut Node) -> bool {
    let ready = node
        .status
        .take()
        .and_then(|status| status.conditions)
        .map(|mut conditions| {
            conditions.retain(|condition| condition.type_ == placement::filter::NODE_READY);
            conditions
        });
    node.status = Some(NodeStatus {
        conditions: ready,
        ..NodeStatus::default()
    });
    node.annotations_mut().clear();
    true
}

/// Drops labels and owners.
fn prune_metadata(metadata: &mut ObjectMeta) {
    metadata.labels = None;
    metadata.owner_references = None;
}

/// Keeps the entries with these keys.
fn retain(map: &mut Option<BTreeMap<String, String>>, keys: &[&str]) {
    if let Some(map) = map {
        map.retain(|key, _| keys.contains(&key.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::{claim, node_storage};
    use crds::NodeStorage;
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use serde_json::{Value, json};

    fn pruned(annotations: Value, volume: &str) -> (bool, PersistentVolumeClaim) {
        let mut object: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": "data", "namespace": "default", "uid": "1", "resourceVersion": "7",
                "annotations": annotations, "labels": {"a": "b"}},
            "spec": {"volumeName": volume, "selector": {"matchLabels": {"a": "b"}},
                "resources": {"requests": {"storage": "1Gi"}}},
        }))
        .unwrap();
        (claim(&mut object), object)
    }

    #[test]
    fn only_annotations_that_are_read_stay() {
        let (is_kept, claim) = pruned(
            json!({"volume.kubernetes.io/storage-provisioner": "flexlvm.dev",
                "volume.kubernetes.io/selected-node": "n1",
                "volume.beta.kubernetes.io/storage-class": "s",
                "note": "x".repeat(255 << 10)}),
            "",
        );
        assert!(is_kept);
        assert_eq!(crate::controller::claim::selected_node(&claim), Some("n1"));
        assert_eq!(crate::controller::claim::class_name(&claim), Some("s"));
        assert_eq!(
            crate::controller::claim::provisioner(&claim),
            Some("flexlvm.dev")
        );
        assert_eq!(claim.metadata.resource_version.as_deref(), Some("7"));
        assert!(claim.spec.as_ref().unwrap().selector.is_some());
        assert!(serde_json::to_string(&claim).unwrap().len() < 1024);
    }

    #[test]
    fn claims_of_others_are_not_stored() {
        let foreign = json!({"volume.kubernetes.io/storage-provisioner": "other.dev"});
        assert!(!pruned(foreign, "").0);
        assert!(!pruned(json!({}), "nfs-1").0);
        assert!(!pruned(json!({}), "pvc-1").0);
        // A claim without provisioner may get one, or holds another claim's volume.
        assert!(pruned(json!({}), "").0);
        assert!(pruned(json!({}), "pvc-2").0);
    }

    #[test]
    fn volumes_on_disks_are_dropped_and_space_is_kept() {
        let disk = json!({"uuid": "u", "name": "/dev/sda", "size": "4Gi", "usedByOthers": "0", "free": "0"});
        let storage = |disk: Value| -> NodeStorage {
            let group = json!({"name": "vg0", "uuid": "u", "size": "4Gi", "extentSize": "4Mi",
                "usedByOthers": "0", "free": "0", "physicalVolumes": [disk]});
            serde_json::from_value(json!({
                "apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": "n"},
                "spec": {}, "status": {"volumeGroups": [group]},
            }))
            .unwrap()
        };
        let mut full = disk.clone();
        full["path"] = json!("/dev/disk/by-id/ata-1");
        full["volumes"] = json!(["pvc-1"]);
        let mut pruned = storage(full);
        assert!(node_storage(&mut pruned));
        assert_eq!(pruned.status, storage(disk).status);
    }
}
