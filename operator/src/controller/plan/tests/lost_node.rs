//! Tests of what happens to the volumes of a lost node.

use std::time::Duration;

use crds::condition::reason;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use placement::node_loss::NodeLoss;
use serde_json::json;

use super::fixture::Fixture;
use crate::controller::plan::Step;

/// The default grace period.
const HOUR: Duration = Duration::from_hours(1);

/// Records that the loss was observed at this second, and sets the present time.
fn at(fixture: &mut Fixture, lost: i64, now: i64, lost_for: Duration) {
    let lost = Timestamp::from_second(lost).unwrap();
    fixture.lv()["spec"]["nodeLostTime"] = json!(Time(lost));
    fixture.now = Timestamp::from_second(now).unwrap();
    fixture.lost_for = lost_for;
}

#[test]
fn claim_on_a_lost_node_waits_with_an_event_unless_the_backend_releases() {
    for settings in [
        json!(null),
        json!({}),
        json!({"policy": "Wait", "gracePeriodSeconds": 0}),
    ] {
        let mut fixture = Fixture::lost();
        fixture.backend.as_mut().unwrap()["spec"]["nodeLoss"] = settings;
        at(&mut fixture, 0, 1_000_000, HOUR * 24);
        assert!(matches!(fixture.step(), Step::Wait(_)));
        let event = fixture.event();
        assert!(event.starts_with("NodeLost: node n1 is gone, "), "{event}");
        assert!(
            event.contains("`kubectl flexlvm release-node n1`"),
            "{event}"
        );
    }
    // A deleted backend states nothing.
    let mut fixture = Fixture::lost();
    fixture.backend = None;
    assert!(matches!(fixture.step(), Step::Wait(_)));
}

#[test]
fn grace_period_begins_when_the_loss_is_recorded_and_ends_with_the_return() {
    let mut fixture = Fixture::lost();
    fixture.now = Timestamp::from_second(7200).unwrap();
    assert_eq!(fixture.step(), Step::SetNodeLost(Some(Time(fixture.now))));
    at(&mut fixture, 7200, 7200, Duration::ZERO);
    assert!(matches!(fixture.step(), Step::Wait(_)));
    let event = fixture.event();
    assert!(event.contains("before 1970-01-01 03:00 UTC"), "{event}");
    at(&mut fixture, 7200, 7200 + 3599, HOUR);
    assert_eq!(fixture.step(), Step::Wait(Duration::from_secs(1)));
    at(&mut fixture, 7200, 7200 + 3600, HOUR);
    assert_eq!(fixture.step(), Step::Abandon);
    fixture.node_loss = None;
    fixture.node = true;
    assert_eq!(fixture.step(), Step::SetNodeLost(None));
    fixture.lv()["spec"]["nodeLostTime"] = json!(null);
    assert_eq!(fixture.step(), Step::Done);
}

#[test]
fn claim_is_released_only_after_this_process_has_observed_the_loss_for_minutes() {
    let mut fixture = Fixture::lost();
    // The recorded time is old: of a restored etcd, or of a clock that went forward.
    at(&mut fixture, 0, 1_000_000, Duration::ZERO);
    assert_eq!(fixture.step(), Step::Wait(Duration::from_mins(5)));
    at(&mut fixture, 0, 1_000_000, Duration::from_mins(5));
    assert_eq!(fixture.step(), Step::Abandon);
    // The clock went back.
    at(&mut fixture, 1_000_000, 0, HOUR * 24);
    assert!(matches!(fixture.step(), Step::Wait(_)));
    // A shorter grace period counts in full.
    fixture.backend.as_mut().unwrap()["spec"]["nodeLoss"]["gracePeriodSeconds"] = json!(10);
    at(&mut fixture, 0, 1_000_000, Duration::from_secs(4));
    assert_eq!(fixture.step(), Step::Wait(Duration::from_secs(6)));
}

