//! StorageBackends: their nodes, contradictory specs, conflicts with other backends, and deletion
//! while in use.

use crds::logical_volume::State;
use crds::storage_backend::StorageBackendStatus;
use crds::{NodeStorage, StorageBackend};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::fixture::{Fixture, condition, disk, from, vg0_of_disks, volume_of};

/// Waits until a backend has this reason and its message contains these phrases.
async fn wait_for_reason(
    fixture: &Fixture,
    name: &str,
    reason: &str,
    phrases: &[&str],
) -> StorageBackend {
    fixture
        .wait(
            &fixture.backends(),
            name,
            &format!("{name} has reason {reason}"),
            |backend: &StorageBackend| {
                let conditions = backend.status.clone().unwrap_or_default().conditions;
                let ready = conditions.iter().find(|ready| ready.type_ == "Ready");
                ready.is_some_and(|ready| {
                    ready.reason == reason
                        && phrases.iter().all(|phrase| ready.message.contains(phrase))
                })
            },
        )
        .await
}

/// Like [`wait_for_reason`], for the fixture's own backend.
async fn wait_for_own_reason(fixture: &Fixture, reason: &str, phrases: &[&str]) -> StorageBackend {
    wait_for_reason(fixture, &fixture.namespace, reason, phrases).await
}

/// Waits until the fixture's backend reports this number of nodes: `READY/SELECTED`.
async fn wait_for_nodes(fixture: &Fixture, nodes: &str) -> StorageBackendStatus {
    let what = format!("{nodes} nodes are ready");
    let backend = fixture
        .wait(&fixture.backends(), &fixture.namespace, &what, |backend| {
            let status = backend.status.as_ref();
            status.and_then(|status| status.nodes.as_deref()) == Some(nodes)
        })
        .await;
    backend.status.unwrap()
}

/// Creates another backend than the fixture's.
async fn create_backend(fixture: &Fixture, name: &str, spec: Value) {
    let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": name}, "spec": spec});
    fixture
        .backends()
        .create(&PostParams::default(), &from(object))
        .await
        .unwrap();
}

fn has_finalizer(backend: &StorageBackend) -> bool {
    let finalizers = backend.finalizers();
    finalizers.contains(&crds::BACKEND_FINALIZER.to_owned())
}

#[tokio::test]
async fn backend_reports_ready_nodes_and_reasons_of_others() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 128).await;
    fixture.node("n2", 128).await;
    fixture.report(&fixture.name("n2"), json!([])).await;
    fixture.backend("vg0").await;
    let status = wait_for_nodes(&fixture, "1/2").await;
    let ready = &status.conditions[0];
    assert_eq!(
        [ready.status.as_str(), ready.reason.as_str()],
        ["False", "SomeNodesUnready"]
    );
    assert_eq!(
        ready.message,
        format!("{} has no volume group vg0", fixture.name("n2"))
    );
    fixture.report_size("n2", "128Mi").await;
    let status = wait_for_nodes(&fixture, "2/2").await;
    assert_eq!(status.conditions[0].status, "True");
}

#[tokio::test]
async fn contradictory_backend_names_field_and_serves_no_claim() {
    let fixture = Fixture::with_immediate_class(&[("n1", 64)]).await;
    // No CEL rule rejects it, so newer API servers accept it too.
    fixture
        .change_backend(json!({"layout": {"type": "Striped", "stripeSize": "3Ki"}}))
        .await;
    wait_for_own_reason(&fixture, "InvalidSpec", &["layout.stripeSize"]).await;
    fixture.claim("data", "8Mi", None).await;
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "layout.stripeSize: 3Ki is not possible",
        ])
        .await;
    assert!(fixture.own_logical_volumes().await.is_empty());
    fixture
        .change_backend(json!({"layout": {"stripeSize": null, "type": "Linear"}}))
        .await;
    fixture.wait_for_volume_count(1).await;
}

