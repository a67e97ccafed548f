//! Reconciles one LogicalVolume of this node: reads its spec, executes the plan, writes the status.

use std::collections::BTreeSet;
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
use super::outcome::Outcome;
use super::spec::VolumeSpec;
use super::status;
use super::written_statuses::WrittenStatuses;
use crate::agent::condition::ReportedError;
use crate::agent::error::{AgentError, message};
use crate::agent::watches::logical_volumes::NodeVolumes;
use crate::kube::backoff::Backoff;
use crate::kube::error::ApiError;
use crate::kube::names;

/// Maximum interval between two checks of a volume that is in use and waits for removal, whose
/// device lags behind LVM's metadata, whose erasure failed, or that waits for the objects of other
/// volumes.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Number of consecutive failures to create a volume after which another node may be tried.
const MAX_CREATE_FAILURES: u32 = 3;

/// State that all concurrent reconciles share.
pub struct VolumeReconciler {
    executor: VolumeExecutor,
    volumes: Arc<NodeVolumes>,
    api: Api<LogicalVolume>,
    backoff: Backoff<String>,
    waits: Backoff<String>,
    statuses: WrittenStatuses,
    /// Volumes that are in use and wait for removal, whose erasure failed, or whose device lags
    /// behind LVM's metadata.
    waiting: Mutex<BTreeSet<String>>,
}

impl VolumeReconciler {
    /// Returns a reconciler for the LogicalVolumes in `volumes`.
    #[must_use]
    pub fn new(client: Client, executor: VolumeExecutor, volumes: Arc<NodeVolumes>) -> Self {
        Self {
            executor,
            volumes,
            api: Api::all(client),
            backoff: Backoff::default(),
            waits: Backoff::default(),
            statuses: WrittenStatuses::default(),
            waiting: Mutex::default(),
        }
    }

    /// Reconciles one LogicalVolume. Logs an error, reports it in the status, and retries with
    /// backoff.
    pub async fn reconcile(&self, name: String) {
        let Some(object) = self.volumes.get(&name) else {
            return self.forget(&name);
        };
        match self.reconcile_object(&name, &object).await {
            Ok(()) => self.backoff.succeeded(&name),
            Err(failure) => {
                let text = match &failure {
                    AgentError::Node(error) | AgentError::Create(error) => message(error),
                    AgentError::Api(error) => host::error::chain(error),
                };
                let (failures, wait) = self.backoff.failed(&name);
                self.volumes.queue.statistics().failed();
                tracing::warn!(
                    volume = name,
                    failures,
                    error = text,
                    "reconciling the volume failed; retrying in {} s",
                    wait.as_secs()
                );
                if let Some(reason) = reason(&failure, failures)
                    && let Some(outcome) = failed(
                        &object,
                        &self.statuses.corrected(&object),
                        ReportedError::new(reason, text),
                    )
                    && let Err(error) = self.publish(&name, &object, &outcome).await
                {
                    tracing::warn!(
                        volume = name,
                        error = host::error::chain(&error),
                        "can't write the failure to the volume's status"
                    );
                }
                self.volumes.queue.requeue_after(&name, wait);
            }
        }
    }

    /// Enqueues the volumes that wait for removal while they are open, or for their device.
    pub fn enqueue_waiting(&self) {
        let names = lock(&self.waiting).clone();
        for name in &names {
            self.volumes.queue.enqueue(name);
        }
    }

    async fn reconcile_object(&self, name: &str, object: &LogicalVolume) -> Result<(), AgentError> {
        // The removal may have been cancelled after the watch's last event.
        let live = match object.spec.state {
            State::Present | State::Abandoned => None,
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
            Some(None) => return Ok(()), // deleted; the watch has yet to report it
        };
        let spec = match VolumeSpec::read(object, &self.statuses.corrected(object)) {
            Ok(spec) => Arc::new(spec),
            Err(error) => {
                let error = ReportedError::new(reason::INVALID_SPEC, error.to_string());
                let outcome = Outcome::not_ready(error);
                return Ok(self.publish(name, object, &outcome).await?);
            }
        };
        let outcome = self.executor.reconcile(&spec).await?;
        self.publish(name, object, &outcome).await?;
        let is_waiting =
            outcome.is_in_use() || outcome.has_outdated_device() || outcome.has_failed_erasure();
        self.revisit(name, is_waiting);
        if outcome.awaits_other_volumes() {
            self.volumes.queue.requeue_after(name, LONGEST_WAIT);
        }
        Ok(())
    }