#[test]
fn each_kind_of_loss_counts() {
    for (loss, words) in [
        (NodeLoss::Deleted, "node n1 is gone"),
        (NodeLoss::OutOfService, "node n1 is out of service"),
        (NodeLoss::Replaced, "node n1 was replaced"),
    ] {
        let mut fixture = Fixture::lost();
        fixture.node = loss != NodeLoss::Deleted;
        fixture.node_loss = Some(loss);
        at(&mut fixture, 0, 60, Duration::ZERO);
        assert!(fixture.event().contains(words), "{}", fixture.event());
        at(&mut fixture, 0, 3600, HOUR);
        assert_eq!(fixture.step(), Step::Abandon);
    }
}

#[test]
fn growth_that_a_lost_node_can_not_do_does_not_delay_the_release() {
    let mut fixture = Fixture::lost();
    fixture.request("2Gi");
    fixture.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    at(&mut fixture, 0, 3600, HOUR);
    assert_eq!(fixture.step(), Step::Abandon);
    fixture.node_loss = None;
    fixture.node = true;
    assert!(matches!(fixture.step(), Step::Grow(_)));
}

#[test]
fn volume_without_a_claim_is_abandoned_only_if_it_is_being_removed() {
    // Reclaim policy Retain keeps it, and no claim waits.
    let mut fixture = Fixture::created();
    fixture.node = false;
    fixture.node_loss = Some(NodeLoss::Deleted);
    fixture.claim = None;
    fixture.lv()["spec"]["reclaimPolicy"] = json!("Retain");
    fixture.lv()["spec"]["released"] = json!(true);
    fixture.backend.as_mut().unwrap()["spec"]["nodeLoss"] = json!({"policy": "Release"});
    assert_eq!(fixture.step(), Step::Done);
    // Released, and to be removed by an agent that is gone.
    let mut fixture = Fixture::lost();
    fixture.claim = None;
    fixture.phase("Released");
    assert_eq!(fixture.step(), Step::RequestDeletion);
    fixture.lv()["spec"]["state"] = json!("Absent");
    at(&mut fixture, 0, 3600, HOUR);
    assert_eq!(fixture.step(), Step::Abandon);
    fixture.lv()["spec"]["state"] = json!("Abandoned");
    assert_eq!(fixture.step(), Step::UnpublishAbandoned);
}

#[test]
fn abandoned_volume_releases_claim_then_persistent_volume_and_stays() {
    let mut fixture = Fixture::lost();
    fixture.lv()["spec"]["state"] = json!("Abandoned");
    assert_eq!(fixture.step(), Step::ReleaseClaim);
    let event = fixture.event();
    assert!(
        event.starts_with("ClaimReleased: node n1 is lost"),
        "{event}"
    );
    fixture.claim.as_mut().unwrap()["metadata"]["deletionTimestamp"] =
        json!("2026-01-01T00:00:00Z");
    assert!(matches!(fixture.step(), Step::Wait(_)));
    assert!(
        fixture
            .event()
            .contains("it ends once no pod on a node uses it")
    );
    fixture.claim = None;
    assert!(matches!(fixture.step(), Step::Wait(_)));
    fixture.phase("Released");
    assert_eq!(fixture.step(), Step::UnpublishAbandoned);
    fixture.volume = None;
    assert_eq!(fixture.step(), Step::Done);
    // Its node returns, and reports it.
    fixture.node = true;
    fixture.node_loss = None;
    fixture.status(json!({"uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP", "nodeUid": "n1-uid"}));
    fixture.condition("Ready", "False", reason::ABANDONED, "");
    assert_eq!(fixture.step(), Step::Done);
    // The logical volume is gone, or an admin has deleted the object.
    fixture.condition("Removed", "True", reason::REMOVED, "");
    assert_eq!(fixture.step(), Step::FinalizeDeletion);
    fixture.lv()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(fixture.step(), Step::EndWithoutAgent);
}

