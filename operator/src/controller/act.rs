//! Carries out the step that `plan.rs` chose. What is returned is what to wait for afterwards, and
//! what to say. The wake-up that our own write causes brings the next pass.

mod grow;
mod provide;
mod remove;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crds::LogicalVolume;
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

/// How long a write of ours may take to come back as a watch event before we look again.
const IN_FLIGHT: Duration = Duration::from_secs(30);

/// Who carries out steps.
pub struct Actor {
    client: Client,
    state: Arc<ClusterState>,
    /// What we wrote and have not observed yet.
    written: Mutex<HashMap<String, Write>>,
}

/// An object that we wrote.
struct Write {
    /// A PersistentVolume; else a LogicalVolume.
    volume: bool,
    since: Instant,
}

impl Actor {
    /// An actor in this state.
    #[must_use]
    pub fn new(client: Client, state: Arc<ClusterState>) -> Self {
        Self {
            client,
            state,
            written: Mutex::default(),
        }
    }

    /// Carries out one step for one volume.
    ///
    /// # Errors
    /// When the API server can't be reached or refuses; the step may then have happened or not.
    pub async fn act(
        &self,
        name: &str,
        observed: &ObservedObjects,
        step: Step,
    ) -> Result<Plan, ApiError> {
        match step {
            Step::Done | Step::Wait(_) => Ok(step.into()),
            Step::Place { bytes } => self.place(name, observed, bytes).await,
            Step::DryRunPlacement { bytes } => Ok(self.dry_run_placement(observed, bytes)),
            Step::Deselect => self.deselect(observed).await,
            Step::Publish(volume) => self.publish(observed, *volume).await,
            Step::Grow(bytes) => self.grow(name, observed, bytes).await,
            Step::LimitCapacity(bytes) => {
                self.set_capacity(name, observed, bytes).await?;
                Ok(Step::Wait(plan::REVISIT).into())
            }
            Step::SettleGrowth { request } => self.settle_growth(name, observed, request).await,
            Step::DeleteUnclaimed => self.delete_unclaimed(name, observed).await,
            Step::DiscardUncreated => self.discard_uncreated(name, observed).await,
            Step::CancelPlacement => {
                self.patch_spec(name, json!({"state": State::AbsentIfNeverUsed}))
                    .await
            }
            Step::RequestDeletion => self.request_deletion(name, observed).await,
            Step::CancelDeletion => {
                self.patch_spec(name, json!({"state": State::Present}))
                    .await
            }
            Step::FinalizeDeletion => self.finalize_deletion(name).await,
            Step::Unpublish => self.unpublish(name).await,
            Step::SetFinalizer(wanted) => self.set_finalizer(name, wanted).await,
            Step::Label => self.label(name, observed).await,
            Step::SetReclaimPolicy(ReclaimPolicy::Delete) => {
                self.patch_spec(name, json!({"reclaimPolicy": "Delete"}))
                    .await
            }
            // Whoever changes their mind before the logical volume is gone keeps it.
            Step::SetReclaimPolicy(ReclaimPolicy::Retain) => {
                self.patch_spec(
                    name,
                    json!({"reclaimPolicy": "Retain", "state": State::Present}),
                )
                .await
            }
        }
    }

    /// True while something that we wrote about a volume has not come back to us.
    #[must_use]
    pub fn in_flight(&self, name: &str, observed: &ObservedObjects) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, write| write.since.elapsed() < IN_FLIGHT);
        let arrived = observed.volume.is_some()
            || (observed.logical_volume.is_some()
                && written.get(name).is_some_and(|write| !write.volume));
        if arrived {
            written.remove(name);
        }
        let in_flight = written.contains_key(name);
        // What has not come back in all that time is not there: its space is promised to nobody.
        if !in_flight && observed.logical_volume.is_none() {
            self.state.reservations().cancel(name);
        }
        in_flight
    }

    /// Remembers a write until it comes back.
    fn remember(&self, name: &str, volume: bool) {
        let write = Write {
            volume,
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

    /// Gives a LogicalVolume its labels back.
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

    fn logical_volumes(&self) -> Api<LogicalVolume> {
        Api::all(self.client.clone())
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }
}
