//! Carries out the step that `plan.rs` chose.
//!
//! Returns what to wait for afterwards, and the Event to write. The controller's own writes come
//! back as watch events, which requeue the volume for its next step.

mod abandon;
mod grow;
mod provide;
mod remove;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crds::LogicalVolume;
use crds::condition::{self, reason};
use crds::logical_volume::{ReclaimPolicy, State};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::plan::{self, ObservedObjects, Plan, Step};
use super::state::ClusterState;
use super::volume;
use crate::kube::error::ApiError;

/// Time that the watch may take to deliver the controller's own write, before the step is planned
/// again.
const IN_FLIGHT: Duration = Duration::from_secs(30);

/// Carries out steps.
pub struct Actor {
    client: Client,
    state: Arc<ClusterState>,
    /// Writes that the watch has not delivered yet, by volume name.
    written: Mutex<HashMap<String, Write>>,
    /// The node that last failed to create a volume, by volume name.
    failed_nodes: Mutex<HashMap<String, String>>,
}

/// An object that the controller wrote.
struct Write {
    /// True for a PersistentVolume, false for a LogicalVolume.
    is_persistent_volume: bool,
    since: Instant,
}

impl Actor {
    /// Creates an actor that uses these watch caches and reservations.
    #[must_use]
    pub fn new(client: Client, state: Arc<ClusterState>) -> Self {
        Self {
            client,
            state,
            written: Mutex::default(),
            failed_nodes: Mutex::default(),
        }
    }

    /// Carries out one step for one volume.
    ///
    /// # Errors
    /// If the API server can't be reached or rejects a request; the step may then have been carried
    /// out partly.
    pub async fn act(
        &self,
        name: &str,
        observed: &ObservedObjects,
        step: Step,
    ) -> Result<Plan, ApiError> {
        if observed.claim.is_none() {
            self.failed_nodes().remove(name);
        }
        match step {
            Step::Done | Step::Wait(_) => Ok(step.into()),
            Step::Place { size } => self.place(name, observed, size).await,
            Step::DryRunPlacement { size } => Ok(self.dry_run_placement(observed, size)),
            Step::Deselect => self.deselect(observed).await,
            Step::Publish(volume) => self.publish(observed, *volume.0).await,
            Step::Grow(size) => self.grow(name, observed, size).await,
            Step::LimitCapacity(size) => {
                self.set_capacity(name, observed, size).await?;
                Ok(Step::Wait(plan::REVISIT).into())
            }
            Step::CompleteGrowth { request } => self.complete_growth(name, observed, request).await,
            Step::DeleteUnclaimed => self.delete_unclaimed(name, observed).await,
            Step::DiscardUncreated => self.discard_uncreated(name, observed).await,
            Step::CancelPlacement => {
                self.note_failed_creation(name, observed);
                self.patch_spec(name, json!({"state": State::AbsentIfNeverUsed}))
                    .await
            }
            Step::RequestDeletion => self.request_deletion(name, observed).await,
            Step::CancelDeletion => {
                self.patch_spec(name, json!({"state": State::Present}))
                    .await
            }
            Step::FinalizeDeletion => self.finalize_deletion(name).await,
            Step::Unpublish | Step::UnpublishAbandoned => self.unpublish(name).await,
            Step::SetNodeLost(since) => self.set_node_lost(name, since).await,
            Step::Abandon => self.abandon(name).await,
            Step::CancelAbandonment(claim) => self.cancel_abandonment(name, claim).await,
            Step::ReleaseClaim => self.release_claim(name).await,
            Step::EndWithoutAgent => self.end_without_agent(name).await,
            Step::SetFinalizer(wanted) => self.set_finalizer(name, wanted).await,
            Step::Label => self.label(name, observed).await,
            Step::SetCurrentClaim(claim) => {
                self.patch_spec(name, json!({"currentClaim": claim})).await
            }
            Step::SetReleased(released) => {
                self.patch_spec(name, json!({"released": released})).await
            }
            Step::SetReclaimPolicy(policy) => self.set_reclaim_policy(name, policy).await,
        }
    }

    async fn set_reclaim_policy(
        &self,
        name: &str,
        policy: ReclaimPolicy,
    ) -> Result<Plan, ApiError> {
        let spec = match policy {
            ReclaimPolicy::Delete => json!({"reclaimPolicy": policy}),
            // An admin who changes the policy before the logical volume is removed keeps it.
            ReclaimPolicy::Retain => json!({"reclaimPolicy": policy, "state": State::Present}),
        };
        self.patch_spec(name, spec).await
    }

    /// Returns true while the watch has not delivered a write about the volume.
    #[must_use]
    pub fn in_flight(&self, name: &str, observed: &ObservedObjects) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, write| write.since.elapsed() < IN_FLIGHT);
        let arrived = observed.persistent_volume.is_some()
            || (observed.logical_volume.is_some()
                && written
                    .get(name)
                    .is_some_and(|write| !write.is_persistent_volume));
        if arrived {
            written.remove(name);
        }
        let in_flight = written.contains_key(name);
        // An object that the watch has not delivered in that time does not exist: its reservation
        // is cancelled.
        if !in_flight && observed.logical_volume.is_none() {
            self.state.reservations().cancel(name);
        }
        in_flight
    }

    /// Records a write until the watch delivers it.
    fn record_write(&self, name: &str, is_persistent_volume: bool) {
        let write = Write {
            is_persistent_volume,
            since: Instant::now(),
        };
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), write);
    }

    async fn patch_spec(&self, name: &str, spec: Value) -> Result<Plan, ApiError> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let patched = self
            .logical_volumes()
            .patch(name, &PatchParams::default(), &patch)
            .await;
        patched.map_err(ApiError::of("patch", "LogicalVolume", name))?;
        Ok(Step::Done.into())
    }

    /// Records the node that failed to create a volume, so that the next placement prefers others.
    fn note_failed_creation(&self, name: &str, observed: &ObservedObjects) {
        let Some(logical_volume) = &observed.logical_volume else {
            return;
        };
        let status = logical_volume.status.clone().unwrap_or_default();
        let ready = condition::get(&status.conditions, condition::READY);
        if ready.is_some_and(|ready| ready.reason == reason::CREATE_FAILED) {
            self.failed_nodes()
                .insert(name.to_owned(), logical_volume.spec.node.clone());
        }
    }

    /// Restores the labels of a LogicalVolume.
    async fn label(&self, name: &str, observed: &ObservedObjects) -> Result<Plan, ApiError> {
        let Some(logical_volume) = &observed.logical_volume else {
            return Ok(Step::Done.into());
        };
        let labels = volume::labels(&logical_volume.spec.node);
        let patch =
            Patch::Merge(json!({"metadata": {"uid": logical_volume.uid(), "labels": labels}}));
        let patched = self
            .logical_volumes()
            .patch_metadata(name, &PatchParams::default(), &patch)
            .await;
        patched.map_err(ApiError::of("patch", "LogicalVolume", name))?;
        Ok(Step::Done.into())
    }

    fn failed_nodes(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.failed_nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn logical_volumes(&self) -> Api<LogicalVolume> {
        Api::all(self.client.clone())
    }

    fn persistent_volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }
}
