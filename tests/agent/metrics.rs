//! The agent's metrics, scraped over HTTP.

use std::time::Duration;

use harness::scrape::{check_with_promtool, scrape, value, wait_for_sample};
use harness::simulated::EXTENT;

use super::fixture::Fixture;

fn bytes(extents: u64) -> f64 {
    (extents * EXTENT) as f64
}

#[tokio::test]
async fn scrape_shows_volumes_groups_and_commands() {
    let fixture = Fixture::new(100).await;
    let agent = fixture.agent();
    fixture.wait_for_driver().await;
    let name = fixture.create_volume("orders", 2).await;
    fixture.ready(&name).await;
    let node = format!("node=\"{}\"", fixture.name);
    let volume = format!(
        "{{{node},volume_group=\"vg0\",logical_volume=\"{name}\",claim_namespace=\"default\",claim=\"orders\""
    );
    let size = format!("flexlvm_logical_volume_size_bytes{volume}}}");
    let text = wait_for_sample(agent.address, &size, |size| size >= bytes(2))
        .await
        .unwrap();
    let group = format!("{{{node},volume_group=\"vg0\"}}");
    for (sample, expected) in [
        (
            format!("flexlvm_volume_group_size_bytes{group}"),
            bytes(100),
        ),
        (format!("flexlvm_volume_group_free_bytes{group}"), bytes(98)),
        (format!("flexlvm_volume_group_logical_volumes{group}"), 1.0),
        (
            format!("flexlvm_volume_group_missing_physical_volumes{group}"),
            0.0,
        ),
        (format!("flexlvm_orphaned_volumes{group}"), 0.0),
        (format!("flexlvm_driver_installed{{{node}}}"), 1.0),
        (format!("flexlvm_lvm_report_failed{{{node}}}"), 0.0),
        (format!("flexlvm_lvm_lock_waiting{{{node}}}"), 0.0),
        (format!("flexlvm_queue_length{{{node}}}"), 0.0),
        (
            format!("flexlvm_logical_volume_ready{volume},reason=\"Ready\"}}"),
            1.0,
        ),
        (
            format!("flexlvm_logical_volume_health{volume},health=\"healthy\"}}"),
            1.0,
        ),
        (
            format!("flexlvm_lvm_commands_total{{{node},command=\"lvcreate\",result=\"success\"}}"),
            1.0,
        ),
    ] {
        assert_eq!(value(&text, &sample), Some(expected), "{sample} in {text}");
    }
    check_with_promtool(&text).unwrap();
}

#[tokio::test]
async fn orphans_and_failed_commands_are_counted() {
    let fixture = Fixture::new(100).await;
    let agent = fixture.agent();
    let name = fixture.create_volume("orders", 2).await;
    fixture.ready(&name).await;
    fixture.delete_object(&name).await;
    let node = format!("node=\"{}\"", fixture.name);
    let orphans = format!("flexlvm_orphaned_volumes{{{node},volume_group=\"vg0\"}}");
    wait_for_sample(agent.address, &orphans, |count| count > 0.0)
        .await
        .unwrap();
    fixture.node.hook(|verb, _| {
        if verb == "lvcreate" {
            Err(host::Error::failed("no LVM"))
        } else {
            Ok(())
        }
    });
    let failing = fixture.create_volume("failing", 2).await;
    fixture.wait_for_not_ready(&failing, "LvmFailed", "").await;
    let failures =
        format!("flexlvm_lvm_commands_total{{{node},command=\"lvcreate\",result=\"failure\"}}");
    let retries = format!("flexlvm_reconcile_failures_total{{{node}}}");
    for sample in [failures, retries] {
        wait_for_sample(agent.address, &sample, |count| count > 0.0)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn scrapes_run_no_command_and_send_no_request() {
    let fixture = Fixture::new(100).await;
    let agent = fixture.agent();
    fixture.wait_for_driver().await;
    fixture.quiet().await;
    let commands = fixture.node.state().verbs.len();
    let writes = fixture.report_writes();
    for _ in 0..3 {
        scrape(agent.address).unwrap();
        // Longer than the time for which a text is served again.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let commands = fixture.node.state().verbs.len() - commands;
    assert!(commands <= 1, "{commands}: one may be the periodic report");
    assert!(fixture.report_writes() <= writes + 1);
}
