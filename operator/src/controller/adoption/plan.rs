//! Plans the next step of one Adoption, from its observed objects. Pure.

use std::sync::Arc;

use crds::adoption::{AdoptableVolume, AdoptingClaim};
use crds::condition::{self, READY, reason};
use crds::layout::LayoutType;
use crds::logical_volume::{AdoptedVolume, ClaimReference};
use crds::thin_pool::VolumeThinPool;
use crds::{Adoption, LogicalVolume, NodeStorage, StorageBackend};
use flexvolume::options::{KEY, UUID};
use host::{Key, KeyDigest};
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use kube::ResourceExt as _;
use placement::fit;
use placement::request::Candidate;
use placement::reservations::Reservations;

use super::build;
use super::settings::{self, AdoptionSettings};
use crate::controller::master_key::ObservedMasterKey;
use crate::controller::plan::UnpublishedVolume;
use crate::controller::volume;

/// The observed objects of one Adoption. No `Debug`: the PersistentVolume holds the volume's key.
#[derive(Clone)]
pub struct ObservedAdoption {
    /// The Adoption.
    pub adoption: Arc<Adoption>,
    /// The LogicalVolume of the logical volume's name.
    pub logical_volume: Option<Arc<LogicalVolume>>,
    /// The PersistentVolume of that name, if FlexLVM created it.
    pub persistent_volume: Option<Arc<PersistentVolume>>,
    /// Name of a LogicalVolume that was created for the same claim under another name.
    pub other_of_claim: Option<String>,
    /// True if the Adoption that the LogicalVolume was made for still exists.
    pub maker_exists: bool,
    /// The claim whose volume has that name.
    pub claim_of_name: Option<ClaimReference>,
    /// The node.
    pub node: Option<Arc<Node>>,
    /// The report of the node.
    pub storage: Option<Arc<NodeStorage>>,
    /// The StorageBackend.
    pub backend: Option<Arc<StorageBackend>>,
    /// The controller's master key, or why there is none.
    pub master_key: ObservedMasterKey,
}

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub enum AdoptionStep {
    /// Write the condition.
    Report(AdoptionProgress),
    /// Create the LogicalVolume.
    CreateLogicalVolume(Box<LogicalVolume>),
    /// Create the PersistentVolume.
    Publish(UnpublishedVolume),
}

/// What the condition `Adopted` states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptionProgress {
    /// Whether the PersistentVolume exists.
    pub is_adopted: bool,
    /// One of [`reason`].
    pub reason: &'static str,
    /// What the Adoption waits for, and what to do.
    pub message: String,
}

impl AdoptionProgress {
    /// Returns that the Adoption waits.
    #[must_use]
    pub fn waiting(reason: &'static str, message: String) -> Self {
        Self {
            is_adopted: false,
            reason,
            message,
        }
    }
}

/// Plans the next step. `reservations` are those of all volumes.
#[must_use]
pub fn plan(observed: &ObservedAdoption, reservations: &Reservations) -> AdoptionStep {
    let step = match &observed.logical_volume {
        Some(logical_volume) => plan_created(logical_volume, observed),
        None => plan_new(observed, reservations),
    };
    step.unwrap_or_else(AdoptionStep::Report)
}

/// Plans the step for an Adoption without LogicalVolume.
///
/// # Errors
/// Why none is created.
fn plan_new(
    observed: &ObservedAdoption,
    reservations: &Reservations,
) -> Result<AdoptionStep, AdoptionProgress> {
    let adoption = &*observed.adoption;
    let found = reported(adoption)?;
    // Without its node, a LogicalVolume that has not been reported is discarded.
    if observed.node.is_none() {
        return Err(waits_for_agent(adoption));
    }
    let invalid = |error: crds::ValidationError| {
        AdoptionProgress::waiting(reason::INVALID_SPEC, error.to_string())
    };
    let backend = observed.backend.as_deref();
    let settings = settings::read(adoption, found, backend).map_err(invalid)?;
    check_conflicts(observed, &settings)?;
    let key_digest = key_digest(observed, found, &settings)?;
    let thin_pool = thin_pool(observed, found, reservations)?;
    // `settings::read` rejects an Adoption without a backend.
    let Some(backend) = backend else {
        return Err(waits_for_agent(adoption));
    };
    let built = build::logical_volume(adoption, found, settings, backend, thin_pool, &key_digest);
    Ok(AdoptionStep::CreateLogicalVolume(Box::new(built)))
}