#[tokio::test]
async fn node_with_too_few_disks_is_rejected() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 100).await;
    let group = vg0_of_disks("100Mi", json!([disk("a", "100Mi")]));
    fixture.report(&fixture.name("n1"), group).await;
    fixture.class(json!({})).await;
    fixture
        .change_backend(json!({"layout": {"type": "RAID5"}}))
        .await;
    let phrases = "has 1 disk in volume group vg0 but raid5 needs 3 (add disks with vgextend)";
    let backend = wait_for_own_reason(&fixture, "SomeNodesUnready", &[phrases]).await;
    assert_eq!(backend.status.unwrap().nodes.as_deref(), Some("0/1"));
    fixture.claim("data", "8Mi", None).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", phrases])
        .await;
    assert!(fixture.own_logical_volumes().await.is_empty());
}

#[tokio::test]
async fn deleted_backend_stays_until_its_volumes_are_gone() {
    let fixture = Fixture::with_immediate_class(&[("n1", 1024)]).await;
    assert!(
        !has_finalizer(&fixture.backends().get(&fixture.namespace).await.unwrap()),
        "a backend without volumes has no finalizer"
    );
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    fixture.wait_for_logical_volume(&name).await;
    fixture
        .wait(
            &fixture.backends(),
            &fixture.namespace,
            "the finalizer is set",
            has_finalizer,
        )
        .await;
    fixture
        .backends()
        .delete(&fixture.namespace, &DeleteParams::default())
        .await
        .unwrap();
    wait_for_own_reason(
        &fixture,
        "BeingDeleted",
        &["waits for 1 volume", &name, "claim", "/data on node"],
    )
    .await;
    fixture.claim("late", "64Mi", None).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "is being deleted"])
        .await;

    fixture.delete_claim("data").await;
    fixture
        .wait_for_state(&name, State::AbsentIfNeverUsed)
        .await;
    fixture.agent_removes(&name).await;
    fixture.gone(&fixture.logical_volumes(), &name).await;
    fixture.gone(&fixture.backends(), &fixture.namespace).await;
    assert!(fixture.own_logical_volumes().await.is_empty());
}

#[tokio::test]
async fn backends_with_excessive_reserves_report_each_other() {
    let fixture = Fixture::with_immediate_class(&[("n1", 64)]).await;
    fixture.change_backend(json!({"reserve": "100%"})).await;
    let other = fixture.name("other");
    let spec = json!({"volumeGroup": "vg0", "reserve": "64Mi", "nodeSelector": {"matchLabels": {"fixture": fixture.namespace}}});
    create_backend(&fixture, &other, spec).await;
    wait_for_own_reason(
        &fixture,
        "InvalidSpec",
        &["reserve", &other, "vg0", "lower spec.reserve"],
    )
    .await;
    wait_for_reason(
        &fixture,
        &other,
        "InvalidSpec",
        &["reserve", &fixture.namespace],
    )
    .await;
    fixture.change_backend(json!({"reserve": "50%"})).await;
    wait_for_own_reason(&fixture, "Ready", &[]).await;
    wait_for_reason(&fixture, &other, "Ready", &[]).await;
}

#[tokio::test]
async fn conflicting_and_unusable_devices_are_reported() {
    let fixture = Fixture::with_immediate_class(&[("n1", 64)]).await;
    let device = format!("/dev/disk/by-id/{}", fixture.namespace);
    fixture
        .change_backend(json!({"devices": [device, device]}))
        .await;
    wait_for_own_reason(
        &fixture,
        "InvalidSpec",
        &["devices", &device, "is listed twice"],
    )
    .await;
    fixture.change_backend(json!({"devices": [device]})).await;
    wait_for_own_reason(&fixture, "Ready", &[]).await;
    let other = fixture.name("other");
    let spec = json!({"volumeGroup": "vg1", "devices": [device], "nodeSelector": {"matchLabels": {"fixture": fixture.namespace}}});
    create_backend(&fixture, &other, spec).await;
    let phrases = [
        device.as_str(),
        "is named for volume group vg0 here",
        &other,
        "for volume group vg1",
    ];
    wait_for_own_reason(&fixture, "InvalidSpec", &phrases).await;
    wait_for_reason(
        &fixture,
        &other,
        "InvalidSpec",
        &["is named for volume group vg1 here", &fixture.namespace],
    )
    .await;
    fixture.change_backend(json!({"devices": null})).await;
    wait_for_own_reason(&fixture, "Ready", &[]).await;
    wait_for_reason(
        &fixture,
        &other,
        "SomeNodesUnready",
        &["has no volume group vg1"],
    )
    .await;

    let entry = json!({"volumeGroup": "vg1", "path": device, "inVolumeGroup": false, "reason": "NotBlank", "message": "there is ext4 on it"});
    let storages: Api<NodeStorage> = Api::all(fixture.client.clone());
    let patch = Patch::Merge(json!({"status": {"devices": [entry]}}));
    storages
        .patch_status(&fixture.name("n1"), &PatchParams::default(), &patch)
        .await
        .unwrap();
    let phrases = format!("has no volume group vg1 ({device}: there is ext4 on it)");
    wait_for_reason(&fixture, &other, "SomeNodesUnready", &[&phrases]).await;
}

