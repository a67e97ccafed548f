//! The agent's series, of a report of a real LVM.

use std::sync::Arc;

use crds::{LogicalVolume, StorageBackend};
use host::{Cmd, Error, Exec, Output};
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::json;
use tokio::sync::watch;

use super::Sources;
use crate::agent::condition::ConditionUpdate;
use crate::agent::lvm::EvidencePaths;
use crate::agent::lvm::activity::LvmActivity;
use crate::agent::lvm::measured::MeasuredExec;
use crate::agent::lvm::state::LvmState;
use crate::agent::watches::backends::Backends;
use crate::agent::watches::logical_volumes::NodeVolumes;
use crate::kube::queue::{WorkQueue, run};
use crate::metrics::tests::check_documentation;
use crate::metrics::{Format, Metrics};

/// Has a thin pool, a RAID1 without one of its disks, a snapshot, and volumes of claims.
const REPORT: &[u8] = include_bytes!("../../../../host/fixtures/lvm2-2.03.16-statistics.json");

/// Prints the report.
struct Programs;

impl Exec for Programs {
    fn exec(&self, _: &Cmd) -> Result<Output, Error> {
        Ok(Output {
            code: Some(0),
            stdout: REPORT.to_vec(),
            stderr: b"WARNING: Couldn't find device.".to_vec(),
        })
    }
}

/// Returns a volume of the report, with its claim.
fn object() -> LogicalVolume {
    serde_json::from_value(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": "pvc-a", "uid": "1"},
        "spec": {"node": "agent-node", "backend": "fast", "volumeGroup": "vg0", "size": "32Mi", "storageClass": "s",
            "claim": {"namespace": "shop", "name": "orders", "uid": "a"}, "reclaimPolicy": "Delete",
            "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"}},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "Ready",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}, {"type": "Healthy", "status": "False", "reason": "Resyncing",
            "message": "40 %", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    }))
    .unwrap()
}

fn backend() -> StorageBackend {
    serde_json::from_value(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": "thin"},
        "spec": {"volumeGroup": "vg0", "layout": {"type": "Thin"}, "thinPool": {"name": "pool", "dataGuard": 60}},
    }))
    .unwrap()
}

/// Returns the agent's metrics after one report.
async fn metrics() -> Metrics {
    let metrics = Metrics::of_agent("agent-node");
    let activity = LvmActivity::default();
    let exec = MeasuredExec::new(Arc::new(Programs), activity.clone());
    exec.register(&metrics);
    let lvm = LvmState::new(Arc::new(exec), EvidencePaths::absent(), activity);
    let lvm = Arc::new(lvm);
    lvm.refresh().await.unwrap();
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Apply(object()));
    let (queue, requests) = WorkQueue::channel();
    queue.enqueue("pvc-a");
    let work = run(requests, queue.statistics(), 1, |_| std::future::ready(()));
    let _ = tokio::time::timeout(std::time::Duration::from_millis(50), work).await;
    let ready = watch::channel(Some(ConditionUpdate::ready())).1;
    let sources = Sources {
        lvm,
        volumes: Arc::new(NodeVolumes::new("agent-node", store, queue)),
        backends: Backends::selecting(vec![backend()]),
        driver: ready.clone(),
        kubelet: ready,
    };
    sources.register(&metrics);
    metrics
}

#[tokio::test]
async fn documentation_lists_each_series_of_the_agent() {
    check_documentation("agent", &metrics().await);
}

#[tokio::test]
async fn samples_have_the_values_of_the_report() {
    let text = metrics().await.text(Format::OpenMetrics).unwrap();
    let of_claim =
        "volume_group=\"vg0\",logical_volume=\"pvc-a\",claim_namespace=\"shop\",claim=\"orders\"";
    for sample in [
        "flexlvm_build_info{node=\"agent-node\",version=\"0.1.0\",role=\"agent\"} 1",
        "flexlvm_volume_group_missing_physical_volumes{node=\"agent-node\",volume_group=\"vg0\"} 1",
        "flexlvm_volume_group_permission{node=\"agent-node\",volume_group=\"vg0\",permission=\"writeable\"} 1",
        "flexlvm_volume_group_unusable{node=\"agent-node\",volume_group=\"vg0\"} 1",
        "flexlvm_thin_pool_data_guard_ratio{node=\"agent-node\",volume_group=\"vg0\",thin_pool=\"pool\"} 0.6",
        "flexlvm_thin_pool_guarded{node=\"agent-node\",volume_group=\"vg0\",thin_pool=\"pool\"} 1",
        // A volume of another claim, which no object describes.
        "flexlvm_orphaned_volumes{node=\"agent-node\",volume_group=\"vg0\"} 1",
        "flexlvm_deviating_volumes{node=\"agent-node\",kind=\"orphaned\"} 1",
        "flexlvm_deviating_volumes{node=\"agent-node\",kind=\"missing\"} 0",
        "flexlvm_kubelet_ready{node=\"agent-node\"} 1",
        "flexlvm_lvm_warnings{node=\"agent-node\"} 1",
        &format!("flexlvm_logical_volume_size_bytes{{node=\"agent-node\",{of_claim}}} 33554432"),
        &format!(
            "flexlvm_logical_volume_ready{{node=\"agent-node\",{of_claim},reason=\"Ready\"}} 1"
        ),
        &format!(
            "flexlvm_logical_volume_healthy{{node=\"agent-node\",{of_claim},reason=\"Resyncing\"}} 0"
        ),
        &format!(
            "flexlvm_logical_volume_health{{node=\"agent-node\",{of_claim},health=\"healthy\"}} 1"
        ),
    ] {
        assert!(
            text.contains(&format!("\n{sample}\n")),
            "{sample} in {text}"
        );
    }
    assert!(
        text.contains(
            "logical_volume=\"r1\",claim_namespace=\"\",claim=\"\",health=\"partial\"} 1"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn series_cover_all_facts_of_lvm_localpv() {
    let text = metrics().await.text(Format::OpenMetrics).unwrap();
    for name in [
        "logical_volume_size_bytes",
        "logical_volume_used_ratio",
        "logical_volume_permission",
        "thin_pool_errors_when_full",
        "logical_volume_health",
        "logical_volume_raid_sync_action",
        "thin_pool_metadata_size_bytes",
        "thin_pool_metadata_used_ratio",
        "logical_volume_snapshot_used_ratio",
        "physical_volume_size_bytes",
        "physical_volume_free_bytes",
        "physical_volume_used_bytes",
        "physical_volume_device_size_bytes",
        "physical_volume_metadata_size_bytes",
        "physical_volume_metadata_free_bytes",
        "volume_group_free_bytes",
        "volume_group_size_bytes",
        "volume_group_logical_volumes",
        "volume_group_physical_volumes",
        "volume_group_maximum_logical_volumes",
        "volume_group_maximum_physical_volumes",
        "volume_group_snapshots",
        "volume_group_missing_physical_volumes",
        "volume_group_metadata_areas",
        "volume_group_used_metadata_areas",
        "volume_group_metadata_free_bytes",
        "volume_group_metadata_size_bytes",
        "volume_group_permission",
        "volume_group_allocation_policy",
    ] {
        assert!(
            text.contains(&format!("\nflexlvm_{name}{{")),
            "{name} has no sample in {text}"
        );
    }
}
