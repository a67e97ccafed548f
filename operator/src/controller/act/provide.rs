//! Steps that place a volume and publish its PersistentVolume.

use crds::{StorageBackend, quantity};
use host::Bytes;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use placement::choose::{self, Choice};
use placement::claim;
use placement::request::{Candidate, PlacementRequest};
use placement::reservations::Reservations;
use serde_json::json;

use super::{Actor, IN_FLIGHT};
use crate::controller::plan::{self, ObservedObjects, Plan, Step};
use crate::controller::state::ClusterState;
use crate::controller::volume;
use crate::kube::error::ApiError;
use crate::kube::events::Notice;
use crate::kube::names::{self, event};
use placement::class::Class;

impl Actor {
    /// Chooses a node and reserves space there, under one lock; then creates the LogicalVolume.
    pub(super) async fn place(
        &self,
        name: &str,
        observed: &ObservedObjects,
        size: Bytes,
    ) -> Result<Plan, ApiError> {
        let (Some(claim), Some(Ok(class)), Some(backend), Some(Ok(master_key))) = (
            &observed.claim,
            &observed.class,
            &observed.backend,
            &observed.master_key,
        ) else {
            return Ok(Step::Done.into());
        };
        let choice = self.reserve_space(name, claim, class, backend, size);
        match choice {
            Choice::Here(fit) => {
                let built =
                    volume::build_logical_volume(name, claim, class, backend, &fit, master_key);
                let created = self
                    .logical_volumes()
                    .create(&PostParams::default(), &built)
                    .await;
                match created.map_err(ApiError::of("create", "LogicalVolume", name)) {
                    Ok(_) => {
                        self.record_write(name, false);
                        Ok(Step::Done.into())
                    }
                    Err(error) => {
                        self.state.reservations().cancel(name);
                        // The existing LogicalVolume was created for this claim: its uid is in the
                        // name.
                        if error.is_conflict() {
                            Ok(Step::Wait(IN_FLIGHT).into())
                        } else {
                            Err(error)
                        }
                    }
                }
            }
            Choice::Elsewhere(message) => {
                self.reselect(claim).await?;
                Ok(Plan {
                    step: Step::Done,
                    notice: Some(provisioning_failed(claim, message)),
                })
            }
            Choice::Nowhere(message) => {
                self.state.set_waiting(name, true);
                Ok(Plan {
                    step: Step::Wait(plan::REVISIT),
                    notice: Some(provisioning_failed(claim, message)),
                })
            }
        }
    }

    /// Chooses a node for a claim's volume and reserves its space, under one lock.
    fn reserve_space(
        &self,
        name: &str,
        claim: &PersistentVolumeClaim,
        class: &Class,
        backend: &StorageBackend,
        size: Bytes,
    ) -> Choice {
        let candidates = self.state.candidates();
        let request = PlacementRequest {
            backend,
            size,
            selected: class
                .waits_for_consumer
                .then(|| claim::selected_node(claim))
                .flatten(),
            topologies: &class.allowed_topologies,
        };
        let failed = self.failed_nodes().remove(name);
        let candidates = ClusterState::borrow(&candidates);
        let mut reservations = self.state.reservations();
        let choice = match &failed {
            Some(node) => choose_other(&request, &candidates, &reservations, node),
            None => choose::choose(&request, &candidates, &reservations),
        };
        if let Choice::Here(fit) = &choice {
            reservations.reserve(name, &fit.location, fit.reservation.clone());
        }
        choice
    }

    /// Checks whether a claim without a selected node would fit on any node. Reserves nothing.
    pub(super) fn dry_run_placement(&self, observed: &ObservedObjects, size: Bytes) -> Plan {
        let (Some(claim), Some(Ok(class)), Some(backend)) =
            (&observed.claim, &observed.class, &observed.backend)
        else {
            return Step::Done.into();
        };
        let candidates = self.state.candidates();
        let request = PlacementRequest {
            backend,
            size,
            selected: None,
            topologies: &class.allowed_topologies,
        };
        let notice = match choose::choose(
            &request,
            &ClusterState::borrow(&candidates),
            &self.state.reservations(),
        ) {
            Choice::Here(_) => None,
            Choice::Elsewhere(message) | Choice::Nowhere(message) => {
                Some(provisioning_failed(claim, message))
            }
        };
        Plan {
            step: Step::Wait(plan::DRY_RUN_INTERVAL),
            notice,
        }
    }

    /// Removes the selected node from a claim that can't be served.
    pub(super) async fn deselect(&self, observed: &ObservedObjects) -> Result<Plan, ApiError> {
        if let Some(claim) = &observed.claim {
            self.reselect(claim).await?;
        }
        Ok(Step::Wait(plan::REVISIT).into())
    }