    /// Writes the status if it has changed, or differs from what the agent observes.
    async fn publish(
        &self,
        name: &str,
        object: &LogicalVolume,
        outcome: &Outcome,
    ) -> Result<(), ApiError> {
        if let Some((uuid, _)) = &outcome.volume {
            self.statuses.identify(object, uuid);
        }
        let current = self.statuses.current(object);
        let new = status::build(
            &self.statuses.corrected(object),
            outcome,
            self.volumes.node_uid(),
            object.metadata.generation,
            &Time(Timestamp::now()),
        );
        if new == current {
            return Ok(());
        }
        if let (Some(uuid), Some(wrong)) = (&new.uuid, &current.uuid)
            && uuid != wrong
        {
            tracing::warn!(
                volume = name,
                uuid,
                wrong,
                "another client has overwritten the uuid in the status; correcting it"
            );
        }
        let ready = condition::get(&new.conditions, READY).map(|ready| ready.reason.as_str());
        tracing::info!(volume = name, ready, uuid = new.uuid, "updating the status");
        match self.write(name, object, &new).await {
            Ok(answer) => {
                self.statuses.record(&answer);
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes the whole status, and removes what another client has written into it.
    async fn write(
        &self,
        name: &str,
        object: &LogicalVolume,
        status: &LogicalVolumeStatus,
    ) -> Result<LogicalVolume, ApiError> {
        // A newer object of the same name has another uid, and must not get this status.
        let metadata = json!({"name": name, "uid": object.uid()});
        let applied = json!({
            "apiVersion": LogicalVolume::api_version(&()),
            "kind": LogicalVolume::kind(&()),
            "metadata": metadata,
            "status": status,
        });
        let apply = PatchParams::apply(names::AGENT).force();
        let answer = self
            .api
            .patch_status(name, &apply, &Patch::Apply(&applied))
            .await
            .map_err(ApiError::of("report on", "LogicalVolume", name))?;
        if status::has_no_more_than(&answer.status.clone().unwrap_or_default(), status) {
            return Ok(answer);
        }
        // Server-side apply keeps fields and conditions that another client has added.
        let replaced = json!({
            "metadata": metadata,
            "status": {
                "observedGeneration": status.observed_generation,
                "conditions": status.conditions,
                "size": status.size,
                "uuid": status.uuid,
                "nodeUid": status.node_uid,
            },
        });
        let replace = PatchParams {
            field_manager: Some(names::AGENT.to_owned()),
            ..PatchParams::default()
        };
        self.api
            .patch_status(name, &replace, &Patch::Merge(&replaced))
            .await
            .map_err(ApiError::of("report on", "LogicalVolume", name))
    }

    /// Records whether a volume waits for what no report of LVM shows, its release or the refresh of
    /// its device, and schedules the next check: soon, then with backoff. An unmount triggers a
    /// check at once, see `mounts`.
    fn revisit(&self, name: &str, is_waiting: bool) {
        if is_waiting {
            lock(&self.waiting).insert(name.to_owned());
            let (_, wait) = self.waits.failed(&name.to_owned());
            self.volumes
                .queue
                .requeue_after(name, wait.min(LONGEST_WAIT));
        } else if lock(&self.waiting).remove(name) {
            self.waits.succeeded(&name.to_owned());
        }
    }

    fn forget(&self, name: &str) {
        self.executor.stop_erasure(name);
        self.revisit(name, false);
        self.backoff.succeeded(&name.to_owned());
        self.statuses.forget(name);
    }
}

/// Returns the reason of the condition after this many consecutive failures. `None` if the API
/// server failed.
fn reason(failure: &AgentError, failures: u32) -> Option<&'static str> {
    match failure {
        AgentError::Create(_) if failures >= MAX_CREATE_FAILURES => Some(reason::CREATE_FAILED),
        AgentError::Node(_) | AgentError::Create(_) => Some(reason::LVM_FAILED),
        AgentError::Api(_) => None,
    }
}

/// Returns the outcome to report when a command failed.
///
/// `None` while the volume was last Ready with the same spec: a failing LVM command does not make
/// the volume worse.
fn failed(
    object: &LogicalVolume,
    status: &LogicalVolumeStatus,
    error: ReportedError,
) -> Option<Outcome> {
    let is_observed = status.observed_generation == object.metadata.generation;
    match object.spec.state {
        State::Present if is_observed && condition::is_true(&status.conditions, READY) => None,
        State::Present | State::Abandoned => Some(Outcome::not_ready(error)),
        State::Absent | State::AbsentIfNeverUsed => Some(Outcome::kept(error)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
