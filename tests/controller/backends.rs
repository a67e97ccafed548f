//! StorageBackends: what contradicts itself or others, what is too small for a layout, and what is
//! deleted while in use.

use std::time::Duration;

use crds::logical_volume::State;
use crds::{NodeStorage, StorageBackend};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::stage::{Stage, from};
use super::{condition, volume_of};

fn backends(stage: &Stage) -> Api<StorageBackend> {
    Api::all(stage.client.clone())
}

/// Waits until the corner's backend has this reason and these words.
async fn says(stage: &Stage, name: &str, reason: &str, words: &[&str]) -> StorageBackend {
    let is = |backend: &StorageBackend| {
        let conditions = backend.status.clone().unwrap_or_default().conditions;
        let ready = conditions.iter().find(|ready| ready.type_ == "Ready");
        ready.is_some_and(|ready| {
            ready.reason == reason && words.iter().all(|word| ready.message.contains(word))
        })
    };
    stage
        .wait(&backends(stage), name, &format!("{name} says {reason}"), is)
        .await
}

fn disk(uuid: &str, size: &str) -> Value {
    json!({"uuid": uuid, "name": format!("/dev/{uuid}"), "size": size, "usedByOthers": "0", "free": "0"})
}

#[tokio::test]
async fn fifty_mirrored_claims_on_disks_for_nine_make_nine_volumes() {
    let stage = Stage::new().await;
    stage.node("n1", 1000).await;
    // Each image of 32 MiB takes an extent more for its metadata; beside the large disk there is
    // room for five and for four.
    let disks = [disk("a", "640Mi"), disk("b", "200Mi"), disk("c", "160Mi")];
    let group = json!([{"name": "vg0", "uuid": "u", "size": "1000Mi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0", "physicalVolumes": disks}]);
    stage.report(&stage.name("n1"), group).await;
    stage.class(json!({})).await;
    stage
        .change_backend(json!({"layout": {"type": "RAID1"}}))
        .await;
    for number in 0..50 {
        stage.claim(&format!("c{number}"), "32Mi", None).await;
    }
    stage
        .told(&[
            "ProvisioningFailed",
            "with 36 MiB free in volume group vg0 but raid1 needs 2",
        ])
        .await;
    stage.quiet().await;
    let made = stage.made().await;
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
async fn a_contradictory_backend_says_which_field_and_serves_nobody() {
    let stage = Stage::new().await;
    stage.node("n1", 64).await;
    stage.class(json!({})).await;
    // No rule of the definition refuses it, so that newer servers take it too.
    stage
        .change_backend(json!({"layout": {"type": "Striped", "stripeSize": "3Ki"}}))
        .await;
    says(
        &stage,
        &stage.namespace,
        "InvalidSpec",
        &["layout.stripeSize"],
    )
    .await;
    stage.claim("data", "8Mi", None).await;
    stage
        .told(&[
            "ProvisioningFailed",
            "layout.stripeSize: 3Ki is not possible",
        ])
        .await;
    assert!(stage.made().await.is_empty());
    stage
        .change_backend(json!({"layout": {"stripeSize": null, "type": "Linear"}}))
        .await;
    let served = harness::wait::until("it is served", Duration::from_secs(10), async || {
        Ok((stage.made().await.len() == 1).then_some(()))
    });
    served.await.unwrap();
}

#[tokio::test]
async fn a_node_with_too_few_disks_does_not_serve() {
    let stage = Stage::new().await;
    stage.node("n1", 100).await;
    let group = json!([{"name": "vg0", "uuid": "u", "size": "100Mi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0", "physicalVolumes": [disk("a", "100Mi")]}]);
    stage.report(&stage.name("n1"), group).await;
    stage.class(json!({})).await;
    stage
        .change_backend(json!({"layout": {"type": "RAID5"}}))
        .await;
    let words = "has 1 disk in volume group vg0 but raid5 needs 3 (add disks with vgextend)";
    let backend = says(&stage, &stage.namespace, "SomeNodesUnready", &[words]).await;
    assert_eq!(backend.status.unwrap().nodes.as_deref(), Some("0/1"));
    stage.claim("data", "8Mi", None).await;
    stage.told(&["ProvisioningFailed", words]).await;
    assert!(stage.made().await.is_empty());
}

#[tokio::test]
async fn a_backend_with_volumes_stays_until_they_are_gone() {
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.class(json!({})).await;
    let guarded = |backend: &StorageBackend| {
        backend
            .finalizers()
            .contains(&crds::BACKEND_FINALIZER.to_owned())
    };
    assert!(
        !guarded(&backends(&stage).get(&stage.namespace).await.unwrap()),
        "a backend without volumes is free to go"
    );
    let name = volume_of(&stage.claim("data", "64Mi", None).await);
    stage
        .wait(
            &stage.logical_volumes(),
            &name,
            "the LogicalVolume is written",
            |_| true,
        )
        .await;
    stage
        .wait(&backends(&stage), &stage.namespace, "it is kept", guarded)
        .await;
    backends(&stage)
        .delete(&stage.namespace, &DeleteParams::default())
        .await
        .unwrap();
    says(
        &stage,
        &stage.namespace,
        "BeingDeleted",
        &["waits for 1 volume", &name, "claim", "/data on node"],
    )
    .await;
    stage.claim("late", "64Mi", None).await;
    stage
        .told(&["ProvisioningFailed", "is being deleted"])
        .await;

    stage.delete_claim("data").await;
    stage
        .wait(&stage.logical_volumes(), &name, "it is withdrawn", |lv| {
            lv.spec.state == State::AbsentIfNeverUsed
        })
        .await;
    stage
        .agent_says(
            &name,
            json!({"conditions": [condition("Removed", "True", "Removed", "gone")]}),
        )
        .await;
    stage.gone(&stage.logical_volumes(), &name).await;
    stage.gone(&backends(&stage), &stage.namespace).await;
    assert!(stage.made().await.is_empty());
}

#[tokio::test]
async fn two_backends_that_each_keep_back_the_whole_group_say_so() {
    let stage = Stage::new().await;
    stage.node("n1", 64).await;
    stage.class(json!({})).await;
    stage.change_backend(json!({"reserve": "100%"})).await;
    let other = stage.name("other");
    let spec = json!({"volumeGroup": "vg0", "reserve": "64Mi", "nodeSelector": {"matchLabels": {"stage": stage.namespace}}});
    let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": other}, "spec": spec});
    backends(&stage)
        .create(&PostParams::default(), &from(object))
        .await
        .unwrap();
    says(
        &stage,
        &stage.namespace,
        "InvalidSpec",
        &["reserve", &other, "vg0", "lower spec.reserve"],
    )
    .await;
    says(
        &stage,
        &other,
        "InvalidSpec",
        &["reserve", &stage.namespace],
    )
    .await;
    stage.change_backend(json!({"reserve": "50%"})).await;
    says(&stage, &stage.namespace, "Ready", &[]).await;
    says(&stage, &other, "Ready", &[]).await;
}

#[tokio::test]
async fn devices_of_two_volume_groups_and_devices_that_can_not_be_taken_are_named() {
    let stage = Stage::new().await;
    stage.node("n1", 64).await;
    stage.class(json!({})).await;
    let device = format!("/dev/disk/by-id/{}", stage.namespace);
    stage
        .change_backend(json!({"devices": [device, device]}))
        .await;
    says(
        &stage,
        &stage.namespace,
        "InvalidSpec",
        &["devices", &device, "is listed twice"],
    )
    .await;
    stage.change_backend(json!({"devices": [device]})).await;
    says(&stage, &stage.namespace, "Ready", &[]).await;
    let other = stage.name("other");
    let spec = json!({"volumeGroup": "vg1", "devices": [device], "nodeSelector": {"matchLabels": {"stage": stage.namespace}}});
    let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": other}, "spec": spec});
    backends(&stage)
        .create(&PostParams::default(), &from(object))
        .await
        .unwrap();
    let words = [
        device.as_str(),
        "is named for volume group vg0 here",
        &other,
        "for volume group vg1",
    ];
    says(&stage, &stage.namespace, "InvalidSpec", &words).await;
    says(
        &stage,
        &other,
        "InvalidSpec",
        &["is named for volume group vg1 here", &stage.namespace],
    )
    .await;
    stage.change_backend(json!({"devices": null})).await;
    says(&stage, &stage.namespace, "Ready", &[]).await;
    says(
        &stage,
        &other,
        "SomeNodesUnready",
        &["has no volume group vg1"],
    )
    .await;

    let entry = json!({"volumeGroup": "vg1", "path": device, "inVolumeGroup": false, "reason": "NotBlank", "message": "there is ext4 on it"});
    let storages: Api<NodeStorage> = Api::all(stage.client.clone());
    let patch = Patch::Merge(json!({"status": {"devices": [entry]}}));
    storages
        .patch_status(&stage.name("n1"), &PatchParams::default(), &patch)
        .await
        .unwrap();
    let words = format!("has no volume group vg1 ({device}: there is ext4 on it)");
    says(&stage, &other, "SomeNodesUnready", &[&words]).await;
}

#[tokio::test]
async fn the_default_file_system_is_the_backends() {
    let stage = Stage::new().await;
    stage.node("n1", 2048).await;
    stage.class(json!({})).await;
    stage
        .change_backend(json!({"filesystem": {"type": "xfs", "mountOptions": ["loop"]}}))
        .await;
    says(
        &stage,
        &stage.namespace,
        "InvalidSpec",
        &["filesystem.mountOptions", "loop"],
    )
    .await;
    stage
        .change_backend(json!({"filesystem": {"type": "xfs", "mountOptions": ["noatime"]}}))
        .await;
    says(&stage, &stage.namespace, "Ready", &[]).await;
    let name = volume_of(&stage.claim("data", "1Gi", None).await);
    let made = stage
        .wait(
            &stage.logical_volumes(),
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
