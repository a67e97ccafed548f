//! Tests of growth: with and without space, and with a lowered request.

use crds::condition::reason;
use host::Bytes;
use serde_json::json;

use super::fixture::Fixture;
use crate::controller::plan::{AGENT_TIMEOUT, Step};

#[test]
fn raised_request_or_capacity_grows_the_volume() {
    let mut fixture = Fixture::bound();
    fixture.request("2Gi");
    assert_eq!(
        fixture.step(),
        Step::Grow(Bytes(2 << 30)),
        "the claim's request counts, not the capacity"
    );
    fixture.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(fixture.step(), Step::Grow(Bytes(2 << 30)));
    fixture.lv()["spec"]["size"] = json!("2Gi");
    assert_eq!(fixture.step(), Step::Wait(AGENT_TIMEOUT));
    fixture.lv()["status"]["conditions"] = json!([]);
    fixture.condition("Ready", "False", reason::INSUFFICIENT_SPACE, "1 GiB free");
    assert_eq!(fixture.event(), "VolumeResizeFailed: 1 GiB free");
    assert_eq!(
        fixture.step(),
        Step::LimitCapacity(Bytes(1 << 30)),
        "pods start with the existing size"
    );
    fixture.pv()["spec"]["capacity"]["storage"] = json!("1Gi");
    assert_eq!(fixture.event(), "VolumeResizeFailed: 1 GiB free");
    assert!(matches!(fixture.step(), Step::Wait(_)));
    fixture.lv()["status"]["size"] = json!("2Gi");
    fixture.lv()["status"]["conditions"] = json!([]);
    fixture.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(fixture.step(), Step::Done);
}

#[test]
fn pool_reservation_grows_when_the_backend_allows_more() {
    let disk = json!({"uuid": "d1", "name": "/dev/sdb", "size": "100Gi", "usedByOthers": "0", "free": "0"});
    let group = json!({"name": "vg0", "uuid": "u", "size": "100Gi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0",
        "physicalVolumes": [disk]});
    let ready = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let mut fixture = Fixture::bound();
    fixture.storage = Some(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": "n1"}, "spec": {},
        "status": {"conditions": [ready], "volumeGroups": [group]}}),
    );
    let create = json!({"size": "10Gi", "maximumSize": "10Gi", "metadataSize": "12Mi",
        "physicalVolumes": [{"uuid": "d1", "size": "10264Mi"}]});
    fixture.lv()["spec"]["layout"] = json!({"type": "Thin"});
    fixture.lv()["spec"]["thinPool"] = json!({"name": "flexlvm-fast", "create": create});
    for (maximum, step) in [
        ("10Gi", Step::Done),
        // The current size, for a larger reservation of its pool.
        ("20Gi", Step::Grow(Bytes(1 << 30))),
        // The volume group lacks the space.
        ("200Gi", Step::Done),
    ] {
        let thin_pool = json!({"size": "10Gi", "maximumSize": maximum});
        fixture.backend.as_mut().unwrap()["spec"] =
            json!({"volumeGroup": "vg0", "layout": {"type": "Thin"}, "thinPool": thin_pool});
        assert_eq!(fixture.step(), step, "{maximum}");
    }
}

#[test]
fn capacity_is_limited_while_the_agent_does_not_report() {
    let mut fixture = Fixture::bound();
    fixture.request("2Gi");
    fixture.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    fixture.lv()["spec"]["size"] = json!("2Gi");
    fixture.lv()["status"]["conditions"] = json!([]);
    fixture.waited = AGENT_TIMEOUT;
    assert!(fixture.event().contains("does not report"));
    assert_eq!(fixture.step(), Step::LimitCapacity(Bytes(1 << 30)));
}

#[test]
fn lowered_request_replaces_growth_without_space() {
    let mut fixture = Fixture::bound();
    fixture.claim.as_mut().unwrap()["status"] = json!({"capacity": {"storage": "1Gi"},
        "allocatedResources": {"storage": "20Gi"},
        "allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"}});
    fixture.request("20Gi");
    assert_eq!(fixture.step(), Step::Grow(Bytes(20 << 30)));
    fixture.request("2Gi");
    assert_eq!(fixture.step(), Step::Grow(Bytes(2 << 30)));
    fixture.lv()["spec"]["size"] = json!("2Gi");
    fixture.lv()["status"]["size"] = json!("2Gi");
    assert_eq!(
        fixture.step(),
        Step::CompleteGrowth {
            request: Bytes(2 << 30)
        }
    );
    fixture.claim.as_mut().unwrap()["status"] = json!({"capacity": {"storage": "1Gi"},
        "allocatedResources": {"storage": "2Gi"},
        "allocatedResourceStatuses": {"storage": "NodeResizePending"}});
    fixture.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(fixture.step(), Step::Done, "the kubelet does the rest");
}
