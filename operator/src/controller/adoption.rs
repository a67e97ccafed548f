//! Adoptions: makes LogicalVolume and PersistentVolume of an existing logical volume that an admin
//! names. [`plan`] returns the next step, [`settings`] reads what the admin and the tags of the
//! logical volume state, [`build`] builds the LogicalVolume.
//!
//! Each step is one write, and the next pass observes its result: a controller that ends in between,
//! or a second one, repeats nothing.

pub mod build;
pub mod plan;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use crds::condition::{self, ADOPTED, reason};
use crds::{Adoption, AdoptionStatus, LogicalVolume};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::plan::UnpublishedVolume;
use super::state::ClusterState;
use crate::kube::error::ApiError;
use crate::kube::events::{Notice, Recorder};
use crate::kube::names::{self, event};
use placement::claim;
use plan::{AdoptionProgress, AdoptionStep, ObservedAdoption};

/// Delay after a change, so that changes in quick succession cause one pass.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Maximum time between two passes while an Adoption is not complete: a foreign object that the
/// controller doesn't watch may block it, and API servers delete Events after an hour.
const REVISIT: Duration = Duration::from_mins(1);

/// Carries out Adoptions; never returns before the watches end.
pub async fn run(client: Client, state: Arc<ClusterState>, recorder: Arc<Recorder>) {
    let mut changes = state.adoptions_changed.subscribe();
    let mut space = state.space_changed.subscribe();
    let worker = AdoptionWorker {
        client,
        state,
        recorder,
    };
    loop {
        changes.mark_unchanged();
        space.mark_unchanged();
        let is_waiting = worker.pass().await;
        // Without Adoptions that wait, changes of volumes and nodes need no pass.
        let news = async {
            tokio::select! {
                result = changes.changed() => result,
                result = space.changed(), if is_waiting => result,
            }
        };
        let limit = if is_waiting { REVISIT } else { Duration::MAX };
        if let Ok(Err(_)) = timeout(limit, news).await {
            return;
        }
        sleep(DEBOUNCE).await;
    }
}

struct AdoptionWorker {
    client: Client,
    state: Arc<ClusterState>,
    recorder: Arc<Recorder>,
}

impl AdoptionWorker {
    /// Carries out one step of each Adoption; returns true if one is not complete.
    async fn pass(&self) -> bool {
        let mut is_waiting = false;
        for adoption in self.state.adoptions.state() {
            let status = adoption.status.clone().unwrap_or_default();
            if condition::is_true(&status.conditions, ADOPTED) {
                continue;
            }
            is_waiting = true;
            if let Err(error) = self.step(&adoption).await
                && !error.is_not_found()
            {
                self.report_failure(&adoption, &error).await;
            }
        }
        is_waiting
    }

    async fn step(&self, adoption: &Arc<Adoption>) -> Result<(), ApiError> {
        let observed = self.observe(adoption);
        let planned = plan::plan(&observed, &self.state.reservations());
        let progress = match planned {
            AdoptionStep::Report(progress) => progress,
            AdoptionStep::CreateLogicalVolume(built) => {
                self.create_logical_volume(&built).await?;
                AdoptionProgress::waiting(
                    reason::ADOPTING,
                    format!(
                        "LogicalVolume {} was created; the agent on node {} takes the logical volume over",
                        built.name_any(),
                        built.spec.node
                    ),
                )
            }
            AdoptionStep::Publish(UnpublishedVolume(volume)) => {
                match self.publish(&volume).await? {
                    None => return Ok(()), // its watch event leads to the next pass
                    Some(conflict) => conflict,
                }
            }
        };
        self.report(adoption, progress).await
    }

    /// Logs why a step failed, and writes it into the condition.
    async fn report_failure(&self, adoption: &Adoption, error: &ApiError) {
        let text = host::error::chain(error);
        tracing::warn!(
            adoption = adoption.name_any(),
            error = text,
            "a step of an Adoption failed; retrying"
        );
        let progress = if error.is_invalid() {
            let message = format!(
                "the API server rejects what the Adoption states: {text}; correct it, and delete LogicalVolume {} if it \
                 exists, which leaves the logical volume unchanged",
                adoption.spec.logical_volume
            );
            AdoptionProgress::waiting(reason::INVALID_SPEC, message)
        } else {
            let message = format!("retrying after an error: {text}");
            AdoptionProgress::waiting(reason::ADOPTING, message)
        };
        // The API server may be at fault; the log has the error.
        let _ = self.report(adoption, progress).await;
    }

