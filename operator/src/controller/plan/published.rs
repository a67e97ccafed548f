//! Plans the next step for a volume that has a PersistentVolume: expands or removes it. Pure.

use crds::logical_volume::{ReclaimPolicy, State};
use crds::{LogicalVolume, condition};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use placement::request::Candidate;
use placement::reservations::Reservations;
use placement::{claim, class, growth};

use super::{
    AGENT_TIMEOUT, ObservedObjects, Plan, REVISIT, Step, about_reference, about_volume,
    agent_fault, for_tenant, health, reserved,
};
use crate::controller::sizes::Sizes;
use crate::kube::events::Notice;
use crate::kube::names::{self, event};

/// Plans the next step.
pub(super) fn plan_published(
    volume: &PersistentVolume,
    observed: &ObservedObjects,
    reservations: &Reservations,
) -> Plan {
    let logical_volume = observed.logical_volume.as_deref();
    if volume
        .annotations()
        .get(names::PROVISIONED_BY)
        .map(String::as_str)
        != Some(crds::GROUP)
    {
        return Step::Done.into();
    }
    if let Some(correction) = plan_correction(volume, logical_volume) {
        return correction.into();
    }
    if is_released(volume) {
        return plan_released(volume, observed);
    }
    let phase = phase(volume);
    let is_being_deleted = volume.metadata.deletion_timestamp.is_some();
    if is_being_deleted && has_finalizer(volume) && ["Available", "Failed"].contains(&phase) {
        let message = format!(
            "the volume is {phase}, not Released, so its data is not removed; to delete the PersistentVolume and keep the data, set persistentVolumeReclaimPolicy to Retain"
        );
        return Step::Wait(REVISIT).with_notice(about_volume(volume, message));
    }
    match logical_volume {
        None if phase == "Bound" => {
            let message = "the volume's LogicalVolume was deleted, so FlexLVM can neither expand nor remove the volume";
            Step::Wait(REVISIT).with_notice(about_volume(volume, message.to_owned()))
        }
        None => Step::Done.into(),
        Some(logical_volume) if logical_volume.spec.state != State::Present => {
            plan_bound_again(volume, logical_volume)
        }
        Some(logical_volume) if is_removed(logical_volume) => {
            plan_without_lv(volume, logical_volume)
        }
        Some(logical_volume) => plan_size(volume, logical_volume, observed, reservations),
    }
}

/// Plans the correction of what follows from the PersistentVolume: reclaim policy and claim in the
/// LogicalVolume, and the PersistentVolume's finalizer. `None` if all are right.
fn plan_correction(
    volume: &PersistentVolume,
    logical_volume: Option<&LogicalVolume>,
) -> Option<Step> {
    let spec = volume.spec.as_ref();
    let is_released = phase(volume) == "Released";
    let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let policy = class::reclaim_policy(policy);
    if let Some(logical_volume) = logical_volume {
        if logical_volume.spec.reclaim_policy != policy {
            return Some(Step::SetReclaimPolicy(policy));
        }
        if let Some(claim) = claim::bound_to(volume)
            && logical_volume.spec.current_claim.as_ref() != Some(&claim)
        {
            return Some(Step::SetCurrentClaim(claim));
        }
    }
    let is_being_deleted = volume.metadata.deletion_timestamp.is_some();
    let is_unclaimed = policy == ReclaimPolicy::Retain && is_released;
    match policy {
        ReclaimPolicy::Retain if has_finalizer(volume) => Some(Step::SetFinalizer(false)),
        ReclaimPolicy::Delete
            if !has_finalizer(volume) && !is_being_deleted && logical_volume.is_some() =>
        {
            Some(Step::SetFinalizer(true))
        }
        _ => {
            let is_outdated = logical_volume
                .is_some_and(|logical_volume| logical_volume.spec.released != is_unclaimed);
            is_outdated.then_some(Step::SetReleased(is_unclaimed))
        }
    }
}

fn has_finalizer(volume: &PersistentVolume) -> bool {
    let finalizers = volume.finalizers();
    finalizers
        .iter()
        .any(|finalizer| finalizer == names::PROVISIONER_FINALIZER)
}

