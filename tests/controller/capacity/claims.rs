//! Claims while capacities are published: served, or reported without a node.

use harness::apiserver::ApiServer;
use harness::wait;
use kube::ResourceExt as _;
use serde_json::json;

use super::{AMPLE, SINCE, published, wait_for_driver, wait_until_published};
use crate::fixture::{Fixture, volume_of, waits_for_consumer};

#[tokio::test]
async fn claim_on_last_space_is_served_while_node_is_published_as_full() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::with_waiting_class(&[("n1", 64)]).await;
    wait_until_published(&fixture, &[("n1", "64Mi")]).await;
    let name = volume_of(&fixture.claim("data", "64Mi", Some("n1")).await);
    fixture.wait_for_logical_volume(&name).await;
    wait_until_published(&fixture, &[("n1", "0")]).await;
    // A scheduler that restarts now finds the node full. The claim keeps its node and is served
    // without the scheduler, which does not check capacity for a bound claim.
    fixture.agent_creates(&name).await;
    fixture.wait_for_persistent_volume(&name).await;
    let claim = fixture.claims().get("data").await.unwrap();
    assert_eq!(
        claim.annotations()["volume.kubernetes.io/selected-node"],
        fixture.name("n1")
    );
}

#[tokio::test]
async fn claim_too_large_for_any_node_gets_event_without_node() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::with_waiting_class(&[("n1", 64)]).await;
    wait_until_published(&fixture, &[("n1", "64Mi")]).await;
    wait_for_driver(&fixture).await;
    fixture.unprovisioned_claim("small", "32Mi").await;
    fixture.unprovisioned_claim("large", "1Gi").await;
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "1 GiB",
            "no node can provide",
            "64 MiB free of 64 MiB",
        ])
        .await;
    fixture.quiet().await;
    assert_eq!(
        fixture.event_messages().await.len(),
        1,
        "the small one waits for its pod"
    );
    assert!(fixture.own_logical_volumes().await.is_empty());
}

#[tokio::test]
async fn claim_of_invalid_class_gets_event_without_node() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.unprovisioned_claim("data", "32Mi").await;
    let parameters = json!({"backend": fixture.namespace, "speed": "high"});
    fixture
        .class(json!({"volumeBindingMode": "WaitForFirstConsumer", "parameters": parameters}))
        .await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "unknown parameter \"speed\""])
        .await;
    wait_until_published(&fixture, &[("n1", AMPLE)]).await;
    // Parameters of a class are immutable; its admin replaces it.
    fixture.delete_class().await;
    fixture.class_only(waits_for_consumer()).await;
    wait_until_published(&fixture, &[("n1", "64Mi")]).await;
}

#[tokio::test]
async fn class_without_backend_gets_ample_capacity_after_grace_period() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.class_only(waits_for_consumer()).await;
    wait::until("the capacity is published", wait::LIMIT, async || {
        let found = published(&fixture).await;
        Ok(found.values().any(|size| size == AMPLE).then_some(()))
    })
    .await
    .unwrap();
    fixture.backend("vg0").await;
    wait_until_published(&fixture, &[("n1", "64Mi")]).await;
}
