//! One pass over one volume: see what the API says, ask `plan.rs` for the next step, do it. The wake-up that our own
//! write causes brings the next pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crds::LogicalVolume;
use crds::logical_volume::{ReclaimPolicy, State};
use crds::quantity;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;

use super::place::{self, Choice, Order};
use super::plan::{self, Plan, Seen, Step};
use super::world::World;
use super::{claim, volume};
use crate::error::ApiError;
use crate::events::{Notice, Recorder};
use crate::names::{self, event};
use crate::retry::Retries;

/// What the workers share.
pub struct Worker {
    client: Client,
    world: Arc<World>,
    recorder: Recorder,
    retries: Retries<String>,
    /// Since when nothing could be done about a volume.
    stuck: Mutex<HashMap<String, Instant>>,
    /// PersistentVolumes that we wrote and have not seen yet.
    published: Mutex<HashMap<String, Instant>>,
}

/// How long a write of ours may take to come back as a watch event before we look again.
const IN_FLIGHT: Duration = Duration::from_secs(30);

impl Worker {
    /// A worker on this world.
    #[must_use]
    pub fn new(client: Client, world: Arc<World>, recorder: Recorder) -> Self {
        Self { client, world, recorder, retries: Retries::default(), stuck: Mutex::default(), published: Mutex::default() }
    }

    /// One pass over one volume. Whatever goes wrong is said, and tried again later.
    pub async fn work(&self, name: String) {
        match self.pass(&name).await {
            Ok(()) => self.retries.succeeded(&name),
            Err(error) => {
                let (failures, wait) = self.retries.failed(&name);
                let text = host::error::chain(&error);
                tracing::warn!(volume = name, failures, error = text, "will be tried again in {} s", wait.as_secs());
                // A first failure is most often a server that restarts; a second one concerns the user.
                if failures > 1
                    && let Some(claim) = self.world.see(&name).claim
                {
                    let notice = plan::about_claim(&claim, event::PROVISIONING_FAILED, format!("will be tried again: {text}"));
                    let _ = self.recorder.publish(&notice).await;
                }
                self.world.wake_after(&name, wait);
            }
        }
    }

    async fn pass(&self, name: &str) -> Result<(), ApiError> {
        let mut seen = self.world.see(name);
        seen.in_flight = self.in_flight(name, &seen);
        seen.waited = self.stuck_for(name);
        let plan = plan::plan(&seen);
        tracing::debug!(volume = name, step = ?plan.step, "planned");
        let Plan { step, notice } = plan;
        let outcome = self.act(name, &seen, step).await?;
        if let Some(notice) = outcome.notice.or(notice) {
            self.recorder.publish(&notice).await?;
        }
        if let Step::Wait(wait) = outcome.step {
            self.world.wake_after(name, wait);
        }
        Ok(())
    }

    /// Does one step. What is returned is what to wait for afterwards, and what to say.
    async fn act(&self, name: &str, seen: &Seen, step: Step) -> Result<Plan, ApiError> {
        let waits = matches!(step, Step::Wait(_));
        self.set_stuck(name, waits);
        self.world.set_waiting(name, waits || matches!(step, Step::Grow(_)));
        match step {
            Step::Done | Step::Wait(_) => Ok(step.into()),
            Step::Place { bytes } => self.place(name, seen, bytes).await,
            Step::Publish(volume) => self.publish(seen, *volume).await,
            Step::Abandon => self.abandon(name, seen).await,
            Step::Withdraw => self.patch_spec(name, json!({"state": State::AbsentIfUnused})).await,
            Step::DropUnmade => self.drop_unmade(name, seen).await,
            Step::Retire => self.patch_spec(name, json!({"state": State::Absent})).await,
            Step::Forget => self.forget(name).await,
            Step::Unpublish => self.unpublish(name).await,
            Step::SetReclaimPolicy(ReclaimPolicy::Delete) => self.patch_spec(name, json!({"reclaimPolicy": "Delete"})).await,
            // Whoever changes their mind before the logical volume is gone keeps it.
            Step::SetReclaimPolicy(ReclaimPolicy::Retain) => {
                self.patch_spec(name, json!({"reclaimPolicy": "Retain", "state": State::Present})).await
            }
            Step::SetFinalizer(wanted) => self.set_finalizer(seen, wanted).await,
            Step::Grow(bytes) => self.grow(name, seen, bytes).await,
        }
    }

