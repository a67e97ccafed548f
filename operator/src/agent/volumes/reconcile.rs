//! One pass over one LogicalVolume of this node: read the order, have `execute` settle it, report
//! how things stand.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crds::LogicalVolume;
use crds::condition::{self, READY, reason};
use crds::logical_volume::{LogicalVolumeStatus, State};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;

use super::execute::VolumeExecutor;
use super::outcome::{ConditionUpdate, Outcome};
use super::spec::VolumeSpec;
use super::status;
use crate::agent::watches::logical_volumes::NodeVolumes;
use crate::kube::backoff::Backoff;
use crate::kube::error::ApiError;
use crate::kube::names;

/// A volume that somebody has open is looked at again after this time at the latest.
const LONGEST_IN_USE: Duration = Duration::from_secs(30);

/// What the workers share.
pub struct VolumeReconciler {
    executor: VolumeExecutor,
    volumes: Arc<NodeVolumes>,
    api: Api<LogicalVolume>,
    backoff: Backoff<String>,
    waits: Backoff<String>,
    /// The status that we wrote last, by the object's name and with its uid, until the watch has
    /// brought it back.
    written: Mutex<HashMap<String, (String, LogicalVolumeStatus)>>,
    in_use: Mutex<BTreeSet<String>>,
}

/// What can go wrong in a pass.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Node(#[from] host::Error),
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl VolumeReconciler {
    /// A worker on this node, for the LogicalVolumes in `volumes`.
    #[must_use]
    pub fn new(client: Client, executor: VolumeExecutor, volumes: Arc<NodeVolumes>) -> Self {
        Self {
            executor,
            volumes,
            api: Api::all(client),
            backoff: Backoff::default(),
            waits: Backoff::default(),
            written: Mutex::default(),
            in_use: Mutex::default(),
        }
    }

    /// One pass over one LogicalVolume. Whatever goes wrong is said, and tried again later.
    pub async fn work(&self, name: String) {
        let Some(object) = self.volumes.get(&name) else {
            return self.forget(&name);
        };
        match self.pass(&name, &object).await {
            Ok(()) => self.backoff.succeeded(&name),
            Err(failure) => {
                let text = host::error::chain(&failure);
                let (failures, wait) = self.backoff.failed(&name);
                tracing::warn!(
                    volume = name,
                    failures,
                    error = text,
                    "will be tried again in {} s",
                    wait.as_secs()
                );
                if let ReconcileError::Node(_) = failure
                    && let Some(outcome) = failed(&object, &self.latest(&object), text)
                    && let Err(error) = self.publish(&name, &object, &outcome).await
                {
                    tracing::warn!(
                        volume = name,
                        error = host::error::chain(&error),
                        "this can't be reported"
                    );
                }
                self.volumes.queue.requeue_after(&name, wait);
            }
        }
    }

    /// The names of the volumes that are to be removed once nobody has them open.
    pub fn in_use(&self) -> Vec<String> {
        lock(&self.in_use).iter().cloned().collect()
    }

    async fn pass(&self, name: &str, object: &LogicalVolume) -> Result<(), ReconcileError> {
        // Whoever changed their mind about a removal may have done so after our copy was taken.
        let live = match object.spec.state {
            State::Present => None,
            State::Absent | State::AbsentIfNeverUsed => {
                let live = self.api.get_opt(name).await.map_err(ApiError::of(
                    "get",
                    "LogicalVolume",
                    name,
                ))?;
                Some(live.filter(|live| live.metadata.uid == object.metadata.uid))
            }
        };
        let object = match &live {
            None => object,
            Some(Some(live)) => live,
            Some(None) => return Ok(()), // gone, which our copy is about to learn
        };
        let spec = match VolumeSpec::read(object, &self.latest(object)) {
            Ok(spec) => Arc::new(spec),
            Err(message) => {
                let ready = Some(ConditionUpdate {
                    status: false,
                    reason: reason::INVALID_SPEC,
                    message,
                });
                return Ok(self
                    .publish(
                        name,
                        object,
                        &Outcome {
                            ready,
                            ..Outcome::default()
                        },
                    )
                    .await?);
            }
        };
        let outcome = self.executor.reconcile(&spec).await?;
        self.publish(name, object, &outcome).await?;
        self.await_release(name, outcome.is_in_use());
        Ok(())
    }

    /// Writes the status, if it says anything new.
    async fn publish(
        &self,
        name: &str,
        object: &LogicalVolume,
        outcome: &Outcome,
    ) -> Result<(), ApiError> {
        let old = self.latest(object);
        let new = status::build(
            &old,
            outcome,
            object.metadata.generation,
            &Time(Timestamp::now()),
        );
        if new == old {
            return Ok(());
        }
        let ready = condition::get(&new.conditions, READY).map(|ready| ready.reason.as_str());
        tracing::info!(volume = name, ready, uuid = new.uuid, "reporting");
        let patch = json!({
            "apiVersion": LogicalVolume::api_version(&()),
            "kind": LogicalVolume::kind(&()),
            // An object of the same name that was made later is another order.
            "metadata": {"name": name, "uid": object.uid()},
            "status": new,
        });
        let params = PatchParams::apply(names::AGENT).force();
        let written = self
            .api
            .patch_status(name, &params, &Patch::Apply(&patch))
            .await;
        match written.map_err(ApiError::of("report on", "LogicalVolume", name)) {
            Ok(answer) => {
                let status = answer.status.clone().unwrap_or_default();
                lock(&self.written)
                    .insert(name.to_owned(), (answer.uid().unwrap_or_default(), status));
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The latest status: ours, while the watch has not brought it back. Nobody else writes it.
    fn latest(&self, object: &LogicalVolume) -> LogicalVolumeStatus {
        let seen = object.status.clone().unwrap_or_default();
        let mut written = lock(&self.written);
        match written.get(&object.name_any()) {
            Some((uid, ours)) if *ours != seen && object.uid().as_ref() == Some(uid) => {
                ours.clone()
            }
            _ => {
                written.remove(&object.name_any());
                seen
            }
        }
    }

    /// Notes whether a volume waits for whoever has it open, and looks at it again: soon, then less
    /// often. An unmount brings it back at once, see `mounts`.
    fn await_release(&self, name: &str, in_use: bool) {
        if in_use {
            lock(&self.in_use).insert(name.to_owned());
            let (_, wait) = self.waits.failed(&name.to_owned());
            self.volumes
                .queue
                .requeue_after(name, wait.min(LONGEST_IN_USE));
        } else if lock(&self.in_use).remove(name) {
            self.waits.succeeded(&name.to_owned());
        }
    }

    fn forget(&self, name: &str) {
        self.await_release(name, false);
        self.backoff.succeeded(&name.to_owned());
        lock(&self.written).remove(name);
    }
}

/// What to report when a program failed. Nothing while all was as ordered: that LVM does not answer
/// today makes no volume worse.
fn failed(
    object: &LogicalVolume,
    status: &LogicalVolumeStatus,
    message: String,
) -> Option<Outcome> {
    let update = Some(ConditionUpdate {
        status: false,
        reason: reason::LVM_FAILED,
        message,
    });
    let is_answered = status.observed_generation == object.metadata.generation;
    match object.spec.state {
        State::Present if is_answered && condition::is_true(&status.conditions, READY) => None,
        State::Present => Some(Outcome {
            ready: update,
            ..Outcome::default()
        }),
        State::Absent | State::AbsentIfNeverUsed => Some(Outcome {
            removed: update,
            ..Outcome::default()
        }),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
