//! From a deleted claim to a removed volume, and the volumes that are kept.

use crds::Erase;
use crds::logical_volume::State;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::fixture::{Fixture, condition, from, volume_of};

#[tokio::test]
async fn claim_deleted_during_creation_leaves_nothing() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = volume_of(&fixture.claim("data", "64Mi", Some("n1")).await);
    fixture.wait_for_logical_volume(&name).await;
    fixture.delete_claim("data").await;
    fixture
        .wait_for_state(&name, State::AbsentIfNeverUsed)
        .await;
    fixture.agent_removes(&name).await;
    fixture.gone(&fixture.logical_volumes(), &name).await;
    assert!(fixture.volumes().get_opt(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn released_volume_is_removed_once_not_in_use() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    fixture.delete_claim("data").await;
    fixture.quiet().await;
    let lv = fixture.logical_volumes().get(&name).await.unwrap();
    assert_eq!(
        lv.spec.state,
        State::Present,
        "no write before the volume is released"
    );
    fixture.phase(&name, "Released").await;
    fixture.wait_for_state(&name, State::Absent).await;
    fixture
        .agent_reports(&name, condition("Removed", "False", "InUse", "open by 1"))
        .await;
    fixture.quiet().await;
    assert!(fixture.volumes().get_opt(&name).await.unwrap().is_some());
    fixture.agent_removes(&name).await;
    fixture.gone(&fixture.logical_volumes(), &name).await;
    fixture.wait_until_finalizer_is_removed(&name).await;
    fixture.remove_finalizers(&name).await;
    fixture.gone(&fixture.volumes(), &name).await;
}

#[tokio::test]
async fn removed_volume_is_erased_as_its_backend_requires_at_the_removal() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    let lv = fixture.logical_volumes().get(&name).await.unwrap();
    assert_eq!(lv.spec.erase, Erase::None);
    fixture.change_backend(json!({"erase": "Zero"})).await;
    let second = fixture.bound("second", "64Mi", "n1").await;
    let lv = fixture.logical_volumes().get(&second).await.unwrap();
    assert_eq!(lv.spec.erase, Erase::Zero);
    fixture.delete_claim("data").await;
    fixture.phase(&name, "Released").await;
    fixture.wait_for_state(&name, State::Absent).await;
    let lv = fixture.logical_volumes().get(&name).await.unwrap();
    assert_eq!(lv.spec.erase, Erase::Zero);
}

#[tokio::test]
async fn deleting_logical_volume_object_removes_nothing() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    fixture
        .logical_volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    fixture.quiet().await;
    let lv = fixture.logical_volumes().get(&name).await.unwrap();
    assert!(lv.metadata.deletion_timestamp.is_some());
    assert_eq!(lv.spec.state, State::Present);
}

#[tokio::test]
async fn volume_switched_to_retain_outlives_its_persistent_volume() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    let patch = Patch::Merge(json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}}));
    fixture
        .volumes()
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    fixture.wait_until_finalizer_is_removed(&name).await;
    fixture.delete_claim("data").await;
    fixture.phase(&name, "Released").await;
    fixture
        .volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    fixture.remove_finalizers(&name).await;
    fixture.gone(&fixture.volumes(), &name).await;
    fixture.quiet().await;
    let lv = fixture.logical_volumes().get(&name).await.unwrap();
    assert_eq!(lv.spec.state, State::Present);
}

#[tokio::test]
async fn retained_volume_names_and_informs_the_next_claim_that_binds_it() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 128).await;
    fixture
        .class(json!({"volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true}))
        .await;
    let name = fixture.bound("first", "64Mi", "n1").await;
    let retain = Patch::Merge(json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}}));
    fixture
        .volumes()
        .patch(&name, &PatchParams::default(), &retain)
        .await
        .unwrap();
    fixture.delete_claim("first").await;
    let spec = json!({"accessModes": ["ReadWriteOnce"], "volumeName": name, "storageClassName": fixture.namespace,
        "resources": {"requests": {"storage": "64Mi"}}});
    let claim = json!({"metadata": {"name": "second"}, "spec": spec});
    let second = fixture
        .claims()
        .create(&PostParams::default(), &from(claim))
        .await
        .unwrap();
    let reference = json!({"namespace": fixture.namespace, "name": "second", "uid": second.uid()});
    let bind = Patch::Merge(json!({"spec": {"claimRef": reference}}));
    fixture
        .volumes()
        .patch(&name, &PatchParams::default(), &bind)
        .await
        .unwrap();
    let what = "the LogicalVolume names the second claim";
    let lv = fixture
        .wait(&fixture.logical_volumes(), &name, what, |lv| {
            lv.spec.current_claim().name == "second"
        })
        .await;
    assert_eq!(lv.spec.claim.name, "first");
    fixture
        .patch_claim_status("second", json!({"phase": "Bound"}))
        .await;
    fixture.request_size("second", "4Gi").await;
    let phrases = ["VolumeResizeFailed", "can't grow to 4 GiB"];
    fixture.wait_for_event_about("second", &phrases).await;
}
