//! Tests of what is removed, and what is kept.

use crds::condition::reason;
use crds::logical_volume::ReclaimPolicy;
use serde_json::json;

use super::fixture::Fixture;
use crate::controller::plan::{AGENT_TIMEOUT, PendingAdoption, Step};

#[test]
fn claim_deleted_during_creation_leaves_nothing_behind() {
    for mut fixture in [Fixture::reserved(), Fixture::created()] {
        fixture.claim = None;
        assert_eq!(fixture.step(), Step::DeleteUnclaimed);
        fixture.lv()["spec"]["state"] = json!("AbsentIfNeverUsed");
        assert!(matches!(fixture.step(), Step::Wait(_)));
        fixture.condition("Removed", "True", reason::REMOVED, "");
        assert_eq!(fixture.step(), Step::FinalizeDeletion);
    }
}

#[test]
fn retained_volume_outlives_claim_and_persistent_volume() {
    let mut fixture = Fixture::created();
    fixture.lv()["spec"]["reclaimPolicy"] = json!("Retain");
    fixture.claim = None;
    assert_eq!(fixture.step(), Step::SetReleased(true));
    fixture.lv()["spec"]["released"] = json!(true);
    assert_eq!(fixture.step(), Step::Done);
}

#[test]
fn volume_that_an_admin_adopted_is_never_removed_without_its_claim() {
    for policy in ["Delete", "Retain"] {
        let mut fixture = Fixture::created();
        fixture.lv()["spec"]["reclaimPolicy"] = json!(policy);
        fixture.lv()["spec"]["adopted"] = json!({"uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP",
            "adoption": "a", "adoptionUid": "7"});
        fixture.lv()["spec"]["released"] = json!(policy == "Retain");
        fixture.claim = None;
        assert_eq!(fixture.step(), Step::Done);
        // Its agent leaves the logical volume as it is.
        fixture.lv()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(fixture.step(), Step::CancelPlacement);
        fixture.lv()["metadata"]["deletionTimestamp"] = json!(null);
        // Until its PersistentVolume exists, only the Adoption creates it.
        fixture.adoption = Some(PendingAdoption {
            name: "a".to_owned(),
            volume: "pvc-1".to_owned(),
        });
        assert!(matches!(fixture.step(), Step::Wait(_)));
        // A fault of its node withdraws nothing, and its deletion leaves the logical volume.
        fixture.lv()["status"] = json!({});
        fixture.condition("Ready", "False", reason::VOLUME_GROUP_MISSING, "no vg0");
        assert!(matches!(fixture.step(), Step::Wait(_)));
        fixture.lv()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(fixture.step(), Step::CancelPlacement);
    }
}