    /// Chooses a place and promises its space, under one lock; then writes the LogicalVolume.
    async fn place(&self, name: &str, seen: &Seen, bytes: u64) -> Result<Plan, ApiError> {
        let (Some(claim), Some(Ok(class)), Some(backend)) = (&seen.claim, &seen.class, &seen.backend) else {
            return Ok(Step::Done.into());
        };
        let candidates = self.world.candidates();
        let class_object = self.world.class_object(claim);
        let topologies = class_object.as_ref().and_then(|class| class.allowed_topologies.as_deref()).unwrap_or_default();
        let order = Order { backend, bytes, selected: class.waits_for_consumer.then(|| claim::selected_node(claim)).flatten(), topologies };
        let choice = {
            let mut ledger = self.world.ledger();
            let choice = place::choose(&order, &World::borrow(&candidates), &ledger);
            if let Choice::Here(room) = &choice {
                ledger.promise(name, &room.place, room.bytes);
            }
            choice
        };
        let failed = |message| plan::about_claim(claim, event::PROVISIONING_FAILED, message);
        match choice {
            Choice::Here(room) => {
                let built = volume::build_logical_volume(name, claim, class, &room);
                let created = self.logical_volumes().create(&PostParams::default(), &built).await;
                match created.map_err(ApiError::of("create", "LogicalVolume", name)) {
                    Ok(_) => Ok(Step::Done.into()),
                    Err(error) => {
                        self.world.ledger().withdraw(name);
                        // Whoever made it, made it for this claim: its uid is in the name.
                        if error.is_conflict() { Ok(Step::Wait(IN_FLIGHT).into()) } else { Err(error) }
                    }
                }
            }
            Choice::Elsewhere(sentence) => {
                self.reselect(claim).await?;
                Ok(Plan { step: Step::Done, notice: Some(failed(sentence)) })
            }
            Choice::Nowhere(sentence) => {
                self.world.set_waiting(name, true);
                Ok(Plan { step: Step::Wait(plan::REVISIT), notice: Some(failed(sentence)) })
            }
        }
    }