/// Returns the logical volume that the agent reported.
///
/// # Errors
/// Why there is none.
fn reported(adoption: &Adoption) -> Result<&AdoptableVolume, AdoptionProgress> {
    if let Some(found) = settings::reported(adoption) {
        return Ok(found);
    }
    let status = adoption.status.as_ref();
    let report = status.and_then(|status| status.report.as_ref());
    let report = report.filter(|report| Some(report.generation) == adoption.metadata.generation);
    match report.and_then(|report| report.problem.as_ref()) {
        Some(problem) => Err(AdoptionProgress::waiting(
            reason::known(&problem.reason),
            problem.message.clone(),
        )),
        None => Err(waits_for_agent(adoption)),
    }
}

fn waits_for_agent(adoption: &Adoption) -> AdoptionProgress {
    let node = &adoption.spec.node;
    let message = format!(
        "waiting for the agent on node {node} to report the logical volume: check that the node exists, is up, and runs a \
         pod of DaemonSet flexlvm-agent"
    );
    AdoptionProgress::waiting(reason::AGENT_NOT_REPORTING, message)
}

/// Checks that no other object has the claim, the name, or the logical volume.
fn check_conflicts(
    observed: &ObservedAdoption,
    settings: &AdoptionSettings,
) -> Result<(), AdoptionProgress> {
    let name = &observed.adoption.spec.logical_volume;
    if let Some(other) = &observed.other_of_claim {
        let message = format!(
            "LogicalVolume {other} was created for the claim with the uid {}, too",
            settings.claim_uid
        );
        return Err(AdoptionProgress::waiting(reason::CONFLICT, message));
    }
    if let Some(claim) = &observed.claim_of_name {
        let AdoptingClaim {
            namespace,
            name: of,
        } = &settings.claim;
        if (&claim.namespace, &claim.name) != (namespace, of) {
            let message = format!(
                "{name} is the name of the volume of claim {}/{}: rename the logical volume with lvrename, and create the \
                 Adoption with the new name",
                claim.namespace, claim.name
            );
            return Err(AdoptionProgress::waiting(reason::CONFLICT, message));
        }
    }
    Ok(())
}

/// Returns the digest of the volume's key: of the PersistentVolume that exists, or else of the key
/// that the controller derives.
fn key_digest(
    observed: &ObservedAdoption,
    found: &AdoptableVolume,
    settings: &AdoptionSettings,
) -> Result<KeyDigest, AdoptionProgress> {
    if let Some(volume) = observed.persistent_volume.as_deref() {
        check_uuid(volume, &found.uuid)?;
        if let Some(key) = option(volume, KEY).and_then(Key::new) {
            return Ok(key.digest());
        }
    }
    match &observed.master_key {
        Some(Ok(master_key)) => Ok(master_key.derive(&settings.claim_uid).digest()),
        Some(Err(error)) => Err(AdoptionProgress::waiting(
            reason::ADOPTING,
            error.to_string(),
        )),
        None => Err(AdoptionProgress::waiting(
            reason::ADOPTING,
            "waiting for the Secret of the volume keys".to_owned(),
        )),
    }
}

/// Returns the thin pool of the volume, with the space to reserve for the pool if an agent created
/// it; `None` for a volume that is in none.
fn thin_pool(
    observed: &ObservedAdoption,
    found: &AdoptableVolume,
    reservations: &Reservations,
) -> Result<Option<VolumeThinPool>, AdoptionProgress> {
    let (Some(pool), Some(backend), Some(node)) =
        (&found.thin_pool, &observed.backend, &observed.node)
    else {
        return Ok(None);
    };
    let create = if backend.spec.layout.type_ == LayoutType::Thin {
        let candidate = Candidate {
            node,
            storage: observed.storage.as_deref(),
            silent_for: None, // the volume exists on this node
        };
        fit::pool_of(backend, candidate, reservations)
            .map_err(|rejection| {
                let message = format!("node {} {rejection}", observed.adoption.spec.node);
                AdoptionProgress::waiting(reason::NOT_ADOPTABLE, message)
            })?
            .filter(|own| own.name == *pool)
            .and_then(|own| own.create)
    } else {
        None
    };
    Ok(Some(VolumeThinPool {
        name: pool.clone(),
        create,
    }))
}

