//! StorageBackends: contradictory ones, ones too small for a layout, and deletion while in use.

use crds::logical_volume::State;
use crds::{NodeStorage, StorageBackend};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::fixture::{Fixture, from};
use super::{condition, volume_of};

fn backends(fixture: &Fixture) -> Api<StorageBackend> {
    Api::all(fixture.client.clone())
}

/// Waits until a backend has this reason and its message contains these phrases.
async fn wait_for_reason(
    fixture: &Fixture,
    name: &str,
    reason: &str,
    phrases: &[&str],
) -> StorageBackend {
    fixture
        .wait(
            &backends(fixture),
            name,
            &format!("{name} has reason {reason}"),
            |backend: &StorageBackend| {
                let conditions = backend.status.clone().unwrap_or_default().conditions;
                let ready = conditions.iter().find(|ready| ready.type_ == "Ready");
                ready.is_some_and(|ready| {
                    ready.reason == reason
                        && phrases.iter().all(|word| ready.message.contains(word))
                })
            },
        )
        .await
}

fn disk(uuid: &str, size: &str) -> Value {
    json!({"uuid": uuid, "name": format!("/dev/{uuid}"), "size": size, "usedByOthers": "0", "free": "0"})
}

#[tokio::test]
async fn fifty_raid1_claims_on_disks_for_nine_create_nine_volumes() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1000).await;
    // Each image of 32 MiB takes an additional extent for its metadata; next to the large disk,
    // five and four images fit.
    let disks = [disk("a", "640Mi"), disk("b", "200Mi"), disk("c", "160Mi")];
    let group = json!([{"name": "vg0", "uuid": "u", "size": "1000Mi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0", "physicalVolumes": disks}]);
    fixture.report(&fixture.name("n1"), group).await;
    fixture.class(json!({})).await;
    fixture
        .change_backend(json!({"layout": {"type": "RAID1"}}))
        .await;
    for number in 0..50 {
        fixture.claim(&format!("c{number}"), "32Mi", None).await;
    }
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "with 36 MiB free in volume group vg0 but raid1 needs 2",
        ])
        .await;
    fixture.quiet().await;
    let made = fixture.own_logical_volumes().await;
    assert_eq!(made.len(), 9);
    for lv in made {
        let on: Vec<_> = lv
            .spec
            .physical_volumes
            .iter()
            .map(|share| share.size.0.as_str())
            .collect();
        assert_eq!(
            (on, lv.spec.size.0.as_str()),
            (vec!["36Mi", "36Mi"], "32Mi")
        );
    }
}

#[tokio::test]
async fn contradictory_backend_names_field_and_serves_no_claim() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.class(json!({})).await;
    // No CEL rule rejects it, so newer API servers accept it too.
    fixture
        .change_backend(json!({"layout": {"type": "Striped", "stripeSize": "3Ki"}}))
        .await;
    wait_for_reason(
        &fixture,
        &fixture.namespace,
        "InvalidSpec",
        &["layout.stripeSize"],
    )
    .await;
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
    let served = harness::wait::until("the claim is served", harness::wait::LIMIT, async || {
        Ok((fixture.own_logical_volumes().await.len() == 1).then_some(()))
    });
    served.await.unwrap();
}

