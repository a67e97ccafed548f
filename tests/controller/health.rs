//! Events of claims about the health of their volumes.

use serde_json::json;

use crate::fixture::{Fixture, condition};

#[tokio::test]
async fn claim_gets_event_when_its_volume_is_unhealthy_and_when_it_is_healthy_again() {
    let fixture = Fixture::with_waiting_class(&[("n1", 128)]).await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    let ready = condition("Ready", "True", "Ready", "Ready");
    let secret = "thin pool vg0/of-others: its data space is full";
    let full = condition("Healthy", "False", "PoolFull", secret);
    fixture
        .agent_writes_status(&name, json!({"conditions": [ready, full]}))
        .await;
    fixture
        .wait_for_event_about(
            "data",
            &["VolumeConditionAbnormal", "is full", "LogicalVolume pvc-"],
        )
        .await;
    let healthy = condition("Healthy", "True", "Healthy", "Healthy");
    fixture
        .agent_writes_status(&name, json!({"conditions": [ready, healthy]}))
        .await;
    fixture
        .wait_for_event_about("data", &["VolumeConditionNormal", "is healthy again"])
        .await;
    let messages = fixture.event_messages().await;
    assert!(
        messages
            .iter()
            .all(|message| !message.contains("of-others")),
        "{messages:#?}"
    );
}