/// Plans the step for an Adoption whose logical volume has a LogicalVolume.
///
/// # Errors
/// What it waits for.
fn plan_created(
    logical_volume: &LogicalVolume,
    observed: &ObservedAdoption,
) -> Result<AdoptionStep, AdoptionProgress> {
    let name = logical_volume.name_any();
    let adopted = logical_volume.spec.adopted.as_ref();
    let Some(adopted) = adopted.filter(|adopted| is_made_for(adopted, logical_volume, observed))
    else {
        let message = format!(
            "LogicalVolume {name} exists already: it describes the volume of claim {}/{} on node {}",
            logical_volume.spec.current_claim().namespace,
            logical_volume.spec.current_claim().name,
            logical_volume.spec.node
        );
        return Err(AdoptionProgress::waiting(reason::CONFLICT, message));
    };
    if let Some(volume) = observed.persistent_volume.as_deref() {
        check_uuid(volume, &adopted.uuid)?;
    }
    let status = logical_volume.status.clone().unwrap_or_default();
    match condition::get(&status.conditions, READY) {
        Some(ready) if ready.status == "True" => {}
        Some(ready) => {
            let reason = reason::known(&ready.reason);
            return Err(AdoptionProgress::waiting(reason, ready.message.clone()));
        }
        None => {
            let message = format!(
                "LogicalVolume {name} waits for the agent on node {}",
                logical_volume.spec.node
            );
            return Err(AdoptionProgress::waiting(reason::ADOPTING, message));
        }
    }
    if observed.persistent_volume.is_some() {
        let claim = logical_volume.spec.current_claim();
        return Ok(AdoptionStep::Report(AdoptionProgress {
            is_adopted: true,
            reason: reason::ADOPTED,
            message: format!(
                "PersistentVolume {name} exists, for claim {}/{}",
                claim.namespace, claim.name
            ),
        }));
    }
    let Some(Ok(master_key)) = &observed.master_key else {
        let message = "waiting for the Secret of the volume keys".to_owned();
        return Err(AdoptionProgress::waiting(reason::ADOPTING, message));
    };
    let node = observed.node.as_deref();
    match volume::build_persistent_volume(logical_volume, None, node, master_key) {
        Ok(volume) => Ok(AdoptionStep::Publish(UnpublishedVolume(Box::new(volume)))),
        Err(error) => Err(AdoptionProgress::waiting(
            reason::NOT_ADOPTABLE,
            error.to_string(),
        )),
    }
}

/// Returns whether a LogicalVolume was made for this Adoption, or for one of the same claim that was
/// deleted: then this one continues it, or creates a lost PersistentVolume again.
fn is_made_for(
    adopted: &AdoptedVolume,
    logical_volume: &LogicalVolume,
    observed: &ObservedAdoption,
) -> bool {
    let adoption = &*observed.adoption;
    if Some(&adopted.adoption_uid) == adoption.metadata.uid.as_ref() {
        return true;
    }
    let uuid = adoption.spec.uuid.as_ref();
    let current = logical_volume.spec.current_claim();
    let is_other_claim = settings::claim(adoption).is_some_and(|claim| {
        (&claim.namespace, &claim.name) != (&current.namespace, &current.name)
    });
    !observed.maker_exists && !is_other_claim && uuid.is_none_or(|uuid| *uuid == adopted.uuid)
}

/// Checks that a PersistentVolume names this logical volume, by its uuid.
fn check_uuid(volume: &PersistentVolume, uuid: &str) -> Result<(), AdoptionProgress> {
    let published = option(volume, UUID).unwrap_or("(none)");
    if published == uuid {
        return Ok(());
    }
    let message = format!(
        "PersistentVolume {} has the LVM uuid {published}, the logical volume has {uuid}: delete the PersistentVolume if \
         it is outdated",
        volume.name_any()
    );
    Err(AdoptionProgress::waiting(reason::CONFLICT, message))
}

/// Returns an option of the driver in a PersistentVolume.
fn option<'a>(volume: &'a PersistentVolume, name: &str) -> Option<&'a str> {
    let source = volume.spec.as_ref()?.flex_volume.as_ref()?;
    source.options.as_ref()?.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests;
