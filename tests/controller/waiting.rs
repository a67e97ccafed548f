//! Claims that wait for space: their order, their Events, and the changes that requeue them.
//!
//! Without a change, the controller retries a waiting claim after fifteen minutes: a claim that is
//! served within a test's time limit was requeued.

use crds::StorageBackend;
use crds::logical_volume::State;
use harness::apiserver::ApiServer;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::fixture::{Fixture, has_selected_node, volume_of};

/// Sets the `Ready` condition of a node, as its kubelet does.
async fn set_kubelet_ready(fixture: &Fixture, node: &str, ready: &str) {
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
    let patch = Patch::Strategic(status);
    fixture
        .nodes()
        .patch_status(&fixture.name(node), &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Cordons or uncordons a node, as `kubectl cordon` does.
async fn set_cordoned(fixture: &Fixture, node: &str, cordoned: bool) {
    let patch = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
    fixture
        .nodes()
        .patch(&fixture.name(node), &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test]
async fn fifty_claims_with_space_for_ten_create_ten_volumes_and_forty_events() {
    let fixture = Fixture::with_immediate_class(&[("n1", 256), ("n2", 64)]).await;
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
    let created = fixture.own_logical_volumes().await;
    assert_eq!(created.len(), 10);
    assert_eq!(
        created
            .iter()
            .filter(|lv| lv.spec.node == fixture.name("n2"))
            .count(),
        2
    );
    for lv in &created {
        // No node rejects a reserved volume: the controller's calculation is correct.
        fixture.agent_creates(&lv.name_any()).await;
        fixture.wait_for_persistent_volume(&lv.name_any()).await;
    }
    let claims = fixture
        .claims()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    for claim in claims {
        if created.iter().any(|lv| lv.name_any() == volume_of(&claim)) {
            continue;
        }
        fixture
            .wait_for_event_about(
                &claim.name_any(),
                &["ProvisioningFailed", "no node can provide", "free of"],
            )
            .await;
    }
    fixture.report_size("n2", "96Mi").await;
    fixture.wait_for_volume_count(11).await;
}

#[tokio::test]
async fn removed_volume_frees_space_for_next_claim() {
    let fixture = Fixture::with_waiting_class(&[("n1", 64)]).await;
    let old = fixture.bound("old", "64Mi", "n1").await;
    let new = volume_of(&fixture.claim("new", "64Mi", Some("n1")).await);
    fixture
        .wait_for_event(&["ProvisioningFailed", "0 bytes free of 64 MiB"])
        .await;
    fixture.delete_claim("old").await;
    fixture.phase(&old, "Released").await;
    fixture.wait_for_state(&old, State::Absent).await;
    assert_eq!(
        fixture.own_logical_volumes().await.len(),
        1,
        "its space stays reserved until it is removed"
    );
    fixture.agent_removes(&old).await;
    fixture.wait_for_logical_volume(&new).await;
}

#[tokio::test]
async fn edited_reserve_or_layout_requeues_waiting_claims() {
    let fixture = Fixture::with_immediate_class(&[("n1", 128)]).await;
    fixture.change_backend(json!({"reserve": "96Mi"})).await;
    fixture.claim("first", "64Mi", None).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "32 MiB free of 128 MiB"])
        .await;
    fixture.change_backend(json!({"reserve": "50%"})).await;
    fixture.wait_for_volume_count(1).await;
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
    fixture.wait_for_volume_count(2).await;
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
    let fixture = Fixture::with_immediate_class(&[("n1", 128)]).await;
    set_kubelet_ready(&fixture, "n1", "Unknown").await;
    fixture.claim("first", "32Mi", None).await;
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "is not Ready: its kubelet does not report",
        ])
        .await;
    set_kubelet_ready(&fixture, "n1", "True").await;
    fixture.wait_for_volume_count(1).await;

    set_cordoned(&fixture, "n1", true).await;
    fixture.claim("second", "32Mi", None).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "is cordoned"])
        .await;
    set_cordoned(&fixture, "n1", false).await;
    fixture.wait_for_volume_count(2).await;
}

