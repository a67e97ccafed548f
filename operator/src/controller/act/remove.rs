//! Steps that remove a volume.
//!
//! Each reads its preconditions from the API server first: caches may be outdated.

use crds::logical_volume::{ClaimReference, State};
use crds::{Erase, LogicalVolume};
use flexvolume::options::UUID;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, PersistentVolumeSpec};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{Actor, IN_FLIGHT};
use crate::controller::plan::{self, ObservedObjects, Plan, Step};
use crate::kube::error::ApiError;
use crate::kube::names;

impl Actor {
    /// Requests the removal of the volume of a deleted claim.
    ///
    /// Reads from the API server first that the claim is gone and that there is no
    /// PersistentVolume.
    pub(super) async fn delete_unclaimed(
        &self,
        name: &str,
        observed: &ObservedObjects,
    ) -> Result<Plan, ApiError> {
        let Some(logical_volume) = &observed.logical_volume else {
            return Ok(Step::Done.into());
        };
        let spec = &logical_volume.spec;
        let current = spec.current_claim();
        let is_claimed = self.exists(&spec.claim).await?
            || (*current != spec.claim && self.exists(current).await?);
        let volume = self
            .persistent_volumes()
            .get_opt(name)
            .await
            .map_err(ApiError::of("get", "PersistentVolume", name))?;
        if volume.is_some() || is_claimed {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        self.patch_spec(name, json!({"state": State::AbsentIfNeverUsed}))
            .await
    }

    /// Returns true if the claim exists, according to the API server.
    pub(super) async fn exists(&self, claim: &ClaimReference) -> Result<bool, ApiError> {
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &claim.namespace);
        let found = claims.get_opt(&claim.name).await.map_err(ApiError::of(
            "get",
            "PersistentVolumeClaim",
            &claim.name,
        ))?;
        Ok(found.is_some_and(|found| found.uid().as_deref() == Some(claim.uid.as_str())))
    }

    /// Requests the deletion of a volume with its data.
    ///
    /// Reads from the API server first that the PersistentVolume is released and belongs to this
    /// volume, and that the claim is gone. Only if the LogicalVolume has not changed since it was
    /// read.
    pub(super) async fn request_deletion(
        &self,
        name: &str,
        observed: &ObservedObjects,
    ) -> Result<Plan, ApiError> {
        let Some(found) = self
            .logical_volumes()
            .get_opt(name)
            .await
            .map_err(ApiError::of("get", "LogicalVolume", name))?
        else {
            return Ok(Step::Wait(IN_FLIGHT).into());
        };
        let volume = self
            .persistent_volumes()
            .get_opt(name)
            .await
            .map_err(ApiError::of("get", "PersistentVolume", name))?;
        let Some(volume) = volume.filter(plan::is_released) else {
            return Ok(Step::Wait(IN_FLIGHT).into());
        };
        let spec = volume.spec.unwrap_or_default();
        if let Err(error) = check_uuid(&found, &spec) {
            let notice = observed
                .persistent_volume
                .as_deref()
                .map(|volume| plan::about_volume(volume, error.to_string()));
            return Ok(Plan {
                step: Step::Wait(plan::REVISIT),
                notice,
            });
        }
        if let Some(owner) = spec.claim_ref {
            let namespace = owner.namespace.unwrap_or_default();
            let claim = owner.name.unwrap_or_default();
            let claims: Api<PersistentVolumeClaim> =
                Api::namespaced(self.client.clone(), &namespace);
            let found = claims.get_opt(&claim).await.map_err(ApiError::of(
                "get",
                "PersistentVolumeClaim",
                &claim,
            ))?;
            if found.is_some_and(|found| found.uid() == owner.uid) {
                return Ok(Step::Wait(IN_FLIGHT).into());
            }
        }
        let metadata = json!({"uid": found.uid(), "resourceVersion": found.resource_version()});
        let spec = match self.erase(&found) {
            Some(erase) => json!({"state": State::Absent, "erase": erase}),
            None => json!({"state": State::Absent}),
        };
        let patch = Patch::Merge(json!({"metadata": metadata, "spec": spec}));
        let patched = self
            .logical_volumes()
            .patch(name, &PatchParams::default(), &patch)
            .await;
        patched.map_err(ApiError::of("patch", "LogicalVolume", name))?;
        Ok(Step::Done.into())
    }

    /// Returns how the content of a volume is erased according to its StorageBackend; `None` if the
    /// backend is gone, or the volume can't be erased.
    fn erase(&self, logical_volume: &LogicalVolume) -> Option<Erase> {
        let spec = &logical_volume.spec;
        let backend = ObjectRef::new(&spec.backend);
        let backend = self.state.backends.get(&backend)?;
        Erase::is_possible(spec.layout.type_).then_some(backend.spec.erase)
    }

    /// Removes a LogicalVolume whose logical volume was never created because its node is gone.
    ///
    /// Reads from the API server first that the Node is gone, that its agent reported no uuid, and
    /// that there is no PersistentVolume.
    pub(super) async fn discard_uncreated(
        &self,
        name: &str,
        observed: &ObservedObjects,
    ) -> Result<Plan, ApiError> {
        let Some(logical_volume) = &observed.logical_volume else {
            return Ok(Step::Done.into());
        };
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = &logical_volume.spec.node;
        let is_node_gone = nodes
            .get_opt(node)
            .await
            .map_err(ApiError::of("get", "Node", node))?
            .is_none();
        let found = self
            .logical_volumes()
            .get_opt(name)
            .await
            .map_err(ApiError::of("get", "LogicalVolume", name))?;
        let is_uncreated =
            found.is_none_or(|found| found.status.is_none_or(|status| status.uuid.is_none()));
        let volume = self
            .persistent_volumes()
            .get_opt(name)
            .await
            .map_err(ApiError::of("get", "PersistentVolume", name))?;
        if is_node_gone && is_uncreated && volume.is_none() {
            return self.finalize_deletion(name).await;
        }
        Ok(Step::Wait(IN_FLIGHT).into())
    }

