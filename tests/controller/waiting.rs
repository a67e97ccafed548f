//! Claims that wait for space: their order, their Events, and the changes that requeue them.
//!
//! Without a change, the controller retries a waiting claim after fifteen minutes: a claim that is
//! served within a test's time limit was requeued.

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::fixture::{Fixture, condition, volume_of};
use super::waits_for_consumer;

fn group(size: &str) -> Value {
    json!([{"name": "vg0", "uuid": "u", "size": size, "extentSize": "4Mi", "usedByOthers": "0", "free": "0"}])
}

/// Waits until `count` LogicalVolumes exist.
async fn wait_for_volume_count(fixture: &Fixture, count: usize) {
    let limit = harness::wait::LIMIT;
    if let Err(error) = harness::wait::until(
        "the expected number of claims is served",
        limit,
        async || Ok((fixture.own_logical_volumes().await.len() == count).then_some(())),
    )
    .await
    {
        panic!(
            "{error}: {} of {count}; Events: {:#?}",
            fixture.own_logical_volumes().await.len(),
            fixture.event_messages().await
        );
    }
}

#[tokio::test]
async fn fifty_claims_with_space_for_ten_create_ten_volumes_and_forty_events() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 256).await;
    fixture.node("n2", 64).await;
    fixture.class(json!({})).await;
    for number in 0..50 {
        fixture.claim(&format!("c{number}"), "32Mi", None).await;
    }
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "0 bytes free of 256 MiB",
            "0 bytes free of 64 MiB",
        ])
        .await;
    fixture.quiet().await;
    let made = fixture.own_logical_volumes().await;
    assert_eq!(made.len(), 10);
    assert_eq!(
        made.iter()
            .filter(|lv| lv.spec.node == fixture.name("n2"))
            .count(),
        2
    );
    for lv in &made {
        // No node rejects a reserved volume: the controller's calculation is correct.
        fixture.agent_creates(&lv.name_any()).await;
        fixture
            .wait(
                &fixture.volumes(),
                &lv.name_any(),
                "the PersistentVolume is created",
                |_| true,
            )
            .await;
    }
    let claims = fixture
        .claims()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let served =
        |claim: &PersistentVolumeClaim| made.iter().any(|lv| lv.name_any() == volume_of(claim));
    for waiting in claims.iter().filter(|claim| !served(claim)) {
        fixture
            .wait_for_event_about(
                &waiting.name_any(),
                &["ProvisioningFailed", "no node can provide", "free of"],
            )
            .await;
    }
    fixture.report(&fixture.name("n2"), group("96Mi")).await;
    wait_for_volume_count(&fixture, 11).await;
}

#[tokio::test]
async fn removed_volume_frees_space_for_next_claim() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.class(waits_for_consumer()).await;
    let old = fixture.bound("old", "64Mi", "n1").await;
    let new = volume_of(&fixture.claim("new", "64Mi", Some("n1")).await);
    fixture
        .wait_for_event(&["ProvisioningFailed", "0 bytes free of 64 MiB"])
        .await;
    fixture.delete_claim("old").await;
    fixture.phase(&old, "Released").await;
    fixture
        .wait(
            &fixture.logical_volumes(),
            &old,
            "its deletion is requested",
            |lv: &crds::LogicalVolume| lv.spec.state == crds::logical_volume::State::Absent,
        )
        .await;
    assert_eq!(
        fixture.own_logical_volumes().await.len(),
        1,
        "its space stays reserved until it is removed"
    );
    fixture
        .agent_writes_status(
            &old,
            json!({"conditions": [condition("Removed", "True", "Removed", "gone")]}),
        )
        .await;
    fixture
        .wait(
            &fixture.logical_volumes(),
            &new,
            "the next claim is served",
            |_| true,
        )
        .await;
}

#[tokio::test]
async fn edited_reserve_or_layout_requeues_waiting_claims() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 128).await;
    fixture.class(json!({})).await;
    fixture.change_backend(json!({"reserve": "96Mi"})).await;
    fixture.claim("first", "64Mi", None).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "32 MiB free of 128 MiB"])
        .await;
    fixture.change_backend(json!({"reserve": "50%"})).await;
    wait_for_volume_count(&fixture, 1).await;
    fixture
        .change_backend(json!({"reserve": null, "layout": {"type": "RAID1"}}))
        .await;
    fixture.claim("second", "64Mi", None).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "raid1 needs 2"])
        .await;
    fixture
        .change_backend(json!({"layout": {"type": "Linear"}}))
        .await;
    wait_for_volume_count(&fixture, 2).await;
    fixture
        .change_backend(json!({"nodeSelector": {"matchLabels": {"fixture": "nowhere"}}}))
        .await;
    fixture.claim("third", "32Mi", None).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "its nodeSelector matches no node"])
        .await;
}

#[tokio::test]
async fn returning_node_requeues_waiting_claims() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 128).await;
    fixture.class(json!({})).await;
    let nodes: Api<Node> = Api::all(fixture.client.clone());
    let name = fixture.name("n1");
    let kubelet = async |ready: &str| {
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        nodes
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(status))
            .await
            .unwrap();
    };
    kubelet("Unknown").await;
    fixture.claim("first", "32Mi", None).await;
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "is not Ready: its kubelet does not report",
        ])
        .await;
    kubelet("True").await;
    wait_for_volume_count(&fixture, 1).await;

    let cordon = async |cordoned: bool| {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
        nodes
            .patch(&name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    cordon(true).await;
    fixture.claim("second", "32Mi", None).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "is cordoned"])
        .await;
    cordon(false).await;
    wait_for_volume_count(&fixture, 2).await;
}

#[tokio::test]
async fn claim_waiting_on_selected_node_is_served_there_or_released() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 32).await;
    fixture.node("n2", 32).await;
    fixture.class(waits_for_consumer()).await;
    let stays = volume_of(&fixture.claim("stays", "64Mi", Some("n1")).await);
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "64 MiB",
            "can't provide",
            "32 MiB free of 32 MiB",
        ])
        .await;
    assert!(
        fixture
            .claims()
            .get("stays")
            .await
            .unwrap()
            .annotations()
            .contains_key(operator::kube::names::SELECTED_NODE)
    );
    fixture.report(&fixture.name("n1"), group("64Mi")).await;
    fixture
        .wait(
            &fixture.logical_volumes(),
            &stays,
            "the claim is served on its selected node",
            |_| true,
        )
        .await;

    fixture.claim("leaves", "96Mi", Some("n1")).await;
    fixture
        .wait_for_event_about(
            "leaves",
            &["ProvisioningFailed", "96 MiB", "0 bytes free of 64 MiB"],
        )
        .await;
    fixture.report(&fixture.name("n2"), group("1Gi")).await;
    fixture
        .wait(
            &fixture.claims(),
            "leaves",
            "its selected node is removed",
            |claim: &PersistentVolumeClaim| {
                !claim
                    .annotations()
                    .contains_key(operator::kube::names::SELECTED_NODE)
            },
        )
        .await;
}
