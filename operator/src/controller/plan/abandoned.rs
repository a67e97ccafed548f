//! Plans the release of a claim whose volume is abandoned: the claim first, then its
//! PersistentVolume. The LogicalVolume stays as the record of the logical volume. Pure.
//!
//! The state `Abandoned` is the intent, written by the controller by the policy of the backend, or
//! by an admin. Kubernetes never binds a claim again whose PersistentVolume is gone, so the claim
//! must be deleted; its owner creates it again.

use crds::LogicalVolume;
use crds::condition;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt as _;
use placement::claim;
use placement::node_loss;

use super::published::{is_released, phase};
use super::{ObservedObjects, Plan, REVISIT, Step, about_reference};
use crate::kube::names::{self, event};

/// Plans the next step for a volume in state `Abandoned`.
pub(super) fn plan_abandoned(logical_volume: &LogicalVolume, observed: &ObservedObjects) -> Plan {
    match observed.persistent_volume.as_deref() {
        Some(volume) => plan_published(logical_volume, volume, observed),
        None => plan_unpublished(logical_volume, observed),
    }
}

/// Plans the step for an abandoned volume that has a PersistentVolume.
fn plan_published(
    logical_volume: &LogicalVolume,
    volume: &PersistentVolume,
    observed: &ObservedObjects,
) -> Plan {
    let provisioner = volume.annotations().get(names::PROVISIONED_BY);
    if provisioner.map(String::as_str) != Some(crds::GROUP) {
        return Step::Done.into();
    }
    if is_released(volume) {
        return Step::UnpublishAbandoned.into();
    }
    if phase(volume) != "Bound" {
        return Step::Done.into(); // reclaim policy Retain, or Kubernetes has yet to act
    }
    let bound = claim::bound_to(volume);
    match (bound, observed.claim.as_deref()) {
        // An admin or a volume populator has bound it again, with its data.
        (Some(bound), _) if bound.uid != logical_volume.spec.current_claim().uid => {
            Step::CancelAbandonment(Some(bound)).into()
        }
        (Some(_), Some(claim)) => plan_claim(logical_volume, claim, observed),
        // Kubernetes releases the PersistentVolume of a claim that is gone.
        _ => Step::Wait(REVISIT).into(),
    }
}

/// Plans the step for an abandoned volume that has no PersistentVolume, or no longer.
fn plan_unpublished(logical_volume: &LogicalVolume, observed: &ObservedObjects) -> Plan {
    let status = logical_volume.status.as_ref();
    if observed.node.is_none() && status.is_none_or(|status| status.uuid.is_none()) {
        return Step::DiscardUncreated.into(); // the claim is placed on another node
    }
    // It has the name of the claim's volume, so that the claim can't get another one.
    if let Some(claim) = observed.claim.as_deref()
        && !is_bound_to_another(claim, &logical_volume.name_any())
    {
        return plan_claim(logical_volume, claim, observed);
    }
    if logical_volume.metadata.deletion_timestamp.is_some() {
        return Step::EndWithoutAgent.into();
    }
    if status.is_some_and(|status| condition::is_true(&status.conditions, condition::REMOVED)) {
        return Step::FinalizeDeletion.into();
    }
    Step::Done.into()
}

/// Returns whether the claim is bound to another volume than the one of this name.
fn is_bound_to_another(claim: &PersistentVolumeClaim, name: &str) -> bool {
    let bound = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref());
    bound.is_some_and(|bound| !bound.is_empty() && bound != name)
}

/// Plans the release of the claim.
fn plan_claim(
    logical_volume: &LogicalVolume,
    claim: &PersistentVolumeClaim,
    observed: &ObservedObjects,
) -> Plan {
    let node = &logical_volume.spec.node;
    let about = claim::object_reference(&claim::reference(claim));
    if claim.metadata.deletion_timestamp.is_some() {
        let message = format!(
            "node {node} is lost and the claim is being deleted; it ends once no pod on a node uses it: if a pod stays on \
             {node}, delete the Node, or set the taint {} on it",
            node_loss::OUT_OF_SERVICE
        );
        let notice = about_reference(about, event::NODE_LOST, message);
        return Step::Wait(REVISIT).with_notice(notice);
    }
    if has_returned(logical_volume, observed) {
        return Step::CancelAbandonment(None).into();
    }
    let message = format!(
        "node {node} is lost, so the claim is deleted: created again, it gets an empty volume; the former data stays on \
         the disks of {node}, as LogicalVolume {}",
        logical_volume.name_any()
    );
    let notice = about_reference(about, event::CLAIM_RELEASED, message);
    Step::ReleaseClaim.with_notice(notice)
}

/// Returns whether the node is back with the logical volume, before its claim was deleted.
fn has_returned(logical_volume: &LogicalVolume, observed: &ObservedObjects) -> bool {
    let Some(node) = observed.node.as_deref() else {
        return false;
    };
    observed.node_loss.is_none()
        && placement::filter::is_up(node)
        && node_loss::is_found_on(logical_volume, node)
}
