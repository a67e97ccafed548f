//! Checks of claims that wait. Pure.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use placement::claim;

use super::check::{Check, Fault, Probe};
use super::facts::Facts;
use crate::explain::waiting::Cause;
use crate::objects::{age, claim_phase};

/// Seconds within which the controller serves a claim.
const SERVE_SECONDS: i64 = 30;

const EXPLAIN: &str = "kubectl flexlvm explain pvc of the claim shows the whole chain";

pub(super) const CHECKS: &[Check] = &[
    Check::fault(
        "claim-invalid",
        "a claim can't be served as it is",
        "create the claim again without the field that the message names",
        Probe::Rule(invalid),
    ),
    Check::fault(
        "claim-without-space",
        "no node has the space for a claim",
        "remove claims, vgextend a volume group, or request less; kubectl flexlvm capacity shows what fits",
        Probe::Rule(without_space),
    ),
    Check::fault(
        "claim-not-served",
        "a claim waits although there is space for it",
        EXPLAIN,
        Probe::Rule(not_served),
    ),
    Check::fault(
        "claim-lost",
        "the PersistentVolume of a claim was deleted",
        "restore the PersistentVolume from a backup (docs/operations.md), or delete the claim",
        Probe::Rule(lost),
    ),
    Check::warning(
        "claim-growth-waits",
        "a volume does not grow to what its claim requests",
        EXPLAIN,
        Probe::Rule(growth_waits),
    ),
    Check::fault(
        "key-secret-unusable",
        "the Secret of the volume keys is missing or malformed, so no claim is served",
        "follow docs/operations.md, the Secret of the volume keys is lost",
        Probe::Rule(unusable_secret),
    ),
];

/// Returns the faults of claims, by key.
fn each(
    facts: &Facts<'_>,
    fault: impl Fn(&str, &PersistentVolumeClaim) -> Option<String>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (key, claim) in &facts.snapshot.claims {
        if let Some(detail) = fault(key, claim) {
            let name = claim.name_any();
            let namespace = claim.namespace().unwrap_or_default();
            faults.push(Fault::new(
                format!("persistentvolumeclaim/{name}"),
                format!("namespace {namespace}: {detail}"),
            ));
        }
    }
    faults
}

fn invalid(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |key, _| match facts.causes.get(key)? {
        Cause::Invalid(error) => Some(error.to_string()),
        Cause::TooLarge(error) => Some(error.to_string()),
        _ => None,
    })
}

fn without_space(facts: &Facts<'_>) -> Vec<Fault> {
    // Nodes that can't provide volumes have findings of their own.
    let has_usable = |backend: &str| {
        let mut places = facts.places.iter();
        places.any(|place| {
            place.space.is_ok() && place.backend.metadata.name.as_deref() == Some(backend)
        })
    };
    each(facts, |key, _| match facts.causes.get(key)? {
        Cause::NoSpace(fault) if has_usable(&fault.backend) => Some(fault.to_string()),
        _ => None,
    })
}

fn not_served(facts: &Facts<'_>) -> Vec<Fault> {
    let is_running = facts.snapshot.ready_controllers() > Some(0);
    let has_secret = unusable_secret(facts).is_empty();
    each(facts, |key, claim| {
        let seconds = age(&claim.metadata, facts.snapshot.now);
        let is_due = seconds > SERVE_SECONDS && is_running && has_secret;
        match facts.causes.get(key)? {
            Cause::Placeable(place) if is_due => Some(format!(
                "it fits on {}, and waits for {seconds} s",
                place.node
            )),
            _ => None,
        }
    })
}

fn lost(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |_, claim| {
        let name = claim::class_name(claim)?;
        let class = facts.snapshot.classes.get(name)?;
        let is_ours = class.provisioner == crds::GROUP;
        (is_ours && claim_phase(claim) == "Lost").then(|| "its phase is Lost".to_owned())
    })
}

fn growth_waits(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |_, claim| {
        let name = crate::objects::bound_volume(claim)?;
        let volume = facts.snapshot.logical_volumes.get(name)?;
        if facts.is_lost(&volume.spec.node) || !facts.reports(&volume.spec.node) {
            return None;
        }
        let requested = claim::size(claim).ok()?;
        let status = volume.status.as_ref()?;
        let actual = crds::quantity::parse(status.size.as_ref()?).ok()?;
        (requested.0 > actual).then(|| {
            format!(
                "it requests {}, its volume has {}",
                crds::quantity::human(requested),
                crds::quantity::human(actual)
            )
        })
    })
}

/// Finds Events of the controller that it has no master key.
fn unusable_secret(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for event in &facts.snapshot.events {
        let message = event.message.as_deref().unwrap_or_default();
        let is_about_secret = message.contains("flexlvm-volume-keys")
            && !message.contains("was derived from another");
        let claim = &event.involved_object;
        let key = format!(
            "{}/{}",
            claim.namespace.as_deref().unwrap_or_default(),
            claim.name.as_deref().unwrap_or_default()
        );
        let is_waiting = facts
            .snapshot
            .claims
            .get(&key)
            .is_some_and(claim::is_waiting);
        if is_about_secret && is_waiting && faults.is_empty() {
            faults.push(Fault::new("secret/flexlvm-volume-keys", message));
        }
    }
    faults
}
