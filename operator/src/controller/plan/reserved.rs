//! Plans the next step for a volume that has a LogicalVolume and no PersistentVolume (yet, or any
//! more). Pure.

use crds::LogicalVolume;
use crds::condition::{self, reason};
use crds::logical_volume::{ReclaimPolicy, State};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use placement::node_loss::NodeLoss;

use super::{
    AGENT_TIMEOUT, ObservedObjects, Plan, REVISIT, Step, UnpublishedVolume, about_claim,
    agent_fault, for_tenant,
};
use crate::controller::volume;
use crate::kube::events::Notice;
use crate::kube::names::event;

/// Plans the next step.
pub(super) fn plan_reserved(logical_volume: &LogicalVolume, observed: &ObservedObjects) -> Plan {
    let status = logical_volume.status.clone().unwrap_or_default();
    if condition::is_true(&status.conditions, condition::REMOVED) {
        return Step::FinalizeDeletion.into();
    }
    if observed.node.is_none() && status.uuid.is_none() {
        return Step::DiscardUncreated.into();
    }
    if is_ended_by_admin(logical_volume, observed) {
        return Step::EndWithoutAgent.into();
    }
    if logical_volume.spec.state != State::Present {
        return plan_cancelled(logical_volume, observed);
    }
    let is_withdrawn = if logical_volume.spec.adopted.is_some() {
        true // the agent leaves its logical volume as it is
    } else {
        status.uuid.is_none() && observed.claim.is_some()
    };
    if logical_volume.metadata.deletion_timestamp.is_some() && is_withdrawn {
        return Step::CancelPlacement.into();
    }
    if observed.adoption.is_some() {
        return Step::Wait(REVISIT).into(); // the Adoption reports on it
    }
    let Some(claim) = observed.claim.as_deref() else {
        return plan_unclaimed(logical_volume);
    };
    match condition::get(&status.conditions, condition::READY) {
        Some(ready) if ready.status == "True" => plan_publication(logical_volume, claim, observed),
        Some(ready)
            if status.uuid.is_none()
                && is_local(&ready.reason)
                && logical_volume.spec.adopted.is_none() =>
        {
            Step::CancelPlacement
                .with_notice(about_failure(claim, for_tenant(logical_volume, ready)))
        }
        Some(ready) => {
            Step::Wait(REVISIT).with_notice(about_failure(claim, for_tenant(logical_volume, ready)))
        }
        None => match agent_fault(logical_volume, observed) {
            Some(message) => Step::Wait(REVISIT).with_notice(about_failure(claim, message)),
            None => Step::Wait(AGENT_TIMEOUT).into(),
        },
    }
}

/// Returns whether an admin has deleted a LogicalVolume without a claim, whose agent can't report
/// on it any more.
pub(super) fn is_ended_by_admin(
    logical_volume: &LogicalVolume,
    observed: &ObservedObjects,
) -> bool {
    let is_without_agent = matches!(
        observed.node_loss,
        Some(NodeLoss::Deleted | NodeLoss::Replaced)
    );
    let is_deleted = logical_volume.metadata.deletion_timestamp.is_some();
    is_deleted && observed.claim.is_none() && is_without_agent
}

/// Plans the step for a volume without claim and PersistentVolume.
///
/// An adopted volume has data that its claim did not write: it is kept, with either policy.
fn plan_unclaimed(logical_volume: &LogicalVolume) -> Plan {
    let spec = &logical_volume.spec;
    let is_created = logical_volume
        .status
        .as_ref()
        .is_some_and(|status| status.uuid.is_some());
    match spec.reclaim_policy {
        ReclaimPolicy::Delete if spec.adopted.is_none() => Step::DeleteUnclaimed.into(),
        ReclaimPolicy::Retain if is_created && !spec.released => Step::SetReleased(true).into(),
        ReclaimPolicy::Delete | ReclaimPolicy::Retain => Step::Done.into(),
    }
}

/// Plans the step for a LogicalVolume that is ready.
fn plan_publication(
    logical_volume: &LogicalVolume,
    claim: &PersistentVolumeClaim,
    observed: &ObservedObjects,
) -> Plan {
    let master_key = match &observed.master_key {
        Some(Ok(master_key)) => master_key,
        Some(Err(error)) => {
            return Step::Wait(REVISIT).with_notice(about_failure(claim, error.to_string()));
        }
        None => return Step::Wait(REVISIT).into(),
    };
    let node = observed.node.as_deref();
    match volume::build_persistent_volume(logical_volume, Some(claim), node, master_key) {
        Ok(volume) => Step::Publish(UnpublishedVolume(Box::new(volume))).into(),
        Err(error) => Step::Wait(REVISIT).with_notice(about_failure(claim, error.to_string())),
    }
}

/// Plans the step for a LogicalVolume that must be removed before its claim can be placed again.
fn plan_cancelled(logical_volume: &LogicalVolume, observed: &ObservedObjects) -> Plan {
    let status = logical_volume.status.clone().unwrap_or_default();
    let blocked = condition::get(&status.conditions, condition::REMOVED)
        .map(|removed| for_tenant(logical_volume, removed));
    let message = blocked.or_else(|| agent_fault(logical_volume, observed));
    match (observed.claim.as_deref(), message) {
        (Some(claim), Some(message)) => {
            Step::Wait(REVISIT).with_notice(about_failure(claim, message))
        }
        (Some(_), None) => Step::Wait(AGENT_TIMEOUT).into(),
        (None, _) => Step::Wait(REVISIT).into(),
    }
}

/// Returns the warning that the claim has no volume yet.
fn about_failure(claim: &PersistentVolumeClaim, message: String) -> Notice {
    about_claim(claim, event::PROVISIONING_FAILED, message)
}

/// Returns true for a reason that another node, or the same node later, may not have.
fn is_local(observed: &str) -> bool {
    [
        reason::INSUFFICIENT_SPACE,
        reason::LAYOUT_UNSUITABLE,
        reason::METADATA_ROLLED_BACK,
        reason::THIN_POOL_MISSING,
        reason::THIN_POOL_UNUSABLE,
        reason::VOLUME_GROUP_MISSING,
        reason::VOLUME_GROUP_UNUSABLE,
        reason::VOLUME_LIMIT_REACHED,
        reason::CREATE_FAILED,
    ]
    .contains(&observed)
}