    /// Takes the scheduler's choice of node away from a claim, so that it chooses anew. Only if the claim is still as we
    /// saw it.
    async fn reselect(&self, claim: &PersistentVolumeClaim) -> Result<(), ApiError> {
        let reference = claim::reference(claim);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &reference.namespace);
        let patch = json!({"metadata": {"resourceVersion": claim.resource_version(), "annotations": {names::SELECTED_NODE: null}}});
        let patched = claims.patch_metadata(&reference.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match patched.map_err(ApiError::of("patch", "PersistentVolumeClaim", &reference.name)) {
            Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    async fn publish(&self, seen: &Seen, volume: PersistentVolume) -> Result<Plan, ApiError> {
        let name = volume.name_any();
        let created = self.volumes().create(&PostParams::default(), &volume).await;
        match created.map_err(ApiError::of("create", "PersistentVolume", &name)) {
            Err(error) if !error.is_conflict() => return Err(error),
            _ => {}
        }
        self.published.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Instant::now());
        let notice = seen.claim.as_deref().zip(seen.logical_volume.as_deref()).map(|(claim, logical_volume)| {
            let size = logical_volume.status.as_ref().and_then(|status| status.size.clone()).unwrap_or_default();
            let message = format!(
                "made {name}: {} on node {}, in volume group {}",
                quantity::parse(&size).map(quantity::human).unwrap_or(size.0),
                logical_volume.spec.node,
                logical_volume.spec.volume_group
            );
            Notice { warning: false, ..plan::about_claim(claim, event::PROVISIONING_SUCCEEDED, message) }
        });
        Ok(Plan { step: Step::Done, notice })
    }

    /// Has the volume of a vanished claim removed, once the API server itself has said that the claim is gone and that
    /// there is no PersistentVolume: a copy may be behind.
    async fn abandon(&self, name: &str, seen: &Seen) -> Result<Plan, ApiError> {
        let Some(logical_volume) = &seen.logical_volume else { return Ok(Step::Done.into()) };
        let owner = &logical_volume.spec.claim;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &owner.namespace);
        let claim = claims.get_opt(&owner.name).await.map_err(ApiError::of("get", "PersistentVolumeClaim", &owner.name))?;
        let volume = self.volumes().get_opt(name).await.map_err(ApiError::of("get", "PersistentVolume", name))?;
        if volume.is_some() || claim.is_some_and(|claim| claim.uid().as_deref() == Some(owner.uid.as_str())) {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        self.patch_spec(name, json!({"state": State::AbsentIfUnused})).await
    }

    /// Drops a LogicalVolume that a vanished node never made, once the API server itself has said that the node is gone.
    async fn drop_unmade(&self, name: &str, seen: &Seen) -> Result<Plan, ApiError> {
        let Some(logical_volume) = &seen.logical_volume else { return Ok(Step::Done.into()) };
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = &logical_volume.spec.node;
        if nodes.get_opt(node).await.map_err(ApiError::of("get", "Node", node))?.is_some() {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        self.forget(name).await
    }

    async fn patch_spec(&self, name: &str, spec: serde_json::Value) -> Result<Plan, ApiError> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let patched = self.logical_volumes().patch(name, &PatchParams::default(), &patch).await;
        patched.map_err(ApiError::of("patch", "LogicalVolume", name))?;
        Ok(Step::Done.into())
    }

    /// Deletes a LogicalVolume whose space is free, and takes our finalizer off it.
    async fn forget(&self, name: &str) -> Result<Plan, ApiError> {
        let api = self.logical_volumes();
        let Some(found) = api.get_opt(name).await.map_err(ApiError::of("get", "LogicalVolume", name))? else {
            return Ok(Step::Done.into());
        };
        if found.metadata.deletion_timestamp.is_none() {
            let same = Preconditions { uid: found.uid(), resource_version: None };
            api.delete(name, &DeleteParams::default().preconditions(same)).await.map_err(ApiError::of("delete", "LogicalVolume", name))?;
        }
        let finalizers: Vec<&String> = found.finalizers().iter().filter(|finalizer| *finalizer != crds::FINALIZER).collect();
        let patch = Patch::Merge(json!({"metadata": {"uid": found.uid(), "finalizers": finalizers}}));
        gone_is_fine(api.patch(name, &PatchParams::default(), &patch).await, "patch", "LogicalVolume", name)
    }

    /// Deletes a PersistentVolume whose LogicalVolume is gone, and takes our finalizer off it.
    async fn unpublish(&self, name: &str) -> Result<Plan, ApiError> {
        let left = self.logical_volumes().get_opt(name).await.map_err(ApiError::of("get", "LogicalVolume", name))?;
        if left.is_some() {
            return Ok(Step::Wait(IN_FLIGHT).into());
        }
        let api = self.volumes();
        let Some(found) = api.get_opt(name).await.map_err(ApiError::of("get", "PersistentVolume", name))? else {
            return Ok(Step::Done.into());
        };
        if found.metadata.deletion_timestamp.is_none() {
            let same = Preconditions { uid: found.uid(), resource_version: None };
            api.delete(name, &DeleteParams::default().preconditions(same)).await.map_err(ApiError::of("delete", "PersistentVolume", name))?;
        }
        self.patch_finalizers(&found, false).await
    }

    async fn set_finalizer(&self, seen: &Seen, wanted: bool) -> Result<Plan, ApiError> {
        match &seen.volume {
            Some(volume) => self.patch_finalizers(volume, wanted).await,
            None => Ok(Step::Done.into()),
        }
    }

    async fn patch_finalizers(&self, volume: &PersistentVolume, wanted: bool) -> Result<Plan, ApiError> {
        let name = volume.name_any();
        let api = self.volumes();
        // Read afresh: others have finalizers here too, and a merge patch replaces the whole list.
        let Some(volume) = api.get_opt(&name).await.map_err(ApiError::of("get", "PersistentVolume", &name))? else {
            return Ok(Step::Done.into());
        };
        let mut finalizers = volume.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != names::PROVISIONER_FINALIZER);
        if wanted {
            finalizers.push(names::PROVISIONER_FINALIZER.to_owned());
        }
        let metadata = json!({"uid": volume.uid(), "resourceVersion": volume.resource_version(), "finalizers": finalizers});
        let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"metadata": metadata}))).await;
        gone_is_fine(patched, "patch", "PersistentVolume", &name)
    }

    /// Promises the space that a volume is to grow by, and writes the new size into the LogicalVolume.
    async fn grow(&self, name: &str, seen: &Seen, bytes: u64) -> Result<Plan, ApiError> {
        let Some(logical_volume) = &seen.logical_volume else { return Ok(Step::Done.into()) };
        let candidates = self.world.candidates();
        let candidates = World::borrow(&candidates);
        let candidate = candidates.into_iter().find(|candidate| candidate.node.name_any() == logical_volume.spec.node);
        let promised = {
            let mut ledger = self.world.ledger();
            place::grown(logical_volume, bytes, candidate, &ledger).inspect(|room| ledger.promise(name, &room.place, room.bytes))
        };
        let failed = |message| {
            let about = claim::object_reference(&logical_volume.spec.claim);
            Notice { about, warning: true, reason: event::VOLUME_RESIZE_FAILED, message }
        };
        match promised {
            Ok(room) => {
                let written = self.patch_spec(name, json!({"size": quantity::format(room.bytes)})).await;
                if written.is_err() {
                    self.world.ledger().withdraw(name);
                }
                written
            }
            Err(sentence) => Ok(Plan { step: Step::Wait(plan::REVISIT), notice: Some(failed(sentence)) }),
        }
    }

    fn in_flight(&self, name: &str, seen: &Seen) -> bool {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.volume.is_some() {
            published.remove(name);
        }
        published.retain(|_, since| since.elapsed() < IN_FLIGHT);
        published.contains_key(name) || (seen.logical_volume.is_none() && self.world.ledger().knows(name))
    }

    fn stuck_for(&self, name: &str) -> Duration {
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.get(name).map(Instant::elapsed).unwrap_or_default()
    }

    fn set_stuck(&self, name: &str, is_stuck: bool) {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        if is_stuck {
            stuck.entry(name.to_owned()).or_insert_with(Instant::now);
        } else {
            stuck.remove(name);
        }
    }

    fn logical_volumes(&self) -> Api<LogicalVolume> {
        Api::all(self.client.clone())
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }
}

fn gone_is_fine<T>(result: kube::Result<T>, action: &'static str, kind: &'static str, name: &str) -> Result<Plan, ApiError> {
    match result.map_err(ApiError::of(action, kind, name)) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Step::Done.into()),
    }
}