    /// Deletes a LogicalVolume whose space is free, and removes FlexLVM's finalizer.
    pub(super) async fn finalize_deletion(&self, name: &str) -> Result<Plan, ApiError> {
        let api = self.logical_volumes();
        let Some(found) =
            api.get_opt(name)
                .await
                .map_err(ApiError::of("get", "LogicalVolume", name))?
        else {
            return Ok(Step::Done.into());
        };
        if found.metadata.deletion_timestamp.is_none() {
            let same = Preconditions {
                uid: found.uid(),
                resource_version: None,
            };
            api.delete(name, &DeleteParams::default().preconditions(same))
                .await
                .map_err(ApiError::of("delete", "LogicalVolume", name))?;
        }
        let finalizers: Vec<&String> = found
            .finalizers()
            .iter()
            .filter(|finalizer| *finalizer != crds::FINALIZER)
            .collect();
        // The uid ensures that the patch applies to the object that was read.
        let patch =
            Patch::Merge(json!({"metadata": {"uid": found.uid(), "finalizers": finalizers}}));
        ignore_not_found(
            api.patch(name, &PatchParams::default(), &patch).await,
            "patch",
            "LogicalVolume",
            name,
        )
    }

    /// Deletes a released PersistentVolume whose LogicalVolume is gone or abandoned, and removes the
    /// provisioner's finalizer.
    pub(super) async fn unpublish(&self, name: &str) -> Result<Plan, ApiError> {
        let left = self
            .logical_volumes()
            .get_opt(name)
            .await
            .map_err(ApiError::of("get", "LogicalVolume", name))?;
        if left.is_some_and(|left| left.spec.state != State::Abandoned) {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        let api = self.persistent_volumes();
        let Some(found) =
            api.get_opt(name)
                .await
                .map_err(ApiError::of("get", "PersistentVolume", name))?
        else {
            return Ok(Step::Done.into());
        };
        if !plan::is_released(&found) {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        if found.metadata.deletion_timestamp.is_none() {
            // An admin may bind it again at this moment.
            let same = Preconditions {
                uid: found.uid(),
                resource_version: found.resource_version(),
            };
            api.delete(name, &DeleteParams::default().preconditions(same))
                .await
                .map_err(ApiError::of("delete", "PersistentVolume", name))?;
        }
        self.set_finalizer(name, false).await
    }

    /// Adds or removes the provisioner's finalizer of a PersistentVolume.
    pub(super) async fn set_finalizer(&self, name: &str, wanted: bool) -> Result<Plan, ApiError> {
        let api = self.persistent_volumes();
        // Reads the current object: a merge patch replaces the whole list, which has finalizers of
        // other controllers too.
        let Some(volume) =
            api.get_opt(name)
                .await
                .map_err(ApiError::of("get", "PersistentVolume", name))?
        else {
            return Ok(Step::Done.into());
        };
        let mut finalizers = volume.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != names::PROVISIONER_FINALIZER);
        if wanted {
            finalizers.push(names::PROVISIONER_FINALIZER.to_owned());
        }
        let metadata = json!({"uid": volume.uid(), "resourceVersion": volume.resource_version(), "finalizers": finalizers});
        let patched = api
            .patch(
                name,
                &PatchParams::default(),
                &Patch::Merge(json!({"metadata": metadata})),
            )
            .await;
        ignore_not_found(patched, "patch", "PersistentVolume", name)
    }
}

fn ignore_not_found<T>(
    result: kube::Result<T>,
    action: &'static str,
    kind: &'static str,
    name: &str,
) -> Result<Plan, ApiError> {
    match result.map_err(ApiError::of(action, kind, name)) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Step::Done.into()),
    }
}

/// The PersistentVolume belongs to another logical volume than the one that the agent reported.
#[derive(Debug, thiserror::Error)]
#[error(
    "nothing is removed: the LogicalVolume's status has the uuid {reported}, but the PersistentVolume has {published}"
)]
struct UuidMismatch {
    /// The uuid in the LogicalVolume's status, or `(none)`.
    reported: String,
    /// The uuid in the PersistentVolume's options, or `(none)`.
    published: String,
}

/// Checks that PersistentVolume and LogicalVolume name the same logical volume, by its uuid.
fn check_uuid(
    logical_volume: &LogicalVolume,
    volume: &PersistentVolumeSpec,
) -> Result<(), UuidMismatch> {
    let published = volume
        .flex_volume
        .as_ref()
        .and_then(|source| source.options.as_ref())
        .and_then(|options| options.get(UUID));
    let reported = logical_volume
        .status
        .as_ref()
        .and_then(|status| status.uuid.as_ref());
    if published.is_some() && published == reported {
        return Ok(());
    }
    Err(UuidMismatch {
        reported: reported.map_or("(none)", String::as_str).to_owned(),
        published: published.map_or("(none)", String::as_str).to_owned(),
    })
}