#[tokio::test]
async fn node_with_too_few_disks_is_rejected() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 100).await;
    let group = json!([{"name": "vg0", "uuid": "u", "size": "100Mi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0", "physicalVolumes": [disk("a", "100Mi")]}]);
    fixture.report(&fixture.name("n1"), group).await;
    fixture.class(json!({})).await;
    fixture
        .change_backend(json!({"layout": {"type": "RAID5"}}))
        .await;
    let phrases = "has 1 disk in volume group vg0 but raid5 needs 3 (add disks with vgextend)";
    let backend =
        wait_for_reason(&fixture, &fixture.namespace, "SomeNodesUnready", &[phrases]).await;
    assert_eq!(backend.status.unwrap().nodes.as_deref(), Some("0/1"));
    fixture.claim("data", "8Mi", None).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", phrases])
        .await;
    assert!(fixture.own_logical_volumes().await.is_empty());
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "the steps of one test")]
async fn deleted_backend_stays_until_its_volumes_are_gone() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.class(json!({})).await;
    let guarded = |backend: &StorageBackend| {
        backend
            .finalizers()
            .contains(&crds::BACKEND_FINALIZER.to_owned())
    };
    assert!(
        !guarded(&backends(&fixture).get(&fixture.namespace).await.unwrap()),
        "a backend without volumes has no finalizer"
    );
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "the LogicalVolume is written",
            |_| true,
        )
        .await;
    fixture
        .wait(
            &backends(&fixture),
            &fixture.namespace,
            "the finalizer is set",
            guarded,
        )
        .await;
    backends(&fixture)
        .delete(&fixture.namespace, &DeleteParams::default())
        .await
        .unwrap();
    wait_for_reason(
        &fixture,
        &fixture.namespace,
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
        .wait(
            &fixture.logical_volumes(),
            &name,
            "its removal is requested",
            |lv| lv.spec.state == State::AbsentIfNeverUsed,
        )
        .await;
    fixture
        .agent_writes_status(
            &name,
            json!({"conditions": [condition("Removed", "True", "Removed", "gone")]}),
        )
        .await;
    fixture.gone(&fixture.logical_volumes(), &name).await;
    fixture.gone(&backends(&fixture), &fixture.namespace).await;
    assert!(fixture.own_logical_volumes().await.is_empty());
}

#[tokio::test]
async fn backends_with_excessive_reserves_report_each_other() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.class(json!({})).await;
    fixture.change_backend(json!({"reserve": "100%"})).await;
    let other = fixture.name("other");
    let spec = json!({"volumeGroup": "vg0", "reserve": "64Mi", "nodeSelector": {"matchLabels": {"fixture": fixture.namespace}}});
    let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": other}, "spec": spec});
    backends(&fixture)
        .create(&PostParams::default(), &from(object))
        .await
        .unwrap();
    wait_for_reason(
        &fixture,
        &fixture.namespace,
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
    wait_for_reason(&fixture, &fixture.namespace, "Ready", &[]).await;
    wait_for_reason(&fixture, &other, "Ready", &[]).await;
}

#[tokio::test]
async fn conflicting_and_unusable_devices_are_reported() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.class(json!({})).await;
    let device = format!("/dev/disk/by-id/{}", fixture.namespace);
    fixture
        .change_backend(json!({"devices": [device, device]}))
        .await;
    wait_for_reason(
        &fixture,
        &fixture.namespace,
        "InvalidSpec",
        &["devices", &device, "is listed twice"],
    )
    .await;
    fixture.change_backend(json!({"devices": [device]})).await;
    wait_for_reason(&fixture, &fixture.namespace, "Ready", &[]).await;
    let other = fixture.name("other");
    let spec = json!({"volumeGroup": "vg1", "devices": [device], "nodeSelector": {"matchLabels": {"fixture": fixture.namespace}}});
    let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": other}, "spec": spec});
    backends(&fixture)
        .create(&PostParams::default(), &from(object))
        .await
        .unwrap();
    let phrases = [
        device.as_str(),
        "is named for volume group vg0 here",
        &other,
        "for volume group vg1",
    ];
    wait_for_reason(&fixture, &fixture.namespace, "InvalidSpec", &phrases).await;
    wait_for_reason(
        &fixture,
        &other,
        "InvalidSpec",
        &["is named for volume group vg1 here", &fixture.namespace],
    )
    .await;
    fixture.change_backend(json!({"devices": null})).await;
    wait_for_reason(&fixture, &fixture.namespace, "Ready", &[]).await;
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
    let fixture = Fixture::new().await;
    fixture.node("n1", 2048).await;
    fixture.class(json!({})).await;
    fixture
        .change_backend(json!({"filesystem": {"type": "xfs", "mountOptions": ["loop"]}}))
        .await;
    wait_for_reason(
        &fixture,
        &fixture.namespace,
        "InvalidSpec",
        &["filesystem.mountOptions", "loop"],
    )
    .await;
    fixture
        .change_backend(json!({"filesystem": {"type": "xfs", "mountOptions": ["noatime"]}}))
        .await;
    wait_for_reason(&fixture, &fixture.namespace, "Ready", &[]).await;
    let name = volume_of(&fixture.claim("data", "1Gi", None).await);
    let made = fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "the LogicalVolume is written",
            |_| true,
        )
        .await;
    assert_eq!(
        serde_json::to_value(made.spec.filesystem).unwrap(),
        json!({"type": "xfs", "mountOptions": ["noatime"]})
    );
}
