//! What is to be done about a volume that has a PersistentVolume: keep it as large as it says, or
//! remove it. Pure.

use std::time::Duration;

use crds::logical_volume::{ReclaimPolicy, State};
use crds::{LogicalVolume, condition};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt as _;

use super::{
    ObservedObjects, PATIENCE, Plan, REVISIT, Step, about_reference, about_volume, silent,
};
use crate::controller::sizes::Sizes;
use crate::controller::{claim, class};
use crate::kube::names::{self, event};

/// The next step.
pub(super) fn plan_published(volume: &PersistentVolume, observed: &ObservedObjects) -> Plan {
    let (logical_volume, waited) = (observed.logical_volume.as_deref(), observed.waited);
    if volume
        .annotations()
        .get(names::PROVISIONED_BY)
        .map(String::as_str)
        != Some(crds::GROUP)
    {
        return Step::Done.into();
    }
    let spec = volume.spec.clone().unwrap_or_default();
    let policy = class::reclaim_policy(spec.persistent_volume_reclaim_policy.as_deref());
    if let Some(logical_volume) = logical_volume
        && logical_volume.spec.reclaim_policy != policy
    {
        return Step::SetReclaimPolicy(policy).into();
    }
    let guarded = volume
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == names::PROVISIONER_FINALIZER);
    let leaving = volume.metadata.deletion_timestamp.is_some();
    match policy {
        ReclaimPolicy::Retain if guarded => return Step::SetFinalizer(false).into(),
        ReclaimPolicy::Delete if !guarded && !leaving && logical_volume.is_some() => {
            return Step::SetFinalizer(true).into();
        }
        _ => {}
    }
    if is_released(volume) {
        return plan_released(volume, logical_volume, waited);
    }
    let phase = phase(volume);
    if leaving && guarded && ["Available", "Failed"].contains(&phase) {
        let message = format!(
            "the volume is {phase}, not Released, so its data is not removed; to let the object go and keep the data, set persistentVolumeReclaimPolicy to Retain"
        );
        return Step::Wait(REVISIT).saying(about_volume(volume, message));
    }
    match logical_volume {
        None if phase == "Bound" => {
            let message =
                "the volume has no LogicalVolume any more: nobody can extend or remove it";
            Step::Wait(REVISIT).saying(about_volume(volume, message.to_owned()))
        }
        None => Step::Done.into(),
        Some(logical_volume) if logical_volume.spec.state != State::Present => {
            plan_kept(volume, logical_volume)
        }
        Some(logical_volume) => plan_size(volume, logical_volume, observed),
    }
}

fn phase(volume: &PersistentVolume) -> &str {
    volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// True when a PersistentVolume of ours is released, and its policy says that its volume goes.
#[must_use]
pub fn is_released(volume: &PersistentVolume) -> bool {
    let policy = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let guarded = volume
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == names::PROVISIONER_FINALIZER);
    volume
        .annotations()
        .get(names::PROVISIONED_BY)
        .map(String::as_str)
        == Some(crds::GROUP)
        && class::reclaim_policy(policy) == ReclaimPolicy::Delete
        && phase(volume) == "Released"
        && (guarded || volume.metadata.deletion_timestamp.is_none())
}

/// The volume was to be removed, and its PersistentVolume is not released any more: somebody bound
/// it again. As long as the volume is there, it stays.
fn plan_kept(volume: &PersistentVolume, logical_volume: &LogicalVolume) -> Plan {
    let conditions = logical_volume
        .status
        .as_ref()
        .map(|status| status.conditions.clone())
        .unwrap_or_default();
    if condition::is_true(&conditions, condition::REMOVED) {
        let message =
            "the volume was released, and its logical volume was removed before it was bound again";
        return Step::Wait(REVISIT).saying(about_volume(volume, message.to_owned()));
    }
    Step::CancelDeletion.into()
}

/// The PersistentVolume is released, and its policy is Delete.
fn plan_released(
    volume: &PersistentVolume,
    logical_volume: Option<&LogicalVolume>,
    waited: Duration,
) -> Plan {
    let Some(logical_volume) = logical_volume else {
        return Step::Unpublish.into();
    };
    let conditions = logical_volume
        .status
        .as_ref()
        .map(|status| status.conditions.clone())
        .unwrap_or_default();
    if logical_volume.spec.state != State::Absent {
        return Step::RequestDeletion.into();
    }
    match condition::get(&conditions, condition::REMOVED) {
        Some(removed) if removed.status == "True" => Step::FinalizeDeletion.into(),
        Some(kept) => Step::Wait(REVISIT).saying(about_volume(volume, kept.message.clone())),
        None if waited >= PATIENCE => {
            Step::Wait(REVISIT).saying(about_volume(volume, silent(logical_volume)))
        }
        None => Step::Wait(PATIENCE).into(),
    }
}

/// Keeps a PersistentVolume that is in use, or may be, as large as its claim requests.
fn plan_size(
    volume: &PersistentVolume,
    logical_volume: &LogicalVolume,
    observed: &ObservedObjects,
) -> Plan {
    let sizes = Sizes::of(volume, logical_volume, observed.claim.as_deref());
    if sizes.wanted() > sizes.reserved {
        return Step::Grow(sizes.wanted()).into();
    }
    if observed.pool_reservation_outdated {
        return Step::Grow(sizes.reserved).into();
    }
    let conditions = logical_volume
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let warning = |reason, message| {
        let about = claim::object_reference(&logical_volume.spec.claim);
        about_reference(about, reason, message)
    };
    let waits = match sizes.limit() {
        Some(bytes) => Step::LimitCapacity(bytes),
        None => Step::Wait(REVISIT),
    };
    let is_smaller = sizes.actual < sizes.reserved;
    let ready = condition::get(conditions, condition::READY);
    match ready.filter(|ready| ready.status != "True") {
        Some(ready) if is_smaller => {
            return waits.saying(warning(event::VOLUME_RESIZE_FAILED, ready.message.clone()));
        }
        Some(ready) => {
            let notice = warning(event::VOLUME_NOT_READY, ready.message.clone());
            return Step::Wait(REVISIT).saying(notice);
        }
        None if is_smaller && observed.waited >= PATIENCE => {
            let notice = warning(event::VOLUME_RESIZE_FAILED, silent(logical_volume));
            return waits.saying(notice);
        }
        None if is_smaller => return Step::Wait(PATIENCE).into(),
        None => {}
    }
    match sizes.unsettled() {
        Some(request) => Step::SettleGrowth { request }.into(),
        None => Step::Done.into(),
    }
}