    fn observe(&self, adoption: &Arc<Adoption>) -> ObservedAdoption {
        let state = &self.state;
        let spec = &adoption.spec;
        let name = spec.logical_volume.as_str();
        let uid = settings::claim_uid(adoption);
        let other = state.logical_volumes.state().into_iter().find(|other| {
            uid.as_deref() == Some(other.spec.claim.uid.as_str()) && other.name_any() != name
        });
        let backend = settings::backend(adoption);
        let named_claim = name
            .strip_prefix(claim::VOLUME_PREFIX)
            .and_then(|uid| state.claim_by_uid(uid));
        let logical_volume = state.logical_volumes.get(&ObjectRef::new(name));
        let maker = logical_volume
            .as_deref()
            .and_then(|object| object.spec.adopted.as_ref());
        ObservedAdoption {
            adoption: adoption.clone(),
            maker_exists: maker.is_some_and(|maker| state.has_adoption(maker)),
            logical_volume,
            persistent_volume: state.persistent_volumes.get(&ObjectRef::new(name)),
            other_of_claim: other.map(|other| other.name_any()),
            claim_of_name: named_claim.map(|claim| claim::reference(&claim)),
            node: state.nodes.get(&ObjectRef::new(&spec.node)),
            storage: state.storages.get(&ObjectRef::new(&spec.node)),
            backend: backend.and_then(|name| state.backends.get(&ObjectRef::new(&name))),
            master_key: state.master_key(),
        }
    }

    /// Creates the LogicalVolume. If one of the name exists already, the next pass observes whose it
    /// is: of two Adoptions of a logical volume, one wins.
    async fn create_logical_volume(&self, built: &LogicalVolume) -> Result<(), ApiError> {
        let name = built.name_any();
        let api: Api<LogicalVolume> = Api::all(self.client.clone());
        let created = api.create(&PostParams::default(), built).await;
        match created.map_err(ApiError::of("create", "LogicalVolume", &name)) {
            Err(error) if !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates the PersistentVolume; returns why that is not possible if another one has its name.
    async fn publish(
        &self,
        volume: &PersistentVolume,
    ) -> Result<Option<AdoptionProgress>, ApiError> {
        let name = volume.name_any();
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let created = api.create(&PostParams::default(), volume).await;
        match created.map_err(ApiError::of("create", "PersistentVolume", &name)) {
            Ok(_) => return Ok(None),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        let found =
            api.get_opt(&name)
                .await
                .map_err(ApiError::of("get", "PersistentVolume", &name))?;
        let is_ours = found.is_none_or(|found| {
            found.annotations().get(names::PROVISIONED_BY)
                == volume.annotations().get(names::PROVISIONED_BY)
        });
        if is_ours {
            return Ok(None); // the watch has yet to deliver it
        }
        let message = format!(
            "PersistentVolume {name} exists, and FlexLVM did not create it: delete it, which keeps the logical volume \
             if its reclaim policy is Retain"
        );
        Ok(Some(AdoptionProgress::waiting(reason::CONFLICT, message)))
    }

    /// Writes condition and claim, if they have changed, and the Event.
    async fn report(
        &self,
        adoption: &Adoption,
        progress: AdoptionProgress,
    ) -> Result<(), ApiError> {
        let old = adoption.status.clone().unwrap_or_default();
        let mut conditions = old.conditions.clone();
        condition::set(
            &mut conditions,
            ADOPTED,
            progress.is_adopted,
            progress.reason,
            &progress.message,
            adoption.metadata.generation,
            &Time(Timestamp::now()),
        );
        let new = AdoptionStatus {
            conditions,
            claim: settings::claim(adoption),
            report: None,
        };
        if (&new.conditions, &new.claim) != (&old.conditions, &old.claim) {
            self.write(adoption, &new).await?;
        }
        if let Some(notice) = notice(adoption, &progress) {
            self.recorder.publish(&notice).await?;
        }
        Ok(())
    }

    async fn write(&self, adoption: &Adoption, status: &AdoptionStatus) -> Result<(), ApiError> {
        let name = adoption.name_any();
        let object = json!({
            "apiVersion": Adoption::api_version(&()),
            "kind": Adoption::kind(&()),
            "metadata": {"name": name, "uid": adoption.uid()},
            "status": status,
        });
        let api: Api<Adoption> = Api::all(self.client.clone());
        let params = PatchParams::apply(names::CONTROLLER).force();
        let written = api
            .patch_status(&name, &params, &Patch::Apply(&object))
            .await;
        written
            .map(drop)
            .map_err(ApiError::of("patch the status of", "Adoption", &name))
    }
}

/// Returns the Event about an Adoption; none while the agent works.
///
/// Tenants may read Events on objects without a namespace: the message has the reason, not the
/// condition's own message, which names volumes of others.
fn notice(adoption: &Adoption, progress: &AdoptionProgress) -> Option<Notice> {
    let (reason, message) = if progress.is_adopted {
        let name = &adoption.spec.logical_volume;
        (
            event::ADOPTED,
            format!("PersistentVolume {name} was created"),
        )
    } else if progress.reason == reason::ADOPTING {
        return None;
    } else {
        let message = format!(
            "Adopted is False ({}); the condition has the message",
            progress.reason
        );
        (event::ADOPTION_FAILED, message)
    };
    Some(Notice {
        about: ObjectReference {
            api_version: Some(Adoption::api_version(&()).into_owned()),
            kind: Some(Adoption::kind(&()).into_owned()),
            name: Some(adoption.name_any()),
            uid: adoption.uid(),
            ..ObjectReference::default()
        },
        warning: !progress.is_adopted,
        reason,
        message,
    })
}
