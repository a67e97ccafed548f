//! Steps that expand a volume.

use crds::quantity;
use host::Bytes;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use placement::{claim, growth};
use serde_json::json;

use super::Actor;
use crate::controller::plan::{self, ObservedObjects, Plan, Step};
use crate::controller::sizes::{ClaimSizes, Sizes};
use crate::controller::state::ClusterState;
use crate::controller::volume;
use crate::kube::error::ApiError;
use crate::kube::events::Notice;
use crate::kube::names::event;

impl Actor {
    /// Reserves the space for growth, and writes the new size into the LogicalVolume.
    ///
    /// Without enough space, limits the PersistentVolume's capacity to the existing size.
    pub(super) async fn grow(
        &self,
        name: &str,
        observed: &ObservedObjects,
        size: Bytes,
    ) -> Result<Plan, ApiError> {
        let Some(logical_volume) = &observed.logical_volume else {
            return Ok(Step::Done.into());
        };
        let candidates = self.state.candidates();
        let candidates = ClusterState::borrow(&candidates);
        let candidate = candidates
            .into_iter()
            .find(|candidate| candidate.node.name_any() == logical_volume.spec.node);
        let backend = self.state.backend_of(logical_volume);
        let rules = growth::rules(logical_volume, backend.as_deref());
        let reserved = {
            let mut reservations = self.state.reservations();
            growth::grown(logical_volume, &rules, size, candidate, &reservations)
                .inspect(|fit| reservations.reserve(name, &fit.location, fit.reservation.clone()))
        };

        match reserved {
            Ok(fit) => {
                let spec = volume::grown(&fit);
                let written = self.patch_spec(name, spec).await;
                if written.is_err() {
                    self.state.reservations().cancel(name);
                }
                written
            }
            Err(error) => {
                let volume = observed.persistent_volume.as_deref();
                let limit = volume.and_then(|volume| {
                    Sizes::new(volume, logical_volume, observed.claim.as_deref()).limit()
                });
                if let Some(limit) = limit {
                    self.set_capacity(name, observed, limit).await?;
                }
                Ok(Plan {
                    step: Step::Wait(plan::REVISIT),
                    notice: Some(Notice {
                        about: claim::object_reference(logical_volume.spec.current_claim()),
                        warning: true,
                        reason: event::VOLUME_RESIZE_FAILED,
                        message: format!(
                            "the volume can't grow to {}: {error}",
                            quantity::human(size)
                        ),
                    }),
                })
            }
        }
    }

    /// Writes the PersistentVolume's capacity, if the PersistentVolume has not changed since it was
    /// observed.
    pub(super) async fn set_capacity(
        &self,
        name: &str,
        observed: &ObservedObjects,
        size: Bytes,
    ) -> Result<(), ApiError> {
        let Some(volume) = &observed.persistent_volume else {
            return Ok(());
        };
        let patch = json!({"metadata": {"resourceVersion": volume.resource_version()},
            "spec": {"capacity": {"storage": quantity::format(size)}}});
        let patched = self
            .persistent_volumes()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        match patched.map_err(ApiError::of("patch", "PersistentVolume", name)) {
            Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the kubelet grow the file system to the claim's request.
    ///
    /// Writes the request into the claim's status and the PersistentVolume. Reads the claim from
    /// the API server first: the cached claim may be older than the cached PersistentVolume.
    pub(super) async fn complete_growth(
        &self,
        name: &str,
        observed: &ObservedObjects,
        request: Bytes,
    ) -> Result<Plan, ApiError> {
        let Some(cached) = &observed.claim else {
            return Ok(Step::Done.into());
        };
        let reference = claim::reference(cached);
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &reference.namespace);
        let found = claims.get_opt(&reference.name).await.map_err(ApiError::of(
            "get",
            "PersistentVolumeClaim",
            &reference.name,
        ))?;
        let Some(found) = found.filter(|found| {
            found.uid() == cached.uid() && claim::size(found).is_ok_and(|size| size == request)
        }) else {
            return Ok(Step::Done.into());
        };
        if let Some(status) = ClaimSizes::completed_status(&found) {
            let patch = json!({"metadata": {"resourceVersion": found.resource_version()}, "status": status});
            let patched = claims
                .patch_status(
                    &reference.name,
                    &PatchParams::default(),
                    &Patch::Merge(patch),
                )
                .await;
            patched.map_err(ApiError::of(
                "patch the status of",
                "PersistentVolumeClaim",
                &reference.name,
            ))?;
        }
        self.set_capacity(name, observed, request).await?;
        Ok(Step::Done.into())
    }
}
