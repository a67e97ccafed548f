//! Kubernetes' own scheduler, with a class that serves no claim.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{AMPLE, SINCE, wait_for_driver, wait_until_published};
use crate::fixture::{Controller, Fixture, from, has_selected_node, volume_of, waits_for_consumer};

/// Creates a node that the scheduler may select, without a kubelet.
async fn allocatable(fixture: &Fixture, node: &str) {
    let nodes = fixture.nodes();
    // The API server taints each new node as not ready.
    let untainted = Patch::Merge(json!({"spec": {"taints": null}}));
    nodes
        .patch(&fixture.name(node), &PatchParams::default(), &untainted)
        .await
        .unwrap();
    let resources = json!({"cpu": "4", "memory": "4Gi", "pods": "10"});
    let status = Patch::Merge(json!({"status": {"capacity": resources, "allocatable": resources}}));
    nodes
        .patch_status(&fixture.name(node), &PatchParams::default(), &status)
        .await
        .unwrap();
}

/// Creates a pod that uses the claim `data`.
async fn pod(fixture: &Fixture, name: &str) {
    let accounts: Api<ServiceAccount> = Api::namespaced(fixture.client.clone(), &fixture.namespace);
    let account = from(json!({"metadata": {"name": "default"}}));
    let _ = accounts.create(&PostParams::default(), &account).await;
    let pods: Api<Pod> = Api::namespaced(fixture.client.clone(), &fixture.namespace);
    let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
    let spec = json!({"automountServiceAccountToken": false, "volumes": [volume],
        "containers": [{"name": "app", "image": "app"}]});
    let pod = from(json!({"metadata": {"name": name}, "spec": spec}));
    pods.create(&PostParams::default(), &pod).await.unwrap();
}

#[tokio::test]
async fn scheduler_reports_failed_provisioning_for_invalid_class() {
    let fixture = Fixture::on_own_server().await;
    fixture.node("n1", 1024).await;
    allocatable(&fixture, "n1").await;
    fixture.backend_without_controller("vg0").await;
    let parameters = json!({"backend": fixture.namespace, "speed": "high"});
    fixture
        .class_only(json!({"volumeBindingMode": "WaitForFirstConsumer", "parameters": parameters}))
        .await;
    let _controller = Controller::start(fixture.server, true).await;
    let has_capacities = fixture.server.kubernetes().minor_version().unwrap() >= SINCE;
    if has_capacities {
        wait_until_published(&fixture, &[("n1", AMPLE)]).await;
        wait_for_driver(&fixture).await;
    }
    let _scheduler = fixture.server.start_scheduler().unwrap();
    // The PersistentVolume controller has done its part: the claim has a provisioner annotation.
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    pod(&fixture, "app").await;
    fixture
        .wait_for_event_about(
            "app",
            &["FailedScheduling", "provisioning failed for PVC \"data\""],
        )
        .await;
    fixture
        .wait_for_event_about(
            "data",
            &["ProvisioningFailed", "unknown parameter \"speed\""],
        )
        .await;
    for event in fixture.event_messages().await {
        assert!(!event.contains("free storage"), "{event}");
    }
    // The scheduler selects a node again, which stays for now: no loop between two writers.
    let what = "a node is selected again";
    fixture
        .wait(&fixture.claims(), "data", what, has_selected_node)
        .await;
    for _ in 0..3 {
        fixture.quiet().await;
    }
    let claim = fixture.claims().get("data").await.unwrap();
    assert!(has_selected_node(&claim));

    fixture.delete_class().await;
    fixture.class_only(waits_for_consumer()).await;
    let lv = fixture.agent_creates(&name).await;
    assert_eq!(lv.spec.node, fixture.name("n1"));
}
