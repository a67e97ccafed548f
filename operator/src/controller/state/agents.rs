//! Which agents are silent, by when this controller last observed a report of each. Pure: the time
//! is an argument.
//!
//! An agent with nothing to report writes only a renewal every few minutes, so that silence shows in
//! two ways: a new LogicalVolume of the node stays without an answer, for seconds; or renewals are
//! missing. All times are this controller's own: the clocks of nodes decide nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crds::{LogicalVolume, NodeStorage, NodeStorageStatus};
use kube::ResourceExt as _;

use crate::controller::plan::AGENT_TIMEOUT;

/// Time without a renewal after which an agent is silent: two of them are missing, which are
/// `RENEW` of `agent/inventory/publish.rs` apart.
const RENEWAL_TIMEOUT: Duration = Duration::from_mins(12);

/// The agents' last reports, and the new LogicalVolumes without an answer.
#[derive(Debug, Default)]
pub struct AgentReports {
    /// By node.
    last: HashMap<String, LastReport>,
    /// By the names of the LogicalVolumes.
    unanswered: HashMap<String, UnansweredVolume>,
}

/// The last report of one node's agent.
#[derive(Debug)]
struct LastReport {
    at: Instant,
    version: Option<String>,
    /// Hash of all that the NodeStorage contains besides the renewal.
    content: u64,
    /// Whether the agent renews its report; earlier versions don't.
    is_renewed: bool,
}

/// A LogicalVolume without a status.
#[derive(Debug)]
struct UnansweredVolume {
    node: String,
    since: Instant,
}

impl AgentReports {
    /// Records a NodeStorage as it is now; returns whether it differs in more than its renewal from
    /// the last one.
    pub fn observe_storage(&mut self, storage: &NodeStorage, now: Instant) -> bool {
        let name = storage.name_any();
        let content = content(storage.status.as_ref());
        let version = storage.resource_version();
        let old = self.last.get_mut(&name);
        let is_changed = old.as_ref().is_none_or(|old| old.content != content);
        let new = LastReport {
            at: now,
            is_renewed: storage
                .status
                .as_ref()
                .is_some_and(|status| status.renewed_at.is_some()),
            version,
            content,
        };
        match old {
            // A list repeats what is known.
            Some(old) if old.version == new.version => {}
            Some(old) => *old = new,
            None => {
                self.last.insert(name, new);
            }
        }
        is_changed
    }

    /// Forgets the node of a deleted NodeStorage.
    pub fn remove_storage(&mut self, node: &str) {
        self.last.remove(node);
    }

    /// Forgets all nodes but those that have a NodeStorage, after a new list.
    pub fn retain_storages(&mut self, exists: impl Fn(&str) -> bool) {
        self.last.retain(|node, _| exists(node));
    }

    /// Records whether a LogicalVolume has an answer of its agent; returns true if it has one now,
    /// and had none before.
    pub fn observe_volume(&mut self, logical_volume: &LogicalVolume, now: Instant) -> bool {
        let name = logical_volume.name_any();
        let is_answered = logical_volume
            .status
            .as_ref()
            .is_some_and(|status| !status.conditions.is_empty());
        if !is_answered {
            self.unanswered
                .entry(name)
                .or_insert_with(|| UnansweredVolume {
                    node: logical_volume.spec.node.clone(),
                    since: now,
                });
            return false;
        }
        if self.unanswered.remove(&name).is_none() {
            return false;
        }
        if let Some(last) = self.last.get_mut(&logical_volume.spec.node) {
            last.at = now;
        }
        true
    }

    /// Forgets a deleted LogicalVolume.
    pub fn remove_volume(&mut self, name: &str) {
        self.unanswered.remove(name);
    }

    /// Forgets all LogicalVolumes but those that exist, after a new list.
    pub fn retain_volumes(&mut self, exists: impl Fn(&str) -> bool) {
        self.unanswered.retain(|name, _| exists(name));
    }