#[tokio::test]
async fn file_system_defaults_to_that_of_backend() {
    let fixture = Fixture::with_immediate_class(&[("n1", 2048)]).await;
    fixture
        .change_backend(json!({"filesystem": {"type": "xfs", "mountOptions": ["loop"]}}))
        .await;
    wait_for_own_reason(
        &fixture,
        "InvalidSpec",
        &["filesystem.mountOptions", "loop"],
    )
    .await;
    fixture
        .change_backend(json!({"filesystem": {"type": "xfs", "mountOptions": ["noatime"]}}))
        .await;
    wait_for_own_reason(&fixture, "Ready", &[]).await;
    let name = volume_of(&fixture.claim("data", "1Gi", None).await);
    let lv = fixture.wait_for_logical_volume(&name).await;
    assert_eq!(
        serde_json::to_value(lv.spec.filesystem).unwrap(),
        json!({"type": "xfs", "mountOptions": ["noatime"]})
    );
}

/// Patches the conditions of a node's report, or of the Node itself.
async fn set_condition<K>(fixture: &Fixture, node: &str, new: Value)
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::all(fixture.client.clone());
    let ready = condition("Ready", "True", "Ready", "Ready");
    let conditions = if new["type"] == "Ready" {
        vec![new]
    } else {
        vec![ready, new]
    };
    let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
    api.patch_status(node, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test]
async fn node_that_cannot_start_pods_does_not_count() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.node("n2", 64).await;
    fixture.class(json!({})).await;
    let name = &fixture.namespace;
    wait_for_reason(&fixture, name, "Ready", &["(2)"]).await;
    let node = fixture.name("n2");
    let down = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"});
    set_condition::<Node>(&fixture, &node, down).await;
    let words = format!("{node} is not Ready: its kubelet does not report");
    let backend = wait_for_reason(&fixture, name, "SomeNodesUnready", &[&words]).await;
    assert_eq!(backend.status.unwrap().nodes.as_deref(), Some("1/2"));
    let up = json!({"type": "Ready", "status": "True", "reason": "KubeletReady"});
    set_condition::<Node>(&fixture, &node, up).await;
    wait_for_reason(&fixture, name, "Ready", &["(2)"]).await;

    let message = "the kubelet has not loaded the driver";
    let unloaded = condition("KubeletReady", "False", "DriverNotLoaded", message);
    set_condition::<NodeStorage>(&fixture, &node, unloaded).await;
    let words = format!("{node} can't mount new volumes: {message}");
    wait_for_reason(&fixture, name, "SomeNodesUnready", &[&words]).await;
}

#[tokio::test]
async fn nodes_with_one_hostname_label_are_reported() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.node("n2", 64).await;
    fixture.class(json!({})).await;
    let name = &fixture.namespace;
    wait_for_reason(&fixture, name, "Ready", &["(2)"]).await;
    let nodes: Api<Node> = Api::all(fixture.client.clone());
    let hostname = format!("host-{}", fixture.name("n1"));
    let patch = Patch::Merge(json!({"metadata": {"labels": {"kubernetes.io/hostname": hostname}}}));
    nodes
        .patch(&fixture.name("n2"), &PatchParams::default(), &patch)
        .await
        .unwrap();
    let phrases = [
        &*fixture.name("n1"),
        &*fixture.name("n2"),
        "have the same label",
    ];
    let backend = wait_for_reason(&fixture, name, "DuplicateHostname", &phrases).await;
    assert_eq!(backend.status.unwrap().nodes.as_deref(), Some("2/2"));
}
