//! A StorageBackend that has volumes stays until they are gone: a finalizer keeps it, and its
//! status says for what.

use std::sync::Arc;

use crds::{LogicalVolume, StorageBackend};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::kube::error::ApiError;

/// How many volumes are named at most.
const SHOWN: usize = 5;

/// Gives a backend that has volumes our finalizer, and takes it off one that has none, once the API
/// server itself has said so: a copy may be behind. A backend that was never used has none, so it
/// never stands in the way of an uninstallation.
///
/// # Errors
/// When the API server can't be reached or refuses.
pub(super) async fn keep(
    client: &Client,
    backend: &StorageBackend,
    has_volumes: bool,
) -> Result<(), ApiError> {
    let name = backend.name_any();
    let guarded = backend
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == crds::BACKEND_FINALIZER);
    // Nobody can add a finalizer to what is being deleted.
    let wanted = has_volumes && (guarded || backend.metadata.deletion_timestamp.is_none());
    if wanted == guarded || (guarded && is_used(client, &name).await?) {
        return Ok(());
    }
    let mut finalizers = backend.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != crds::BACKEND_FINALIZER);
    if wanted {
        finalizers.push(crds::BACKEND_FINALIZER.to_owned());
    }
    // A merge patch replaces the whole list, so it is for the object as we saw it.
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

/// What a backend that is being deleted waits for.
pub(super) fn waits_for(volumes: &[Arc<LogicalVolume>]) -> String {
    let line = |volume: &Arc<LogicalVolume>| {
        let (claim, node) = (&volume.spec.claim, &volume.spec.node);
        format!(
            "{} of claim {}/{} on node {node}",
            volume.name_any(),
            claim.namespace,
            claim.name
        )
    };
    let mut lines: Vec<String> = volumes.iter().map(line).collect();
    lines.sort();
    let hidden = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if hidden > 0 {
        lines.push(format!("and {hidden} more"));
    }
    let count = volumes.len();
    let noun = if count == 1 { "volume" } else { "volumes" };
    format!(
        "it is being deleted, serves no new claims, and waits for {count} {noun} to go ({}); delete their claims, or set \
         spec.state of a retained LogicalVolume to Absent",
        lines.join(", ")
    )
}
