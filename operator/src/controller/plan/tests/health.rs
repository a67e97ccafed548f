//! Events about volumes that are not healthy, and about their recovery.

use crds::condition::reason;
use serde_json::json;

use super::fixture::Fixture;
use crate::controller::plan::Step;

/// What only admins may read.
const SECRET: &str = "physical volume abc of volume group vg0 is missing; lvconvert --repair";

#[test]
fn unhealthy_volume_is_reported_without_names_of_disks() {
    for (reason, phrase) in [
        (reason::DEGRADED, "works, but has lost a disk"),
        (reason::CACHE_FAILED, "the cache of the volume"),
        (reason::INTEGRITY_MISMATCHES, "returned wrong data"),
        (reason::IMAGE_MISMATCHES, "its disks do not agree"),
        (reason::RESYNCING, "until its synchronization ends"),
        (reason::POOL_FULL, "is full, so writes fail or wait"),
        (reason::READ_ONLY, "is read-only, so writes fail"),
        (reason::POOL_METADATA_FULL, "accepts no changes"),
        (reason::POOL_READ_ONLY, "accepts no changes"),
    ] {
        let mut fixture = Fixture::bound();
        fixture.condition("Healthy", "False", reason, SECRET);
        let event = fixture.event();
        assert!(event.starts_with("VolumeConditionAbnormal: "), "{event}");
        assert!(event.contains(phrase), "{event}");
        assert!(
            event.contains("conditions of LogicalVolume pvc-1") && event.contains("node n1"),
            "{event}"
        );
        assert!(!event.contains("abc"), "{event}");
        assert!(matches!(fixture.step(), Step::Wait(_)));
        assert!(fixture.plan().notice.unwrap().warning);
    }
}

#[test]
fn failed_volume_is_not_ready_and_reported_once() {
    for found in [
        reason::FAILED,
        reason::CACHE_FAILED,
        reason::DEVICE_OUTDATED,
    ] {
        let mut fixture = Fixture::bound();
        fixture.lv()["status"]["conditions"] = json!([]);
        fixture.condition("Ready", "False", found, SECRET);
        fixture.condition("Healthy", "False", found, SECRET);
        let event = fixture.event();
        assert!(event.starts_with("VolumeNotReady: "), "{event}");
        assert!(!event.contains("abc"), "{event}");
    }
    let mut fixture = Fixture::reserved();
    fixture.condition("Ready", "False", reason::FAILED, SECRET);
    assert!(matches!(fixture.step(), Step::Wait(_)), "not published");
    assert!(fixture.event().starts_with("ProvisioningFailed: "));
}

#[test]
fn unhealthy_volume_grows_if_its_agent_can_extend_it() {
    let mut fixture = Fixture::bound();
    fixture.condition("Healthy", "False", reason::DEGRADED, SECRET);
    fixture.request("2Gi");
    assert!(matches!(fixture.step(), Step::Grow(_)));
}

#[test]
fn synchronization_of_a_healthy_volume_is_not_reported() {
    let mut fixture = Fixture::bound();
    fixture.condition("Healthy", "True", reason::RESYNCING, SECRET);
    assert_eq!(
        (fixture.event(), fixture.step()),
        (String::new(), Step::Done)
    );
}

#[test]
fn recovery_is_reported_if_the_fault_was_observed() {
    let mut fixture = Fixture::bound();
    fixture.condition("Healthy", "True", reason::HEALTHY, "Healthy");
    assert_eq!(
        (fixture.event(), fixture.step()),
        (String::new(), Step::Done)
    );
    fixture.was_unhealthy = true;
    let notice = fixture.plan().notice.unwrap();
    assert!(!notice.warning);
    assert_eq!(
        (notice.reason, notice.message.as_str()),
        (
            "VolumeConditionNormal",
            "the volume on node n1 is healthy again"
        )
    );
    assert_eq!(fixture.step(), Step::Done);
}