#[tokio::test]
async fn node_with_hanging_lvm_gets_no_volume_and_its_claims_an_event() {
    let fixture = Fixture::with_immediate_class(&[("n1", 128)]).await;
    let placed = volume_of(&fixture.claim("placed", "32Mi", None).await);
    fixture.wait_for_volume_count(1).await;
    fixture.report_hang("n1").await;
    let node = fixture.name("n1");
    fixture
        .wait_for_event_about(
            "placed",
            &[
                "ProvisioningFailed",
                &format!("LVM does not respond on node {node}"),
                &format!("NodeStorage {node} names the LVM command"),
            ],
        )
        .await;
    fixture.claim("new", "32Mi", None).await;
    fixture
        .wait_for_event_about(
            "new",
            &[
                "ProvisioningFailed",
                "is not ready: LVM fails or hangs there",
            ],
        )
        .await;
    fixture.quiet().await;
    assert_eq!(fixture.own_logical_volumes().await.len(), 1);

    fixture.report_size("n1", "128Mi").await;
    fixture.wait_for_volume_count(2).await;
    fixture.agent_creates(&placed).await;
    fixture.wait_for_persistent_volume(&placed).await;
}

#[tokio::test]
async fn node_whose_agent_does_not_answer_gets_no_further_volume() {
    let fixture = Fixture::with_immediate_class(&[("n1", 256), ("n2", 64)]).await;
    let [n1, n2] = ["n1", "n2"].map(|node| fixture.name(node));
    let first = volume_of(&fixture.claim("first", "32Mi", None).await);
    let placed = fixture.wait_for_logical_volume(&first).await;
    assert_eq!(placed.spec.node, n1, "it has more space");
    let silent = format!("{n1} has a FlexLVM agent that has not reported for");
    fixture
        .wait(
            &fixture.backends(),
            &fixture.namespace,
            "the backend does not count the node",
            |backend: &StorageBackend| {
                let conditions = backend.status.iter().flat_map(|status| &status.conditions);
                let mut messages = conditions.map(|condition| &condition.message);
                messages.any(|message| message.contains(&silent))
            },
        )
        .await;
    let second = volume_of(&fixture.claim("second", "32Mi", None).await);
    let placed = fixture.wait_for_logical_volume(&second).await;
    assert_eq!(placed.spec.node, n2);
    let third = volume_of(&fixture.claim("third", "64Mi", None).await);
    fixture
        .wait_for_event_about("third", &["ProvisioningFailed", &silent])
        .await;
    // Its answer shows that the agent is back.
    fixture.agent_creates(&first).await;
    let placed = fixture.wait_for_logical_volume(&third).await;
    assert_eq!(placed.spec.node, n1);
}

#[tokio::test]
async fn claim_waiting_on_selected_node_is_served_there_or_released() {
    let fixture = Fixture::with_waiting_class(&[("n1", 32), ("n2", 32)]).await;
    let stays = volume_of(&fixture.claim("stays", "64Mi", Some("n1")).await);
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "64 MiB",
            "can't provide",
            "32 MiB free of 32 MiB",
        ])
        .await;
    let claim = fixture.claims().get("stays").await.unwrap();
    assert!(has_selected_node(&claim));
    fixture.report_size("n1", "64Mi").await;
    fixture.wait_for_logical_volume(&stays).await;

    fixture.claim("leaves", "96Mi", Some("n1")).await;
    fixture
        .wait_for_event_about(
            "leaves",
            &["ProvisioningFailed", "96 MiB", "0 bytes free of 64 MiB"],
        )
        .await;
    fixture.report_size("n2", "1Gi").await;
    fixture.wait_until_deselected("leaves").await;
}

#[tokio::test]
async fn claim_of_a_populator_keeps_its_node_and_gets_no_volume() {
    // Earlier servers drop a data source of a foreign kind.
    if !ApiServer::shared().await.is_since(24) {
        return;
    }
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let source = json!({"apiGroup": "populator.example.com", "kind": "Hello", "name": "greeting"});
    let spec = json!({"accessModes": ["ReadWriteOnce"], "dataSourceRef": source,
        "resources": {"requests": {"storage": "64Mi"}}});
    fixture.claim_of("data", spec, Some("n1")).await;
    let phrase = "waiting for the volume populator of Hello.populator.example.com";
    fixture
        .wait_for_event(&["WaitingForPopulator", phrase])
        .await;
    fixture.quiet().await;
    let claim = fixture.claims().get("data").await.unwrap();
    assert!(has_selected_node(&claim));
    assert!(fixture.own_logical_volumes().await.is_empty());
}
