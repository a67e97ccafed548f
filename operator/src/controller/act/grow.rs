//! Steps of a volume that grows. Called by `act.rs`.

use crds::quantity;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::Actor;
use crate::controller::plan::{self, Plan, Seen, Step};
use crate::controller::sizes::{ClaimSizes, Sizes};
use crate::controller::state::World;
use crate::controller::{claim, volume};
use crate::kube::error::ApiError;
use crate::kube::events::Notice;
use crate::kube::names::event;

impl Actor {
    /// Reserves the space for growth, and writes the new size into the LogicalVolume. Where there is
    /// none, the PersistentVolume keeps the capacity that it has.
    pub(super) async fn grow(&self, name: &str, seen: &Seen, bytes: u64) -> Result<Plan, ApiError> {
        let Some(logical_volume) = &seen.logical_volume else {
            return Ok(Step::Done.into());
        };
        let candidates = self.world.candidates();
        let candidates = World::borrow(&candidates);
        let candidate = candidates
            .into_iter()
            .find(|candidate| candidate.node.name_any() == logical_volume.spec.node);
        let backend = self.world.backend_of(logical_volume);
        let promised = {
            let mut ledger = self.world.ledger();
            placement::growth::grown(logical_volume, &backend, bytes, candidate, &ledger)
                .inspect(|room| ledger.promise(name, &room.place, room.promise.clone()))
        };
        let failed = |message| {
            let about = claim::object_reference(&logical_volume.spec.claim);
            Notice {
                about,
                warning: true,
                reason: event::VOLUME_RESIZE_FAILED,
                message,
            }
        };
        match promised {
            Ok(room) => {
                let spec = volume::grown(&room);
                let written = self.patch_spec(name, spec).await;
                if written.is_err() {
                    self.world.ledger().withdraw(name);
                }
                written
            }
            Err(sentence) => {
                let volume = seen.volume.as_deref();
                let limit = volume.and_then(|volume| {
                    Sizes::of(volume, logical_volume, seen.claim.as_deref()).limit()
                });
                if let Some(limit) = limit {
                    self.set_capacity(name, seen, limit).await?;
                }
                Ok(Plan {
                    step: Step::Wait(plan::REVISIT),
                    notice: Some(failed(sentence)),
                })
            }
        }
    }
    /// Writes the PersistentVolume's capacity, if the PersistentVolume is still as it was observed.
    pub(super) async fn set_capacity(
        &self,
        name: &str,
        seen: &Seen,
        bytes: u64,
    ) -> Result<(), ApiError> {
        let Some(volume) = &seen.volume else {
            return Ok(());
        };
        let patch = json!({"metadata": {"resourceVersion": volume.resource_version()},
            "spec": {"capacity": {"storage": quantity::format(bytes)}}});
        let patched = self
            .volumes()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        match patched.map_err(ApiError::of("patch", "PersistentVolume", name)) {
            Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Has the kubelet grow the file system to the claim's request: makes the request the size that
    /// the claim's status and the PersistentVolume name. Reads the claim first: the copy may be
    /// older than the PersistentVolume's.
    pub(super) async fn settle_growth(
        &self,
        name: &str,
        seen: &Seen,
        request: u64,
    ) -> Result<Plan, ApiError> {
        let Some(known) = &seen.claim else {
            return Ok(Step::Done.into());
        };
        let reference = claim::reference(known);
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &reference.namespace);
        let found = claims.get_opt(&reference.name).await.map_err(ApiError::of(
            "get",
            "PersistentVolumeClaim",
            &reference.name,
        ))?;
        let Some(found) = found.filter(|found| {
            found.uid() == known.uid() && claim::size(found).is_ok_and(|bytes| bytes == request)
        }) else {
            return Ok(Step::Done.into());
        };
        if let Some(status) = ClaimSizes::settled_status(&found) {
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
        self.set_capacity(name, seen, request).await?;
        Ok(Step::Done.into())
    }
}
