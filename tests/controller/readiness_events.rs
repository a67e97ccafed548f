//! Events on StorageBackends and NodeStorages.

use crds::NodeStorage;
use harness::wait::{self, LIMIT};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// Waits for an Event of this reason about an object without a namespace.
async fn wait_for_event(fixture: &Fixture, kind: &str, name: &str, reason: &str, phrase: &str) {
    // Kubernetes' rule: Events about objects without a namespace are in `default`.
    let events: Api<Event> = Api::namespaced(fixture.client.clone(), "default");
    let selected = ListParams::default().fields(&format!(
        "involvedObject.kind={kind},involvedObject.name={name},reason={reason}"
    ));
    let what = format!("{kind} {name} has an Event {reason} with {phrase:?}");
    let found = wait::until(&what, LIMIT, async || {
        let found = events.list(&selected).await?.items;
        let mut messages = found.into_iter().filter_map(|event| event.message);
        Ok(messages.find(|message| message.contains(phrase)).map(drop))
    });
    found.await.unwrap();
}

async fn report(fixture: &Fixture, node: &str, conditions: Value) {
    let storages: Api<NodeStorage> = Api::all(fixture.client.clone());
    let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
    let params = PatchParams::default();
    storages.patch_status(node, &params, &patch).await.unwrap();
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "about /dev/sdb",
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

#[tokio::test]
async fn node_without_working_lvm_and_its_recovery_are_events() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let node = fixture.name("n1");
    let backend = fixture.namespace.clone();
    report(
        &fixture,
        &node,
        json!([
            condition("Ready", "False", "LvmFailed"),
            condition("KubeletReady", "True", "DriverLoaded")
        ]),
    )
    .await;
    let phrase = "Ready is False (LvmFailed); see its conditions";
    wait_for_event(&fixture, "NodeStorage", &node, "NotReady", phrase).await;
    let phrase = "Ready is False (SomeNodesUnready)";
    wait_for_event(&fixture, "StorageBackend", &backend, "NotReady", phrase).await;

    report(
        &fixture,
        &node,
        json!([condition("Ready", "True", "Ready")]),
    )
    .await;
    let phrase = "all conditions are True again";
    wait_for_event(&fixture, "NodeStorage", &node, "Ready", phrase).await;
    wait_for_event(&fixture, "StorageBackend", &backend, "Ready", phrase).await;
}