#[test]
fn deleted_retained_volume_ends_once_its_lv_and_persistent_volume_are_gone() {
    let mut fixture = Fixture::bound();
    fixture.pv()["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    fixture.pv()["metadata"]["finalizers"] = json!([]);
    fixture.lv()["spec"]["reclaimPolicy"] = json!("Retain");
    fixture.lv()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let message = "logical volume vg0/pvc-1 was removed from n1";
    fixture.condition("Removed", "True", reason::REMOVED, message);
    assert!(matches!(fixture.step(), Step::Wait(_)));
    let event = fixture.event();
    assert!(event.contains(message) && event.contains("delete the PersistentVolume"));
    fixture.claim = None;
    fixture.volume = None;
    assert_eq!(fixture.step(), Step::FinalizeDeletion);
}

#[test]
fn only_uncreated_volume_of_deleted_node_is_discarded() {
    let mut fixture = Fixture::reserved();
    fixture.node = false;
    assert_eq!(fixture.step(), Step::DiscardUncreated);
    let mut fixture = Fixture::created();
    fixture.node = false;
    assert!(matches!(fixture.step(), Step::Wait(_)));
    assert!(fixture.event().contains("node n1 is gone"));
}

#[test]
fn released_volume_is_removed_step_by_step() {
    let mut fixture = Fixture::released();
    assert_eq!(fixture.step(), Step::RequestDeletion);
    fixture.lv()["spec"]["state"] = json!("Absent");
    assert!(matches!(fixture.step(), Step::Wait(_)));
    fixture.condition("Removed", "False", reason::IN_USE, "open by 1");
    assert_eq!(fixture.event(), "VolumeFailedDelete: open by 1");
    fixture.lv()["status"] = json!({});
    fixture.condition("Removed", "True", reason::REMOVED, "");
    assert_eq!(fixture.step(), Step::FinalizeDeletion);
    fixture.logical_volume = None;
    assert_eq!(fixture.step(), Step::Unpublish);
}

#[test]
fn only_released_volume_with_policy_delete_is_removed() {
    for phase in ["Bound", "Available", "Failed", "Pending", ""] {
        for is_being_deleted in [false, true] {
            let mut fixture = Fixture::released();
            fixture.phase(phase);
            if is_being_deleted {
                fixture.pv()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            assert!(
                !matches!(
                    fixture.step(),
                    Step::RequestDeletion | Step::FinalizeDeletion | Step::Unpublish
                ),
                "{phase} {is_being_deleted}"
            );
        }
    }
    let mut fixture = Fixture::released();
    fixture.pv()["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] = json!("other.dev");
    assert_eq!(fixture.step(), Step::Done);
}

#[test]
fn volume_that_is_bound_again_is_kept() {
    for state in ["Absent", "AbsentIfNeverUsed"] {
        for phase in ["Bound", "Available", "Pending"] {
            let mut fixture = Fixture::released();
            fixture.lv()["spec"]["state"] = json!(state);
            fixture.phase(phase);
            assert_eq!(fixture.step(), Step::CancelDeletion, "{state} {phase}");
            fixture.condition("Removed", "True", reason::REMOVED, "gone");
            assert!(
                fixture
                    .event()
                    .contains("was removed before it was bound again")
            );
        }
    }
}

#[test]
fn cancelled_volume_reports_why_it_stays() {
    let mut fixture = Fixture::reserved();
    fixture.lv()["spec"]["state"] = json!("AbsentIfNeverUsed");
    assert_eq!(fixture.event(), "");
    fixture.waited = AGENT_TIMEOUT;
    assert!(fixture.event().contains("does not report"));
    fixture.condition("Removed", "False", reason::NOT_EMPTY, "it carries ext4");
    assert_eq!(fixture.event(), "ProvisioningFailed: it carries ext4");
}

#[test]
fn change_to_retain_is_written_before_the_finalizer_is_removed() {
    let mut fixture = Fixture::released();
    fixture.pv()["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    assert_eq!(
        fixture.step(),
        Step::SetReclaimPolicy(ReclaimPolicy::Retain)
    );
    fixture.lv()["spec"]["reclaimPolicy"] = json!("Retain");
    assert_eq!(fixture.step(), Step::SetFinalizer(false));
    fixture.pv()["metadata"]["finalizers"] = json!([]);
    // For the report of the node.
    assert_eq!(fixture.step(), Step::SetReleased(true));
    fixture.lv()["spec"]["released"] = json!(true);
    assert_eq!(fixture.step(), Step::Done);
    fixture.phase("Bound");
    assert_eq!(fixture.step(), Step::SetReleased(false));
    fixture.phase("Released");
    fixture.pv()["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
    assert_eq!(
        fixture.step(),
        Step::SetReclaimPolicy(ReclaimPolicy::Delete)
    );
}

#[test]
fn volume_that_another_claim_binds_names_it_and_sends_it_events() {
    let mut fixture = Fixture::bound();
    fixture.pv()["spec"]["claimRef"] = json!({"namespace": "shop", "name": "restored", "uid": "2"});
    let claim = json!({"namespace": "shop", "name": "restored", "uid": "2"});
    assert_eq!(
        fixture.step(),
        Step::SetCurrentClaim(serde_json::from_value(claim.clone()).unwrap())
    );
    fixture.lv()["spec"]["currentClaim"] = claim;
    fixture.lv()["status"]["conditions"] = json!([]);
    fixture.condition(
        "Ready",
        "False",
        reason::LOGICAL_VOLUME_MISSING,
        "it is missing",
    );
    let about = fixture.plan().notice.unwrap().about;
    assert_eq!(
        (about.namespace.as_deref(), about.uid.as_deref()),
        (Some("shop"), Some("2"))
    );
}

#[test]
fn volume_without_claim_keeps_the_name_of_the_last_one() {
    for reference in [json!(null), json!({"namespace": "shop", "name": "next"})] {
        let mut fixture = Fixture::bound();
        fixture.phase("Available");
        fixture.pv()["spec"]["claimRef"] = reference;
        fixture.claim = None;
        assert_eq!(fixture.step(), Step::Done);
    }
}
