//! The controller's series, of objects in its watch caches.

use std::time::{Duration, Instant};

use crds::{LogicalVolume, NodeStorage, StorageBackend};
use k8s_openapi::api::core::v1::{Node, ObjectReference, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::Leader;
use crate::controller::state::ClusterState;
use crate::kube::events::{EventCounts, Notice};
use crate::kube::names::event;
use crate::kube::queue::{WorkQueue, run};
use crate::metrics::tests::check_documentation;
use crate::metrics::{Format, Metrics};

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn claim(uid: &str, volume: &str) -> PersistentVolumeClaim {
    from(json!({
        "metadata": {"name": "data", "namespace": "default", "uid": uid, "annotations":
            {"volume.kubernetes.io/storage-provisioner": "flexlvm.dev"}},
        "spec": {"volumeName": volume, "storageClassName": "s"},
    }))
}

fn volume(status: Value) -> LogicalVolume {
    let pool = json!({"name": "flexlvm-fast", "create": {"size": "1Gi", "maximumSize": "2Gi", "metadataSize": "4Mi",
        "physicalVolumes": [{"uuid": "d", "size": "2052Mi"}]}});
    from(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": "pvc-1"},
        "spec": {"node": "n1", "backend": "fast", "volumeGroup": "vg0", "size": "1Gi", "storageClass": "s",
            "layout": {"type": "Thin"}, "thinPool": pool,
            "claim": {"namespace": "d", "name": "c", "uid": "u"}, "reclaimPolicy": "Delete",
            "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"}},
        "status": status,
    }))
}

fn storage() -> NodeStorage {
    let group = json!({"name": "vg0", "uuid": "g", "size": "10Gi", "extentSize": "4Mi", "usedByOthers": "1Gi", "free": "0"});
    let orphan = json!({"claimUid": "x", "volumeGroup": "vg0", "name": "pvc-x"});
    let condition = json!({"type": "KubeletReady", "status": "False", "reason": "DriverNotLoaded", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    from(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": "n1"}, "spec": {},
        "status": {"volumeGroups": [group], "orphans": [orphan], "missingVolumeGroups": ["vg1"], "conditions": [condition]},
    }))
}

/// Returns the metrics of a controller with one volume, and one claim that waits.
async fn metrics() -> Metrics {
    let metrics = Metrics::of_controller();
    Leader::register(&metrics).elected();
    let (queue, requests) = WorkQueue::channel();
    let (state, mut writers) = ClusterState::new(queue);
    let class: StorageClass = from(
        json!({"metadata": {"name": "s"}, "provisioner": "flexlvm.dev", "parameters": {"backend": "fast"}}),
    );
    writers.classes.apply_watcher_event(&Event::Apply(class));
    let backend: StorageBackend = from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
        "metadata": {"name": "fast"}, "spec": {"volumeGroup": "vg0"}, "status": {"volumes": 1}}),
    );
    writers.backends.apply_watcher_event(&Event::Apply(backend));
    let node: Node = from(json!({"metadata": {"name": "n1"}}));
    writers.nodes.apply_watcher_event(&Event::Apply(node));
    writers
        .storages
        .apply_watcher_event(&Event::Apply(storage()));
    writers
        .claims
        .apply_watcher_event(&Event::Apply(claim("2", "")));

    let start = Instant::now();
    let created = volume(json!({"uuid": "u", "size": "1Gi"}));
    let timings = state.timings();
    timings.volume(&volume(json!({})), start);
    timings.volume(&created, start + Duration::from_secs(1));
    timings.claim(&claim("1", ""), start, |_| None);
    timings.claim(&claim("1", "pvc-1"), start, |_| Some("fast".to_owned()));
    state.reservations().observe(&created);
    writers
        .logical_volumes
        .apply_watcher_event(&Event::Apply(created));

    state.requeue_after("pvc-1", Duration::ZERO);
    let work = run(requests, state.queue_statistics(), 1, |_| {
        std::future::ready(())
    });
    let _ = tokio::time::timeout(Duration::from_millis(50), work).await;
    let events = EventCounts::default();
    events.count(&Notice {
        about: ObjectReference::default(),
        warning: true,
        reason: event::PROVISIONING_FAILED,
        message: String::new(),
    });
    super::register(&metrics, &state, &events);
    metrics
}

#[tokio::test]
async fn documentation_lists_each_series_of_the_controller() {
    check_documentation("controller", &metrics().await);
}

#[tokio::test]
async fn samples_have_the_values_of_the_objects() {
    let text = metrics().await.text(Format::OpenMetrics).unwrap();
    let location = "{node=\"n1\",volume_group=\"vg0\"}";
    let gib = 1_u64 << 30;
    // The pool's maximum size and its metadata; its volumes take nothing else.
    let reserved = 2052 << 20;
    for sample in [
        "flexlvm_leader 1",
        "flexlvm_claims_waiting{backend=\"fast\"} 1",
        "flexlvm_volumes{backend=\"fast\",layout=\"Thin\",state=\"Present\",reason=\"Unknown\"} 1",
        "flexlvm_node_condition{node=\"n1\",condition=\"KubeletReady\"} 0",
        "flexlvm_node_orphaned_volumes{node=\"n1\"} 1",
        "flexlvm_node_missing_volume_groups{node=\"n1\"} 1",
        "flexlvm_events_total{type=\"Warning\",reason=\"ProvisioningFailed\"} 1",
        &format!("flexlvm_space_reserved_bytes{location} {reserved}"),
        &format!("flexlvm_space_free_bytes{location} {}", 9 * gib - reserved),
        &format!(
            "flexlvm_space_thin_volumes_bytes{{node=\"n1\",volume_group=\"vg0\",thin_pool=\"flexlvm-fast\"}} {gib}"
        ),
    ] {
        assert!(
            text.contains(&format!("\n{sample}\n")),
            "{sample} in {text}"
        );
    }
}
