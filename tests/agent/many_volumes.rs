//! Many volumes at once: the number of LVM commands, of reports and of writes.

use std::time::Duration;

use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test]
async fn fifty_volumes_cost_fifty_commands_and_fifty_writes() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture.wait_for_first_report().await;
    let reports = fixture.node.count("fullreport");
    for number in 0..50 {
        fixture.create_volume(&format!("v{number}"), 2).await;
    }
    for number in 0..50 {
        fixture.ready(&fixture.volume(&format!("v{number}"))).await;
    }
    assert_eq!(fixture.node.count("lvcreate"), 50);
    let reports = fixture.node.count("fullreport") - reports;
    assert!(reports <= 5, "{reports} reports");
    let reports = fixture.node.count("fullreport");
    // Slows the commands down to a realistic duration.
    fixture.node.hook(|_, after| {
        if !after {
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    });
    for number in 0..50 {
        fixture
            .change(
                &fixture.volume(&format!("v{number}")),
                json!({"state": "Absent"}),
            )
            .await;
    }
    for number in 0..50 {
        fixture
            .wait_for_removed(&fixture.volume(&format!("v{number}")), "Removed")
            .await;
    }
    assert_eq!(
        (
            fixture.node.count("lvremove"),
            fixture.node.state().groups[0].volumes.len()
        ),
        (50, 0)
    );
    assert_eq!(fixture.writes(&fixture.volume("v")).len(), 100);
    let reports = fixture.node.count("fullreport") - reports;
    assert!(
        reports <= 25,
        "{reports} reports: waiting tasks share one report"
    );
}

#[tokio::test]
async fn waiting_volumes_cause_no_writes_or_commands() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    for number in 0..30 {
        fixture
            .create_volume_with(&format!("v{number}"), json!({"volumeGroup": "vg1"}))
            .await;
    }
    for number in 0..30 {
        fixture
            .wait_for_not_ready(
                &fixture.volume(&format!("v{number}")),
                "VolumeGroupMissing",
                "",
            )
            .await;
    }
    fixture.quiet().await;
    let reports = fixture.node.count("fullreport");
    fixture.node.change(|state| state.groups[0].extents = 120);
    fixture.quiet().await;
    fixture.quiet().await;
    let reports = fixture.node.count("fullreport") - reports;
    assert!((1..=3).contains(&reports), "{reports} reports");
    assert_eq!(fixture.writes(&fixture.volume("v")).len(), 30);
}