#[test]
fn retained_persistent_volume_of_an_abandoned_volume_is_kept() {
    let mut fixture = Fixture::lost();
    fixture.lv()["spec"]["state"] = json!("Abandoned");
    fixture.pv()["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    assert_eq!(fixture.step(), Step::ReleaseClaim);
    fixture.claim = None;
    for phase in ["Released", "Available"] {
        fixture.phase(phase);
        assert_eq!(fixture.step(), Step::Done, "{phase}");
    }
    // An admin binds it to another claim.
    fixture.phase("Bound");
    fixture.pv()["spec"]["claimRef"] = json!({"namespace": "shop", "name": "again", "uid": "2"});
    let claim = serde_json::from_value(fixture.pv()["spec"]["claimRef"].clone()).unwrap();
    assert_eq!(fixture.step(), Step::CancelAbandonment(Some(claim)));
}

#[test]
fn node_that_returns_before_its_claim_is_deleted_keeps_the_claim() {
    let mut fixture = Fixture::bound();
    fixture.lv()["spec"]["state"] = json!("Abandoned");
    fixture.lv()["status"]["nodeUid"] = json!("n1-uid");
    assert_eq!(fixture.step(), Step::CancelAbandonment(None));
    // Not found there, or not by this Node's agent, or lost again.
    fixture.lv()["status"]["nodeUid"] = json!("former");
    assert_eq!(fixture.step(), Step::ReleaseClaim);
    fixture.lv()["status"] = json!({"nodeUid": "n1-uid"});
    fixture.condition("Ready", "False", reason::LOGICAL_VOLUME_MISSING, "");
    assert_eq!(fixture.step(), Step::ReleaseClaim);
    fixture.lv()["status"] = json!({"nodeUid": "n1-uid"});
    fixture.node_loss = Some(NodeLoss::OutOfService);
    assert_eq!(fixture.step(), Step::ReleaseClaim);
}

#[test]
fn abandoned_volume_without_persistent_volume_releases_its_claim_alone() {
    let mut fixture = Fixture::created();
    fixture.node = false;
    fixture.node_loss = Some(NodeLoss::Deleted);
    fixture.lv()["spec"]["state"] = json!("Abandoned");
    assert_eq!(fixture.step(), Step::ReleaseClaim);
    // The claim has got another volume, which is not this one's to release.
    fixture.claim.as_mut().unwrap()["spec"]["volumeName"] = json!("pv-of-an-admin");
    assert_eq!(fixture.step(), Step::Done);
    // One that was never created keeps its claim, which is placed on another node.
    let mut fixture = Fixture::reserved();
    fixture.node = false;
    fixture.node_loss = Some(NodeLoss::Deleted);
    fixture.lv()["spec"]["state"] = json!("Abandoned");
    assert_eq!(fixture.step(), Step::DiscardUncreated);
}

#[test]
fn object_that_an_admin_deletes_ends_once_node_and_claim_are_gone() {
    let mut fixture = Fixture::released();
    fixture.lv()["spec"]["state"] = json!("Absent");
    fixture.lv()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(matches!(fixture.step(), Step::Wait(_)));
    fixture.node_loss = Some(NodeLoss::OutOfService); // it may come back, and its agent removes it
    assert!(matches!(fixture.step(), Step::Wait(_)));
    fixture.node_loss = Some(NodeLoss::Deleted);
    assert_eq!(fixture.step(), Step::EndWithoutAgent);
    fixture.condition("Removed", "False", reason::IN_USE, "open by 1");
    assert_eq!(fixture.step(), Step::EndWithoutAgent);
    // A retained one, whose PersistentVolume the admin has deleted.
    let mut fixture = Fixture::created();
    fixture.lv()["spec"]["reclaimPolicy"] = json!("Retain");
    fixture.lv()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    fixture.node = false;
    fixture.node_loss = Some(NodeLoss::Deleted);
    assert!(matches!(fixture.step(), Step::Wait(_)), "its claim exists");
    fixture.claim = None;
    assert_eq!(fixture.step(), Step::EndWithoutAgent);
}