    /// Removes the selected node from a claim, so that the scheduler selects again.
    ///
    /// Does nothing if the claim has changed since it was observed.
    async fn reselect(&self, claim: &PersistentVolumeClaim) -> Result<(), ApiError> {
        let reference = claim::reference(claim);
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &reference.namespace);
        let patch = json!({"metadata": {"resourceVersion": claim.resource_version(), "annotations": {names::SELECTED_NODE: null}}});
        let patched = claims
            .patch_metadata(
                &reference.name,
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await;
        match patched.map_err(ApiError::of(
            "patch",
            "PersistentVolumeClaim",
            &reference.name,
        )) {
            Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates the PersistentVolume.
    pub(super) async fn publish(
        &self,
        observed: &ObservedObjects,
        volume: PersistentVolume,
    ) -> Result<Plan, ApiError> {
        let name = volume.name_any();
        let created = self
            .persistent_volumes()
            .create(&PostParams::default(), &volume)
            .await;
        match created.map_err(ApiError::of("create", "PersistentVolume", &name)) {
            Err(error) if !error.is_conflict() => return Err(error),
            Err(_) if !self.is_published(&volume).await? => return Ok(name_taken(observed, &name)),
            _ => {}
        }
        self.record_write(&name, true);
        let notice = observed
            .claim
            .as_deref()
            .zip(observed.logical_volume.as_deref())
            .map(|(claim, logical_volume)| {
                let size = logical_volume
                    .status
                    .as_ref()
                    .and_then(|status| status.size.clone())
                    .unwrap_or_default();
                let message = format!(
                    "created {name}: {} on node {}, in volume group {}",
                    quantity::parse(&size)
                        .map(quantity::human)
                        .unwrap_or(size.0),
                    logical_volume.spec.node,
                    logical_volume.spec.volume_group
                );
                Notice {
                    warning: false,
                    ..plan::about_claim(claim, event::PROVISIONING_SUCCEEDED, message)
                }
            });
        Ok(Plan {
            step: Step::Done,
            notice,
        })
    }

    /// Returns true if FlexLVM created the existing PersistentVolume, for the same claim.
    async fn is_published(&self, wanted: &PersistentVolume) -> Result<bool, ApiError> {
        let name = wanted.name_any();
        let found = self
            .persistent_volumes()
            .get_opt(&name)
            .await
            .map_err(ApiError::of("get", "PersistentVolume", &name))?;
        Ok(found.is_none_or(|found| {
            found.annotations().get(names::PROVISIONED_BY)
                == wanted.annotations().get(names::PROVISIONED_BY)
                && claim_uid(&found) == claim_uid(wanted)
        }))
    }
}

/// Chooses a node for a volume that the node `failed` could not create: another one, if any has
/// space.
fn choose_other(
    request: &PlacementRequest<'_>,
    candidates: &[Candidate<'_>],
    reservations: &Reservations,
    failed: &str,
) -> Choice {
    let mut others = Vec::new();
    for candidate in candidates {
        if candidate.node.name_any() != failed {
            others.push(*candidate);
        }
    }
    let unselected = PlacementRequest {
        selected: None,
        ..*request
    };
    let choice = choose::choose(&unselected, &others, reservations);
    match (choice, request.selected) {
        (Choice::Here(fit), None) => Choice::Here(fit),
        (Choice::Here(_), Some(selected)) if selected == failed => Choice::Elsewhere(format!(
            "node {failed} could not create the volume, and other nodes have space for it"
        )),
        _ => choose::choose(request, candidates, reservations),
    }
}

/// Returns the uid of the claim to which a PersistentVolume is bound.
fn claim_uid(volume: &PersistentVolume) -> Option<&str> {
    let claim = volume.spec.as_ref()?.claim_ref.as_ref()?;
    claim.uid.as_deref()
}

/// Returns the warning that the claim gets no volume.
fn provisioning_failed(claim: &PersistentVolumeClaim, message: String) -> Notice {
    plan::about_claim(claim, event::PROVISIONING_FAILED, message)
}

/// Reports that a foreign PersistentVolume has the name.
fn name_taken(observed: &ObservedObjects, name: &str) -> Plan {
    let message = format!(
        "PersistentVolume {name} exists, but FlexLVM did not create it for this claim; delete it"
    );
    let notice = observed
        .claim
        .as_deref()
        .map(|claim| provisioning_failed(claim, message));
    Plan {
        step: Step::Wait(plan::OBSTRUCTED),
        notice,
    }
}
