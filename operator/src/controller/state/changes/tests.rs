//! Which volumes a change enqueues, and with which priority.

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::runtime::watcher::Event;
use serde_json::json;

use crate::controller::state::ClusterState;
use crate::kube::queue::WorkQueue;

#[test]
fn new_claim_comes_before_waiting_ones_that_a_change_requeues() {
    let (queue, mut requests) = WorkQueue::channel();
    let (state, _writers) = ClusterState::new(queue);
    for number in 0..100 {
        state.set_waiting(&format!("pvc-waiting-{number}"), true);
    }
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}})).unwrap();
    state.placement_input_changed(&Event::Apply(node));
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": "new", "namespace": "shop", "uid": "new",
            "annotations": {"volume.kubernetes.io/storage-provisioner": "flexlvm.dev"}},
        "spec": {"resources": {"requests": {"storage": "1Gi"}}},
    }))
    .unwrap();
    state.claim_changed(&Event::Apply(claim));
    assert_eq!(requests.try_next().unwrap().message, "pvc-new");
    let mut waiting = 0;
    while let Some(request) = requests.try_next() {
        assert!(request.message.starts_with("pvc-waiting-"));
        waiting += 1;
    }
    assert_eq!(waiting, 100);
}
