//! What is to be done about a volume that has a LogicalVolume, and no PersistentVolume yet, or no
//! longer. Pure.

use crds::LogicalVolume;
use crds::condition::{self, reason};
use crds::logical_volume::{ReclaimPolicy, State};

use super::{ObservedObjects, PATIENCE, Plan, REVISIT, Step, about_claim, silent};
use crate::controller::volume;
use crate::kube::names::{self, event};

/// The next step.
pub(super) fn plan_reserved(logical_volume: &LogicalVolume, observed: &ObservedObjects) -> Plan {
    let status = logical_volume.status.clone().unwrap_or_default();
    if condition::is_true(&status.conditions, condition::REMOVED) {
        return Step::FinalizeDeletion.into();
    }
    if observed.node.is_none() && status.uuid.is_none() {
        return Step::DiscardUncreated.into();
    }
    if logical_volume.spec.state != State::Present {
        return plan_cancelled(logical_volume, observed);
    }
    let Some(claim) = observed.claim.as_deref() else {
        return match logical_volume.spec.reclaim_policy {
            ReclaimPolicy::Delete => Step::DeleteUnclaimed.into(),
            ReclaimPolicy::Retain => Step::Done.into(),
        };
    };
    if logical_volume.metadata.deletion_timestamp.is_some() && status.uuid.is_none() {
        return Step::CancelPlacement.into();
    }
    let failed = |message: String| about_claim(claim, event::PROVISIONING_FAILED, message);
    match condition::get(&status.conditions, condition::READY) {
        Some(ready) if ready.status == "True" => {
            let built = observed
                .node
                .as_deref()
                .and_then(|node| volume::build_persistent_volume(logical_volume, claim, node));
            let missing = || {
                format!(
                    "node {} is gone or has no label {}",
                    logical_volume.spec.node,
                    names::HOSTNAME_LABEL
                )
            };
            built.map_or_else(
                || Step::Wait(REVISIT).saying(failed(missing())),
                |volume| Step::Publish(Box::new(volume)).into(),
            )
        }
        Some(ready) if status.uuid.is_none() && is_local(&ready.reason) => {
            Step::CancelPlacement.saying(failed(ready.message.clone()))
        }
        Some(ready) => Step::Wait(REVISIT).saying(failed(ready.message.clone())),
        None if observed.waited >= PATIENCE => {
            Step::Wait(REVISIT).saying(failed(silent(logical_volume)))
        }
        None => Step::Wait(PATIENCE).into(),
    }
}

/// The LogicalVolume is to go before its claim can be promised another one.
fn plan_cancelled(logical_volume: &LogicalVolume, observed: &ObservedObjects) -> Plan {
    let status = logical_volume.status.clone().unwrap_or_default();
    let kept =
        condition::get(&status.conditions, condition::REMOVED).map(|kept| kept.message.clone());
    let message = kept.or_else(|| (observed.waited >= PATIENCE).then(|| silent(logical_volume)));
    match (observed.claim.as_deref(), message) {
        (Some(claim), Some(message)) => {
            Step::Wait(REVISIT).saying(about_claim(claim, event::PROVISIONING_FAILED, message))
        }
        (Some(_), None) => Step::Wait(PATIENCE).into(),
        (None, _) => Step::Wait(REVISIT).into(),
    }
}

/// Another node, or the same one later, may do what this one can't.
fn is_local(found: &str) -> bool {
    [
        reason::INSUFFICIENT_SPACE,
        reason::LAYOUT_UNSUITABLE,
        reason::VOLUME_GROUP_MISSING,
        reason::VOLUME_GROUP_UNUSABLE,
    ]
    .contains(&found)
}
