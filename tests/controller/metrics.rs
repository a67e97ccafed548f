//! The controller's metrics, scraped over HTTP.

use harness::scrape::{check_with_promtool, value, wait_for_sample};

use crate::fixture::{Controller, Fixture, volume_of};

#[tokio::test]
async fn scrape_shows_reservations_and_how_long_a_claim_waited() {
    let fixture = Fixture::with_waiting_class(&[("n1", 100)]).await;
    let controller = Controller::shared(fixture.server).await;
    let backend = format!("{{backend=\"{}\"}}", fixture.namespace);
    let location = format!("{{node=\"{}\",volume_group=\"vg0\"}}", fixture.name("n1"));
    let mebibyte = f64::from(1 << 20);

    let name = volume_of(&fixture.claim("data", "64Mi", Some("n1")).await);
    fixture.wait_for_logical_volume(&name).await;
    let reserved = format!("flexlvm_space_reserved_bytes{location}");
    let text = wait_for_sample(controller.address, &reserved, |reserved| reserved > 0.0)
        .await
        .unwrap();
    for (sample, expected) in [
        (reserved, 64.0 * mebibyte),
        (
            format!("flexlvm_space_free_bytes{location}"),
            36.0 * mebibyte,
        ),
        (format!("flexlvm_claims_waiting{backend}"), 1.0),
        (format!("flexlvm_backend_ready{backend}"), 1.0),
    ] {
        assert_eq!(value(&text, &sample), Some(expected), "{sample} in {text}");
    }

    fixture.agent_creates(&name).await;
    fixture.wait_for_persistent_volume(&name).await;
    fixture.bind("data", &name).await;
    let bound = format!("flexlvm_claim_bound_duration_seconds_count{backend}");
    let text = wait_for_sample(controller.address, &bound, |count| count > 0.0)
        .await
        .unwrap();
    let volumes = format!(
        "flexlvm_volumes{{backend=\"{}\",layout=\"Linear\",state=\"Present\",reason=\"Ready\"}}",
        fixture.namespace
    );
    let created = format!(
        "flexlvm_volume_operation_duration_seconds_count{{operation=\"create\",backend=\"{}\"}}",
        fixture.namespace
    );
    for sample in [bound, volumes, created] {
        assert_eq!(value(&text, &sample), Some(1.0), "{sample} in {text}");
    }
    assert_eq!(
        value(&text, &format!("flexlvm_claims_waiting{backend}")),
        Some(0.0)
    );
    let events = "flexlvm_events_total{type=\"Normal\",reason=\"ProvisioningSucceeded\"}";
    // All tests of the program share this controller.
    wait_for_sample(controller.address, events, |count| count > 0.0)
        .await
        .unwrap();
    check_with_promtool(&text).unwrap();
}