    /// Returns the nodes whose agents are silent, and for how long.
    #[must_use]
    pub fn silent(&self, now: Instant) -> HashMap<String, Duration> {
        let mut silent = HashMap::new();
        for (node, last) in &self.last {
            let age = now.duration_since(last.at);
            if last.is_renewed && age >= RENEWAL_TIMEOUT {
                silent.insert(node.clone(), age);
            }
        }
        for volume in self.unanswered.values() {
            let Some(last) = self.last.get(&volume.node) else {
                continue; // without any report the node gets no volume anyway
            };
            // An agent that has reported since is at work, but not on this volume yet.
            let age = now.duration_since(volume.since);
            if volume.since >= last.at && age >= AGENT_TIMEOUT {
                let longest = silent.entry(volume.node.clone()).or_insert(age);
                *longest = age.max(*longest);
            }
        }
        silent
    }
}

/// Returns a hash of a status without its renewal.
fn content(status: Option<&NodeStorageStatus>) -> u64 {
    let status = status.map(|status| NodeStorageStatus {
        renewed_at: None,
        ..status.clone()
    });
    crds::hash(&serde_json::to_string(&status).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crds::{LogicalVolume, NodeStorage};
    use serde_json::json;

    use super::{AGENT_TIMEOUT, AgentReports, RENEWAL_TIMEOUT};

    /// Returns the NodeStorage of n1 in this version.
    fn storage(version: &str, renewed_at: Option<&str>) -> NodeStorage {
        serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage",
            "metadata": {"name": "n1", "resourceVersion": version}, "spec": {},
            "status": {"renewedAt": renewed_at, "agentVersion": "1"},
        }))
        .unwrap()
    }

    /// Returns a LogicalVolume on n1.
    fn volume(name: &str, is_answered: bool) -> LogicalVolume {
        let conditions = if is_answered {
            json!([{"type": "Ready", "status": "True", "reason": "Ready", "message": "Ready",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        } else {
            json!([])
        };
        serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": name},
            "spec": {"node": "n1", "backend": "b", "volumeGroup": "vg0", "size": "1Gi", "storageClass": "s",
                "claim": {"namespace": "d", "name": "c", "uid": "1"}, "reclaimPolicy": "Delete",
                "keyDigest": "0", "filesystem": {"type": "ext4"}},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn agent_is_silent_while_a_new_volume_has_no_answer() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut reports = AgentReports::default();
        reports.observe_storage(&storage("1", None), start);
        reports.observe_volume(&volume("pvc-1", false), start + second);
        reports.observe_volume(&volume("pvc-2", false), start + second * 5);
        assert!(reports.silent(start + AGENT_TIMEOUT).is_empty());
        let late = start + second + AGENT_TIMEOUT;
        assert_eq!(reports.silent(late)["n1"], AGENT_TIMEOUT);
        // An event that repeats the object, or a list, is no answer.
        reports.observe_volume(&volume("pvc-1", false), late);
        assert!(!reports.observe_storage(&storage("1", None), late));
        assert_eq!(reports.silent(late + second)["n1"], AGENT_TIMEOUT + second);
        // Any answer shows that the agent works, also on the volumes that it has not come to yet.
        reports.observe_volume(&volume("pvc-2", true), late + second);
        assert!(reports.silent(late + AGENT_TIMEOUT * 10).is_empty());
        reports.observe_volume(&volume("pvc-3", false), late + second * 2);
        let later = late + second * 2 + AGENT_TIMEOUT;
        assert_eq!(reports.silent(later)["n1"], AGENT_TIMEOUT);
        reports.retain_volumes(|name| name != "pvc-3");
        assert!(reports.silent(later).is_empty());
    }

    #[test]
    fn agent_is_silent_if_its_renewals_are_missing() {
        let start = Instant::now();
        let mut reports = AgentReports::default();
        assert!(reports.observe_storage(&storage("1", Some("2026-01-01T00:00:00Z")), start));
        let due = start + RENEWAL_TIMEOUT;
        assert_eq!(reports.silent(due)["n1"], RENEWAL_TIMEOUT);
        // The time in the renewal does not matter, only that it is a new version; and it is no
        // reason to look at waiting claims.
        assert!(!reports.observe_storage(&storage("2", Some("1970-01-01T00:00:00Z")), due));
        assert!(reports.silent(due).is_empty());
        // An agent of an earlier version renews nothing.
        reports.observe_storage(&storage("3", None), due);
        assert!(reports.silent(due + RENEWAL_TIMEOUT * 2).is_empty());
    }
}
