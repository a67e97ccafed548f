//! What is removed, and what is kept.

use super::*;

#[test]
fn a_claim_deleted_while_its_volume_is_made_leaves_nothing() {
    for mut story in [Story::promised(), Story::made()] {
        story.claim = None;
        assert_eq!(story.step(), Step::DeleteUnclaimed);
        story.lv()["spec"]["state"] = json!("AbsentIfNeverUsed");
        assert!(matches!(story.step(), Step::Wait(_)));
        story.condition("Removed", "True", reason::REMOVED, "");
        assert_eq!(story.step(), Step::FinalizeDeletion);
    }
}
#[test]
fn a_volume_that_is_to_be_retained_outlives_claim_and_persistent_volume() {
    let mut story = Story::made();
    story.lv()["spec"]["reclaimPolicy"] = json!("Retain");
    story.claim = None;
    assert_eq!(story.step(), Step::Done);
}
#[test]
fn an_unmade_volume_on_a_vanished_node_is_dropped_and_a_made_one_is_not() {
    let mut story = Story::promised();
    story.node = false;
    assert_eq!(story.step(), Step::DiscardUncreated);
    let mut story = Story::made();
    story.node = false;
    assert!(matches!(story.step(), Step::Wait(_)));
    assert!(story.words().contains("node n1 is gone"));
}
#[test]
fn a_released_volume_goes_step_by_step() {
    let mut story = Story::released();
    assert_eq!(story.step(), Step::RequestDeletion);
    story.lv()["spec"]["state"] = json!("Absent");
    assert!(matches!(story.step(), Step::Wait(_)));
    story.condition("Removed", "False", reason::IN_USE, "open by 1");
    assert_eq!(story.words(), "VolumeFailedDelete: open by 1");
    story.lv()["status"] = json!({});
    story.condition("Removed", "True", reason::REMOVED, "");
    assert_eq!(story.step(), Step::FinalizeDeletion);
    story.logical_volume = None;
    assert_eq!(story.step(), Step::Unpublish);
}
#[test]
fn nothing_but_a_released_volume_with_policy_delete_is_ever_removed() {
    for phase in ["Bound", "Available", "Failed", "Pending", ""] {
        for leaving in [false, true] {
            let mut story = Story::released();
            story.phase(phase);
            if leaving {
                story.pv()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            assert!(
                !matches!(
                    story.step(),
                    Step::RequestDeletion | Step::FinalizeDeletion | Step::Unpublish
                ),
                "{phase} {leaving}"
            );
        }
    }
    let mut story = Story::released();
    story.pv()["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] = json!("other.dev");
    assert_eq!(story.step(), Step::Done);
}
#[test]
fn a_volume_that_is_bound_again_is_kept() {
    for state in ["Absent", "AbsentIfNeverUsed"] {
        for phase in ["Bound", "Available", "Pending"] {
            let mut story = Story::released();
            story.lv()["spec"]["state"] = json!(state);
            story.phase(phase);
            assert_eq!(story.step(), Step::CancelDeletion, "{state} {phase}");
            story.condition("Removed", "True", reason::REMOVED, "gone");
            assert!(
                story
                    .words()
                    .contains("was removed before it was bound again")
            );
        }
    }
}
#[test]
fn a_withdrawn_volume_that_stays_says_why() {
    let mut story = Story::promised();
    story.lv()["spec"]["state"] = json!("AbsentIfNeverUsed");
    assert_eq!(story.words(), "");
    story.waited = PATIENCE;
    assert!(story.words().contains("does not answer"));
    story.condition("Removed", "False", reason::NOT_EMPTY, "it carries ext4");
    assert_eq!(story.words(), "ProvisioningFailed: it carries ext4");
}
#[test]
fn a_change_to_retain_is_written_down_before_the_finalizer_goes() {
    let mut story = Story::released();
    story.pv()["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    assert_eq!(story.step(), Step::SetReclaimPolicy(ReclaimPolicy::Retain));
    story.lv()["spec"]["reclaimPolicy"] = json!("Retain");
    assert_eq!(story.step(), Step::SetFinalizer(false));
    story.pv()["metadata"]["finalizers"] = json!([]);
    assert_eq!(story.step(), Step::Done);
    story.pv()["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
    assert_eq!(story.step(), Step::SetReclaimPolicy(ReclaimPolicy::Delete));
}
