//! Plans the next step while there is at most a claim. Pure.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use placement::backend_limits::{self, BackendError};
use placement::claim::{self, ClaimError, PopulatorSource};
use placement::class::ClassError;

use super::{GRACE, ObservedObjects, Orphan, PendingAdoption, Plan, REVISIT, Step, about_claim};
use crate::kube::events::Notice;
use crate::kube::names::event;

/// The reason why a claim can't be served.
#[derive(Debug, thiserror::Error)]
enum Unservable {
    /// The claim itself is at fault.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The claim's class can't be used.
    #[error(transparent)]
    Class(#[from] ClassError),
    /// A logical volume with the claim's tag exists, without an object.
    #[error("{}", has_data(.0))]
    HasData(Orphan),
    /// An Adoption gives the claim an existing logical volume.
    #[error(
        "waiting for volume {}, which Adoption {} gives this claim; class, access modes and size of the claim must fit it",
        .0.volume, .0.name
    )]
    IsAdopting(PendingAdoption),
    /// The class's backend can't be used, or allows no volume of the size.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// Plans the next step.
pub(super) fn plan_wanted(observed: &ObservedObjects) -> Plan {
    // With published capacity, the scheduler selects no node for a claim that doesn't fit, so the
    // claim never names a provisioner.
    let Some(claim) = observed.claim.as_deref() else {
        return Step::Done.into();
    };
    let is_waiting = claim::is_waiting(claim)
        || (observed.capacity_tracking_active && claim::has_no_provisioner(claim));
    if !is_waiting {
        return Step::Done.into();
    }
    // The annotation with the provisioner is the tenant's to write; the class is not.
    if let Some(Err(ClassError::OtherProvisioner { .. })) = &observed.class {
        return Step::Done.into();
    }
    // The selected node stays: the populator passes it to a claim of its own.
    if let Some(source) = claim::populator_source(claim) {
        return Step::Wait(REVISIT).with_notice(waits_for_populator(claim, &source));
    }
    let incomplete = observed.backend.is_none() || !matches!(observed.class, Some(Ok(_)));
    if incomplete && observed.waited < GRACE {
        return Step::Wait(GRACE).into();
    }
    match plan_placement(claim, observed) {
        Ok(step @ Step::Place { .. }) => require_master_key(step, claim, observed),
        Ok(step) => step.into(),
        Err(reason) => {
            let step = match claim::selected_node(claim) {
                Some(_) => Step::Deselect,
                None => Step::Wait(REVISIT),
            };
            step.with_notice(about_claim(
                claim,
                event::PROVISIONING_FAILED,
                reason.to_string(),
            ))
        }
    }
}

/// Returns why a claim gets no new volume while a logical volume has its data.
fn has_data(orphan: &Orphan) -> String {
    let Orphan { node, path, tag } = orphan;
    let (found, path) = match path {
        Some(path) => (
            format!(
                "logical volume {path} on node {node} carries this claim's uid, but no LogicalVolume describes it"
            ),
            path.as_str(),
        ),
        None => (
            format!(
                "a logical volume on node {node} carries this claim's uid, but no LogicalVolume describes it, and the \
                 NodeStorage has no space for its name (`lvs -S lv_tags={tag}` on the node finds it)"
            ),
            "GROUP/NAME",
        ),
    };
    format!(
        "{found}, so no new, empty volume is created: an admin can give the claim that data, or, if it is not needed, \
         remove the tag there: lvchange --deltag {tag} {path} (see docs/operations.md, etcd was restored)"
    )
}

/// Returns the step if the volume can get a key. Otherwise the claim waits with its selected node:
/// another node would not help.
fn require_master_key(
    step: Step,
    claim: &PersistentVolumeClaim,
    observed: &ObservedObjects,
) -> Plan {
    match &observed.master_key {
        Some(Ok(_)) => step.into(),
        Some(Err(error)) => Step::Wait(REVISIT).with_notice(about_claim(
            claim,
            event::PROVISIONING_FAILED,
            error.to_string(),
        )),
        None => Step::Wait(REVISIT).into(),
    }
}

/// Returns the Event about a claim whose volume a populator hands over.
fn waits_for_populator(claim: &PersistentVolumeClaim, source: &PopulatorSource<'_>) -> Notice {
    let PopulatorSource { group, kind, name } = source;
    let message = format!(
        "waiting for the volume populator of {kind}.{group} to provide a volume with the content of {name}; \
         for an empty volume, create the claim without spec.dataSource and spec.dataSourceRef"
    );
    Notice {
        warning: false,
        ..about_claim(claim, event::WAITING_FOR_POPULATOR, message)
    }
}

/// Plans how a waiting claim gets a volume.
///
/// # Errors
/// The reason why the claim gets none, however much space there is.
fn plan_placement(
    claim: &PersistentVolumeClaim,
    observed: &ObservedObjects,
) -> Result<Step, Unservable> {
    let class = match &observed.class {
        Some(Ok(class)) => class,
        Some(Err(error)) => return Err(error.clone().into()),
        None => return Err(ClassError::NotNamed.into()),
    };
    if let Some(adoption) = observed.adoption.clone() {
        return Err(Unservable::IsAdopting(adoption));
    }
    if let Some(orphan) = observed.orphan.clone() {
        return Err(Unservable::HasData(orphan));
    }
    let requested = claim::validate(claim)?;
    let size = backend_limits::size(requested, class, observed.backend.as_deref())?;
    Ok(
        match (class.waits_for_consumer, claim::selected_node(claim)) {
            (true, None) if observed.capacity_tracking_active => Step::DryRunPlacement { size },
            (true, None) => Step::Done, // the PersistentVolume controller writes an Event
            // The PersistentVolume controller names the provisioner next.
            _ if claim::has_no_provisioner(claim) => Step::Done,
            _ => Step::Place { size },
        },
    )
}
