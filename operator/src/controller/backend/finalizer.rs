//! Keeps a StorageBackend that has volumes: a finalizer delays its deletion, and its status lists
//! the volumes.

use std::sync::Arc;

use crds::{LogicalVolume, StorageBackend};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::kube::error::ApiError;

/// Maximum number of volumes that the status lists.
const SHOWN: usize = 5;

/// Adds FlexLVM's finalizer to a backend that has volumes, and removes it from one that has none.
///
/// Reads from the API server before the removal that there are none: the cache may be outdated. A
/// backend that was never used has no finalizer, so it never blocks an uninstallation.
///
/// # Errors
/// If the API server can't be reached or rejects a request.
pub(super) async fn update(
    client: &Client,
    backend: &StorageBackend,
    has_volumes: bool,
) -> Result<(), ApiError> {
    let name = backend.name_any();
    let has_finalizer = backend
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == crds::BACKEND_FINALIZER);
    // The API server rejects new finalizers on an object that is being deleted.
    let wanted = has_volumes && (has_finalizer || backend.metadata.deletion_timestamp.is_none());
    if wanted == has_finalizer || (has_finalizer && is_used(client, &name).await?) {
        return Ok(());
    }
    let mut finalizers = backend.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != crds::BACKEND_FINALIZER);
    if wanted {
        finalizers.push(crds::BACKEND_FINALIZER.to_owned());
    }
    // A merge patch replaces the whole list, so it must apply to the observed object.
    let metadata = json!({"uid": backend.uid(), "resourceVersion": backend.resource_version(), "finalizers": finalizers});
    let backends: Api<StorageBackend> = Api::all(client.clone());
    let patched = backends
        .patch(
            &name,
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": metadata})),
        )
        .await;
    match patched.map_err(ApiError::of("patch", "StorageBackend", &name)) {
        Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

async fn is_used(client: &Client, name: &str) -> Result<bool, ApiError> {
    let all: Api<LogicalVolume> = Api::all(client.clone());
    let volumes = all
        .list(&ListParams::default())
        .await
        .map_err(ApiError::of("list", "LogicalVolume", name))?;
    Ok(volumes
        .items
        .iter()
        .any(|volume| volume.spec.backend == name))
}

/// Returns the message about what the deletion of a backend waits for.
pub(super) fn waits_for(volumes: &[Arc<LogicalVolume>]) -> String {
    let mut lines: Vec<String> = volumes
        .iter()
        .map(|volume| {
            let spec = &volume.spec;
            let claim = spec.current_claim();
            format!(
                "{} of claim {}/{} on node {}",
                volume.name_any(),
                claim.namespace,
                claim.name,
                spec.node
            )
        })
        .collect();
    lines.sort();
    let hidden = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if hidden > 0 {
        lines.push(format!("and {hidden} more"));
    }
    let count = volumes.len();
    let noun = if count == 1 { "volume" } else { "volumes" };
    format!(
        "being deleted: provides no new volumes and waits for {count} {noun} to be removed ({}); delete their claims, or set \
         spec.state of a retained LogicalVolume to Absent",
        lines.join(", ")
    )
}
