//! Claims that wait for space: who gets it, who is told what, and what wakes them. Unless something
//! happens, the controller looks at a waiting claim again after fifteen minutes: whoever is served
//! here before a test gives up was woken.

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::stage::{Stage, condition, volume_of};
use super::waits_for_consumer;

fn group(size: &str) -> Value {
    json!([{"name": "vg0", "uuid": "u", "size": size, "extentSize": "4Mi", "usedByOthers": "0", "free": "0"}])
}

/// Waits until so many orders are written.
async fn ordered(stage: &Stage, count: usize) {
    let ordered = async || Ok((stage.made().await.len() == count).then_some(()));
    let limit = std::time::Duration::from_secs(20);
    if let Err(error) = harness::wait::until("so many are served", limit, ordered).await {
        panic!(
            "{error}: {} of {count}; Events: {:#?}",
            stage.made().await.len(),
            stage.words().await
        );
    }
}

#[tokio::test]
async fn fifty_claims_on_space_for_ten_make_ten_volumes_and_forty_are_told_why_not() {
    let stage = Stage::new().await;
    stage.node("n1", 256).await;
    stage.node("n2", 64).await;
    stage.class(json!({})).await;
    for number in 0..50 {
        stage.claim(&format!("c{number}"), "32Mi", None).await;
    }
    stage
        .told(&[
            "ProvisioningFailed",
            "0 bytes free of 256 MiB",
            "0 bytes free of 64 MiB",
        ])
        .await;
    stage.quiet().await;
    let made = stage.made().await;
    assert_eq!(made.len(), 10);
    assert_eq!(
        made.iter()
            .filter(|lv| lv.spec.node == stage.name("n2"))
            .count(),
        2
    );
    for lv in &made {
        // Nobody's node refuses what was promised there: the sums are right.
        stage.agent_makes(&lv.name_any()).await;
        stage
            .wait(
                &stage.volumes(),
                &lv.name_any(),
                "the PersistentVolume is written",
                |_| true,
            )
            .await;
    }
    let claims = stage
        .claims()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let served =
        |claim: &PersistentVolumeClaim| made.iter().any(|lv| lv.name_any() == volume_of(claim));
    for waiting in claims.iter().filter(|claim| !served(claim)) {
        stage
            .told_about(
                &waiting.name_any(),
                &["ProvisioningFailed", "no node can provide", "free of"],
            )
            .await;
    }
    stage.report(&stage.name("n2"), group("96Mi")).await;
    ordered(&stage, 11).await;
}

#[tokio::test]
async fn a_volume_that_goes_makes_room_for_the_next() {
    let stage = Stage::new().await;
    stage.node("n1", 64).await;
    stage.class(waits_for_consumer()).await;
    let old = stage.bound("old", "64Mi", "n1").await;
    let new = volume_of(&stage.claim("new", "64Mi", Some("n1")).await);
    stage
        .told(&["ProvisioningFailed", "0 bytes free of 64 MiB"])
        .await;
    stage.delete_claim("old").await;
    stage.phase(&old, "Released").await;
    let absent = |lv: &crds::LogicalVolume| lv.spec.state == crds::logical_volume::State::Absent;
    stage
        .wait(&stage.logical_volumes(), &old, "it is to go", absent)
        .await;
    assert_eq!(
        stage.made().await.len(),
        1,
        "its space is its own until it is gone"
    );
    stage
        .agent_says(
            &old,
            json!({"conditions": [condition("Removed", "True", "Removed", "gone")]}),
        )
        .await;
    stage
        .wait(
            &stage.logical_volumes(),
            &new,
            "the next one is served",
            |_| true,
        )
        .await;
}

#[tokio::test]
async fn an_edited_reserve_or_layout_serves_who_waits() {
    let stage = Stage::new().await;
    stage.node("n1", 128).await;
    stage.class(json!({})).await;
    stage.change_backend(json!({"reserve": "96Mi"})).await;
    stage.claim("first", "64Mi", None).await;
    stage
        .told(&["ProvisioningFailed", "32 MiB free of 128 MiB"])
        .await;
    stage.change_backend(json!({"reserve": "50%"})).await;
    ordered(&stage, 1).await;
    stage
        .change_backend(json!({"reserve": null, "layout": {"type": "RAID1"}}))
        .await;
    stage.claim("second", "64Mi", None).await;
    stage.told(&["ProvisioningFailed", "raid1 needs 2"]).await;
    stage
        .change_backend(json!({"layout": {"type": "Linear"}}))
        .await;
    ordered(&stage, 2).await;
    stage
        .change_backend(json!({"nodeSelector": {"matchLabels": {"stage": "nowhere"}}}))
        .await;
    stage.claim("third", "32Mi", None).await;
    stage
        .told(&["ProvisioningFailed", "its nodeSelector matches no node"])
        .await;
}

#[tokio::test]
async fn a_node_that_comes_back_serves_who_waits() {
    let stage = Stage::new().await;
    stage.node("n1", 128).await;
    stage.class(json!({})).await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let name = stage.name("n1");
    let kubelet = async |ready: &str| {
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        nodes
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(status))
            .await
            .unwrap();
    };
    kubelet("Unknown").await;
    stage.claim("first", "32Mi", None).await;
    stage
        .told(&[
            "ProvisioningFailed",
            "is not Ready: its kubelet does not report",
        ])
        .await;
    kubelet("True").await;
    ordered(&stage, 1).await;

    let cordon = async |cordoned: bool| {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
        nodes
            .patch(&name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    cordon(true).await;
    stage.claim("second", "32Mi", None).await;
    stage.told(&["ProvisioningFailed", "is cordoned"]).await;
    cordon(false).await;
    ordered(&stage, 2).await;
}

#[tokio::test]
async fn a_claim_that_waits_on_its_selected_node_is_served_there_or_released_to_another() {
    let stage = Stage::new().await;
    stage.node("n1", 32).await;
    stage.node("n2", 32).await;
    stage.class(waits_for_consumer()).await;
    let stays = volume_of(&stage.claim("stays", "64Mi", Some("n1")).await);
    stage
        .told(&[
            "ProvisioningFailed",
            "64 MiB",
            "can't provide",
            "32 MiB free of 32 MiB",
        ])
        .await;
    assert!(
        stage
            .claims()
            .get("stays")
            .await
            .unwrap()
            .annotations()
            .contains_key(operator::kube::names::SELECTED_NODE)
    );
    stage.report(&stage.name("n1"), group("64Mi")).await;
    stage
        .wait(
            &stage.logical_volumes(),
            &stays,
            "it is served where it waited",
            |_| true,
        )
        .await;

    stage.claim("leaves", "96Mi", Some("n1")).await;
    stage
        .told_about(
            "leaves",
            &["ProvisioningFailed", "96 MiB", "0 bytes free of 64 MiB"],
        )
        .await;
    stage.report(&stage.name("n2"), group("1Gi")).await;
    let released = |claim: &PersistentVolumeClaim| {
        !claim
            .annotations()
            .contains_key(operator::kube::names::SELECTED_NODE)
    };
    stage
        .wait(&stage.claims(), "leaves", "its node is taken off", released)
        .await;
}