pub(super) fn phase(volume: &PersistentVolume) -> &str {
    volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Returns true if a PersistentVolume of FlexLVM is released and its reclaim policy is Delete.
#[must_use]
pub fn is_released(volume: &PersistentVolume) -> bool {
    let policy = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    volume
        .annotations()
        .get(names::PROVISIONED_BY)
        .map(String::as_str)
        == Some(crds::GROUP)
        && class::reclaim_policy(policy) == ReclaimPolicy::Delete
        && phase(volume) == "Released"
        && (has_finalizer(volume) || volume.metadata.deletion_timestamp.is_none())
}

/// Plans the step for a volume whose removal was requested, but whose PersistentVolume is no longer
/// released: an admin or a claim bound it again. While the logical volume exists, it is kept.
fn plan_bound_again(volume: &PersistentVolume, logical_volume: &LogicalVolume) -> Plan {
    if is_removed(logical_volume) {
        let message =
            "the volume was released, and its logical volume was removed before it was bound again";
        return Step::Wait(REVISIT).with_notice(about_volume(volume, message.to_owned()));
    }
    Step::CancelDeletion.into()
}

/// Plans the step for a PersistentVolume whose LogicalVolume was deleted and whose logical volume an
/// admin removed, or took away from FlexLVM.
fn plan_without_lv(volume: &PersistentVolume, logical_volume: &LogicalVolume) -> Plan {
    let conditions = conditions(logical_volume);
    let message = condition::get(conditions, condition::REMOVED)
        .map(|removed| removed.message.clone())
        .unwrap_or_default();
    Step::Wait(REVISIT).with_notice(about_volume(
        volume,
        format!("{message}; delete the PersistentVolume"),
    ))
}

fn is_removed(logical_volume: &LogicalVolume) -> bool {
    condition::is_true(conditions(logical_volume), condition::REMOVED)
}

fn conditions(logical_volume: &LogicalVolume) -> &[Condition] {
    match &logical_volume.status {
        Some(status) => &status.conditions,
        None => &[],
    }
}

/// Plans the step for a released PersistentVolume with reclaim policy Delete.
fn plan_released(volume: &PersistentVolume, observed: &ObservedObjects) -> Plan {
    let Some(logical_volume) = observed.logical_volume.as_deref() else {
        return Step::Unpublish.into();
    };
    if logical_volume.spec.state != State::Absent {
        return Step::RequestDeletion.into();
    }
    match condition::get(conditions(logical_volume), condition::REMOVED) {
        Some(removed) if removed.status == "True" => Step::FinalizeDeletion.into(),
        _ if reserved::is_ended_by_admin(logical_volume, observed) => Step::EndWithoutAgent.into(),
        Some(kept) => Step::Wait(REVISIT).with_notice(about_volume(volume, kept.message.clone())),
        None => match agent_fault(logical_volume, observed) {
            Some(message) => Step::Wait(REVISIT).with_notice(about_volume(volume, message)),
            None => Step::Wait(AGENT_TIMEOUT).into(),
        },
    }
}

/// Keeps the volume of a PersistentVolume that is not released as large as its claim requests.
fn plan_size(
    volume: &PersistentVolume,
    logical_volume: &LogicalVolume,
    observed: &ObservedObjects,
    reservations: &Reservations,
) -> Plan {
    let sizes = Sizes::new(volume, logical_volume, observed.claim.as_deref());
    if sizes.wanted() > sizes.reserved {
        return Step::Grow(sizes.wanted()).into();
    }
    if is_pool_outdated(logical_volume, observed, reservations) {
        return Step::Grow(sizes.reserved).into();
    }
    let waits = match sizes.limit() {
        Some(bytes) => Step::LimitCapacity(bytes),
        None => Step::Wait(REVISIT),
    };
    let is_smaller = sizes.actual < sizes.reserved;
    let ready = condition::get(conditions(logical_volume), condition::READY);
    match ready.filter(|ready| ready.status != "True") {
        Some(ready) if is_smaller => {
            return waits.with_notice(warning(
                logical_volume,
                event::VOLUME_RESIZE_FAILED,
                for_tenant(logical_volume, ready),
            ));
        }
        Some(ready) => {
            let message = for_tenant(logical_volume, ready);
            let notice = warning(logical_volume, event::VOLUME_NOT_READY, message);
            return Step::Wait(REVISIT).with_notice(notice);
        }
        None if is_smaller => {
            let Some(message) = agent_fault(logical_volume, observed) else {
                return Step::Wait(AGENT_TIMEOUT).into();
            };
            let notice = warning(logical_volume, event::VOLUME_RESIZE_FAILED, message);
            return waits.with_notice(notice);
        }
        None => {}
    }
    if let Some(request) = sizes.incomplete_growth() {
        return Step::CompleteGrowth { request }.into();
    }
    match health::notice(logical_volume, observed.was_unhealthy) {
        // Planned again before the Event expires.
        Some(notice) if notice.warning => Step::Wait(REVISIT).with_notice(notice),
        Some(notice) => Step::Done.with_notice(notice),
        None => Step::Done.into(),
    }
}

/// Returns true if the volume's thin pool may become larger than its reservation.
fn is_pool_outdated(
    logical_volume: &LogicalVolume,
    observed: &ObservedObjects,
    reservations: &Reservations,
) -> bool {
    if logical_volume.spec.thin_pool.is_none() {
        return false;
    }
    let Some(node) = &observed.node else {
        return false;
    };
    let candidate = Candidate {
        node,
        storage: observed.storage.as_deref(),
        silent_for: None, // an existing volume grows on its node or not at all
    };
    let rules = growth::rules(logical_volume, observed.volume_backend.as_deref());
    growth::pool_reservation_outdated(logical_volume, &rules, candidate, reservations)
}

/// Returns a warning about the claim that a volume is bound to.
fn warning(logical_volume: &LogicalVolume, reason: &'static str, message: String) -> Notice {
    let about = claim::object_reference(logical_volume.spec.current_claim());
    about_reference(about, reason, message)
}
