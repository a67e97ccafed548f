//! Events on StorageBackends and NodeStorages: a condition is False, or all are True again.
//!
//! The controller writes those on NodeStorages, too: agents have no right to write Events, which
//! could be about any object.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crds::condition::reason;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt as _};
use tokio::time::{sleep, timeout};

use super::state::ClusterState;
use crate::kube::events::{Notice, Recorder};
use crate::kube::names::event;

/// Delay after a change, so that changes in quick succession cause one pass.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Maximum time between two passes: API servers delete Events after an hour, and an Event about a
/// lasting fault must exist for as long as the fault.
const LONGEST: Duration = Duration::from_mins(10);

/// Time until the next pass after an Event could not be written.
const RETRY: Duration = Duration::from_secs(10);

/// Writes the Events; never returns before the watches end.
pub async fn run(state: Arc<ClusterState>, recorder: Arc<Recorder>) {
    let mut changes = state.space_changed.subscribe();
    let mut events = ReadinessEvents {
        recorder,
        unready: HashSet::new(),
    };
    loop {
        changes.mark_unchanged();
        let wait = events.pass(&state).await;
        if let Ok(Err(_)) = timeout(wait, changes.changed()).await {
            return;
        }
        sleep(DEBOUNCE).await;
    }
}

/// Writes the Events of all objects.
struct ReadinessEvents {
    recorder: Arc<Recorder>,
    /// Uids of the objects whose last Event is that a condition is False.
    unready: HashSet<String>,
}

impl ReadinessEvents {
    /// Writes the Events that are due; returns the time until the next pass.
    async fn pass(&mut self, state: &ClusterState) -> Duration {
        let mut wait = LONGEST;
        let mut existing = HashSet::new();
        for backend in state.backends.state() {
            existing.extend(backend.uid());
            let conditions = backend.status.as_ref().map(|status| &status.conditions);
            let next = self.publish(&*backend, conditions.map_or(&[], Vec::as_slice));
            wait = wait.min(next.await);
        }
        for storage in state.storages.state() {
            existing.extend(storage.uid());
            let conditions = storage.status.as_ref().map(|status| &status.conditions);
            let next = self.publish(&*storage, conditions.map_or(&[], Vec::as_slice));
            wait = wait.min(next.await);
        }
        self.unready.retain(|uid| existing.contains(uid));
        wait
    }

    /// Writes the Event about one object, if one is due; returns the time until the next attempt.
    async fn publish<K>(&mut self, object: &K, conditions: &[Condition]) -> Duration
    where
        K: Resource<DynamicType = ()>,
    {
        let uid = object.uid().unwrap_or_default();
        let Some(notice) = notice(object, conditions, self.unready.contains(&uid)) else {
            return LONGEST;
        };
        match self.recorder.publish(&notice).await {
            Ok(None) => {
                if notice.warning {
                    self.unready.insert(uid);
                } else {
                    self.unready.remove(&uid);
                }
                LONGEST
            }
            Ok(Some(rest)) => rest,
            Err(error) => {
                tracing::warn!(
                    object = object.name_any(),
                    error = host::error::chain(&error),
                    "can't write the Event about the object's conditions; retrying"
                );
                RETRY
            }
        }
    }
}

/// Returns the Event about an object with these conditions.
///
/// Events on objects without a namespace are in `default`, where tenants may read them: the message
/// has the reasons, not the conditions' own messages, which name disks and volumes of others.
fn notice<K>(object: &K, conditions: &[Condition], was_unready: bool) -> Option<Notice>
where
    K: Resource<DynamicType = ()>,
{
    let mut faults = Vec::new();
    for condition in conditions {
        if condition.status == "False" && condition.reason != reason::BEING_DELETED {
            faults.push(format!(
                "{} is False ({})",
                condition.type_, condition.reason
            ));
        }
    }
    let kind = K::kind(&());
    let name = object.name_any();
    let about = ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(kind.to_string()),
        name: Some(name.clone()),
        uid: object.uid(),
        ..ObjectReference::default()
    };
    if !faults.is_empty() {
        let message = format!("{kind} {name}: {}; see its conditions", faults.join(", "));
        return Some(Notice {
            about,
            warning: true,
            reason: event::NOT_READY,
            message,
        });
    }
    was_unready.then(|| Notice {
        about,
        warning: false,
        reason: event::READY,
        message: format!("{kind} {name}: all conditions are True again"),
    })
}

#[cfg(test)]
mod tests {
    use super::notice;
    use crds::condition::reason;
    use crds::{NodeStorage, NodeStorageSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;

    fn condition(type_: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: "vg-admin/secret".to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    #[test]
    fn event_has_all_false_conditions_without_their_messages() {
        let storage = NodeStorage::new("n1", NodeStorageSpec {});
        let conditions = [
            condition("Ready", "False", reason::LVM_FAILED),
            condition("DriverInstalled", "True", reason::INSTALLED),
            condition("KubeletReady", "False", reason::DRIVER_NOT_LOADED),
        ];
        let found = notice(&storage, &conditions, false).unwrap();
        assert!(found.warning);
        assert_eq!(
            found.message,
            "NodeStorage n1: Ready is False (LvmFailed), KubeletReady is False (DriverNotLoaded); \
             see its conditions"
        );
        assert_eq!(found.about.kind.as_deref(), Some("NodeStorage"));
    }

    #[test]
    fn recovery_is_reported_once_after_a_fault() {
        let storage = NodeStorage::new("n1", NodeStorageSpec {});
        let ready = [condition("Ready", "True", reason::READY)];
        assert_eq!(notice(&storage, &ready, false), None);
        let found = notice(&storage, &ready, true).unwrap();
        assert!(!found.warning);
        assert!(found.message.ends_with("all conditions are True again"));
        let deleted = [condition("Ready", "False", reason::BEING_DELETED)];
        assert_eq!(notice(&storage, &deleted, false), None);
    }
}
