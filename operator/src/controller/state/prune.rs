//! Which objects the watch caches keep, and which of their fields: those that the controller reads.
//! Pure.
//!
//! Tenants may write more than a megabyte into each of their claims: into annotations, also those
//! that the controller reads, and into names and lists of the spec, whose length the API server does
//! not limit. The controller's memory would not suffice for that.

use std::collections::BTreeMap;

use crds::{LogicalVolume, NodeStorage};
use k8s_openapi::api::core::v1::{
    Node, NodeStatus, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::ResourceExt as _;
use placement::claim;

use crate::kube::names;

/// Maximum length of a name in Kubernetes, in bytes.
const LONGEST_NAME: usize = 253;

/// The resource that a claim requests.
const STORAGE: &str = "storage";

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
    for value in annotations.iter_mut().flat_map(BTreeMap::values_mut) {
        shorten(value);
    }
    prune_metadata(&mut claim.metadata);
    claim.metadata.finalizers = None;
    if let Some(spec) = &mut claim.spec {
        prune_claim_spec(spec);
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
    if let Some(status) = &mut storage.status {
        status.deviations = Vec::new();
    }
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

/// Prunes what the API server does not limit in the spec of a claim.
fn prune_claim_spec(spec: &mut PersistentVolumeClaimSpec) {
    if spec.selector.is_some() {
        spec.selector = Some(LabelSelector::default()); // only its presence matters
    }
    if let Some(modes) = &mut spec.access_modes {
        modes.sort_unstable();
        modes.dedup();
        modes.shrink_to_fit();
    }
    if let Some(resources) = &mut spec.resources {
        resources.limits = None;
        if let Some(requests) = &mut resources.requests {
            requests.retain(|name, _| name == STORAGE);
        }
    }
    if let Some(source) = &mut spec.data_source_ref {
        spec.data_source = None; // the API server keeps both equal
        shorten(&mut source.kind);
        shorten(&mut source.name);
        source.namespace = None;
    }
    if let Some(source) = &mut spec.data_source {
        shorten(&mut source.kind);
        shorten(&mut source.name);
    }
    if let Some(volume) = &mut spec.volume_name {
        shorten(volume);
    }
}

/// Shortens a text that is longer than any name in Kubernetes, to one that is no name either.
fn shorten(text: &mut String) {
    if text.len() > LONGEST_NAME {
        text.truncate(text.floor_char_boundary(LONGEST_NAME));
        text.push('…');
        text.shrink_to_fit();
    }
}

/// Drops labels and owners.
fn prune_metadata(metadata: &mut ObjectMeta) {
    metadata.labels = None;
    metadata.owner_references = None;
    metadata.generate_name = None;
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
        assert_eq!(placement::claim::selected_node(&claim), Some("n1"));
        assert_eq!(placement::claim::class_name(&claim), Some("s"));
        assert_eq!(placement::claim::provisioner(&claim), Some("flexlvm.dev"));
        assert_eq!(claim.metadata.resource_version.as_deref(), Some("7"));
        assert!(claim.spec.as_ref().unwrap().selector.is_some());
        assert!(serde_json::to_string(&claim).unwrap().len() < 1024);
    }

    #[test]
    fn stored_size_of_claim_is_bounded() {
        let long = "x".repeat(255 << 10);
        let mut requests = json!({"storage": "1Gi"});
        for number in 0..1000 {
            requests[format!("example.com/{number}")] = json!("1");
        }
        let modes = ["ReadWriteOncePod", "ReadWriteOnce"].repeat(1000);
        let source = json!({"apiGroup": "example.com", "kind": long, "name": long});
        let mut object: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": "data", "generateName": long, "annotations": {
                "volume.kubernetes.io/selected-node": long,
                "volume.beta.kubernetes.io/storage-class": long}},
            "spec": {"accessModes": modes,
                "resources": {"requests": requests, "limits": requests},
                "dataSource": source, "dataSourceRef": source},
        }))
        .unwrap();
        assert!(claim(&mut object));
        assert!(serde_json::to_string(&object).unwrap().len() < 2048);
        let spec = object.spec.as_ref().unwrap();
        assert_eq!(
            spec.access_modes.as_deref().unwrap(),
            ["ReadWriteOnce", "ReadWriteOncePod"]
        );
        let source = placement::claim::populator_source(&object).unwrap();
        assert!(source.name.ends_with("x…"), "no valid name");
        assert!(placement::claim::size(&object).is_ok());

        let volume = format!("pvc-{long}");
        let (is_kept, claim) = pruned(json!({}), &volume);
        assert!(is_kept && claim.spec.unwrap().volume_name.unwrap().len() < 260);
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
