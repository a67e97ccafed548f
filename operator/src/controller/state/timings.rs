//! How long claims wait for their volumes, and how long operations on volumes take: from when the
//! controller observes the start until it observes the end.
//!
//! Nothing depends on it but metrics. The clock is the controller's own, so after a change of the
//! leader the time begins anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crds::condition::{self, REMOVED};
use crds::logical_volume::State;
use crds::{LogicalVolume, quantity};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use placement::claim;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::Metrics;

/// Upper bounds of both durations, in seconds.
const DURATIONS: [f64; 11] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0,
];

/// A histogram for each combination of values of these labels.
type Histograms<const LABELS: usize> =
    Family<[(&'static str, String); LABELS], Histogram, fn() -> Histogram>;

/// The starts of what is under way, and the durations of what has ended.
#[derive(Debug)]
pub struct Timings {
    /// Since when claims wait, by uid.
    claims: Mutex<HashMap<String, Instant>>,
    /// The operations under way, by volume name.
    operations: Mutex<HashMap<String, (Phase, Instant)>>,
    bound: Histograms<1>,
    durations: Histograms<2>,
}

/// Where a volume is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Without a published uuid.
    Creating,
    /// Ready, and smaller than its spec requires.
    Growing,
    Settled,
    /// Not present according to its spec, and not removed yet.
    Removing,
    Removed,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            claims: Mutex::default(),
            operations: Mutex::default(),
            bound: Family::new_with_constructor(new_histogram),
            durations: Family::new_with_constructor(new_histogram),
        }
    }
}

impl Timings {
    /// Registers both histograms.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register(
                "flexlvm_claim_bound_duration_seconds",
                "Time from when provisioning of a claim is requested until it is bound",
                self.bound.clone(),
            );
            registry.register(
                "flexlvm_volume_operation_duration_seconds",
                "Time that a node takes to create, grow or remove a volume",
                self.durations.clone(),
            );
        });
    }

    /// Returns since when the claim that has waited longest waits.
    #[must_use]
    pub fn longest_wait(&self, now: Instant) -> Duration {
        let claims = lock(&self.claims);
        let first = claims.values().min();
        first.map_or(Duration::ZERO, |first| {
            now.saturating_duration_since(*first)
        })
    }

    /// Observes a claim; `backend` returns the backend of its volume.
    pub(in crate::controller) fn claim(
        &self,
        claim: &PersistentVolumeClaim,
        now: Instant,
        backend: impl FnOnce(&str) -> Option<String>,
    ) {
        let Some(uid) = claim.uid() else { return };
        if claim::is_waiting(claim) {
            lock(&self.claims).entry(uid).or_insert(now);
            return;
        }
        let Some(since) = lock(&self.claims).remove(&uid) else {
            return;
        };
        let volume = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.as_deref());
        let backend = volume.filter(|volume| !volume.is_empty()).and_then(backend);
        if let Some(backend) = backend {
            self.bound
                .get_or_create(&[("backend", backend)])
                .observe(now.saturating_duration_since(since).as_secs_f64());
        }
    }

    /// Forgets a deleted claim.
    pub(super) fn claim_deleted(&self, claim: &PersistentVolumeClaim) {
        if let Some(uid) = claim.uid() {
            lock(&self.claims).remove(&uid);
        }
    }

    /// Forgets the claims that are not in a new list.
    pub(super) fn retain_claims(&self, is_listed: impl Fn(&str) -> bool) {
        lock(&self.claims).retain(|uid, _| is_listed(uid));
    }

    /// Observes a LogicalVolume.
    pub(in crate::controller) fn volume(&self, object: &LogicalVolume, now: Instant) {
        self.enter(object, phase(object), now);
    }

    /// Observes the deletion of a LogicalVolume.
    pub(super) fn volume_deleted(&self, object: &LogicalVolume, now: Instant) {
        self.enter(object, Phase::Removed, now);
    }

    /// Forgets the volumes that are not in a new list.
    pub(super) fn retain_volumes(&self, is_listed: impl Fn(&str) -> bool) {
        lock(&self.operations).retain(|name, _| is_listed(name));
    }

    fn enter(&self, object: &LogicalVolume, phase: Phase, now: Instant) {
        let name = object.name_any();
        let mut operations = lock(&self.operations);
        let before = operations.get(&name).copied();
        if let Some((same, _)) = before
            && same == phase
        {
            return;
        }
        if let Some((ended, since)) = before
            && let Some(operation) = completed(ended, phase)
        {
            let backend = object.spec.backend.clone();
            self.durations
                .get_or_create(&[("operation", operation.to_owned()), ("backend", backend)])
                .observe(now.saturating_duration_since(since).as_secs_f64());
        }
        match phase {
            Phase::Settled | Phase::Removed => {
                operations.remove(&name);
            }
            Phase::Creating | Phase::Growing | Phase::Removing => {
                operations.insert(name, (phase, now));
            }
        }
    }
}

/// Returns the operation that was completed between two phases; `None` if it was cancelled.
fn completed(before: Phase, now: Phase) -> Option<&'static str> {
    match (before, now) {
        (Phase::Creating, Phase::Settled | Phase::Growing) => Some("create"),
        (Phase::Growing, Phase::Settled) => Some("grow"),
        (Phase::Removing, Phase::Removed) => Some("remove"),
        _ => None,
    }
}

fn phase(object: &LogicalVolume) -> Phase {
    let status = object.status.clone().unwrap_or_default();
    if object.spec.state == State::Abandoned {
        return Phase::Settled;
    }
    if object.spec.state != State::Present {
        return if condition::is_true(&status.conditions, REMOVED) {
            Phase::Removed
        } else {
            Phase::Removing
        };
    }
    // A volume that was created stays so: its uuid is published when it is Ready.
    if status.uuid.is_none() {
        return Phase::Creating;
    }
    let wanted = quantity::parse(&object.spec.size).unwrap_or_default();
    let size = status.size.and_then(|size| quantity::parse(&size).ok());
    if size.is_some_and(|size| size < wanted) {
        Phase::Growing
    } else {
        Phase::Settled
    }
}

fn new_histogram() -> Histogram {
    Histogram::new(DURATIONS)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crds::LogicalVolume;
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use serde_json::{Value, json};

    use super::Timings;
    use crate::metrics::{Format, Metrics};

    fn claim(uid: &str, volume: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": {"name": "data", "namespace": "default", "uid": uid, "annotations":
                {"volume.kubernetes.io/storage-provisioner": "flexlvm.dev"}},
            "spec": {"volumeName": volume},
        }))
        .unwrap()
    }

    fn volume(size: &str, state: &str, status: Value) -> LogicalVolume {
        serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": "pvc-1"},
            "spec": {"node": "n", "backend": "fast", "volumeGroup": "vg", "size": size, "storageClass": "s",
                "state": state, "claim": {"namespace": "d", "name": "c", "uid": "u"}, "reclaimPolicy": "Delete",
                "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"}},
            "status": status,
        }))
        .unwrap()
    }

    fn text(timings: &Timings) -> String {
        let metrics = Metrics::of_controller();
        timings.register(&metrics);
        metrics.text(Format::OpenMetrics).unwrap().to_string()
    }

    #[test]
    fn claim_is_timed_from_request_to_binding() {
        let timings = Timings::default();
        let start = Instant::now();
        let backend = |_: &str| Some("fast".to_owned());
        timings.claim(&claim("1", ""), start, backend);
        timings.claim(&claim("2", ""), start + Duration::from_secs(1), backend);
        timings.claim(&claim("3", ""), start + Duration::from_secs(1), backend);
        let later = start + Duration::from_secs(3);
        timings.claim(&claim("1", ""), later, backend);
        assert_eq!(timings.longest_wait(later), Duration::from_secs(3));
        timings.claim(&claim("1", "pvc-1"), later, backend);
        timings.claim(&claim("1", "pvc-1"), later, backend);
        timings.claim_deleted(&claim("2", ""));
        timings.retain_claims(|uid| uid != "3");
        assert_eq!(timings.longest_wait(later), Duration::ZERO);
        let text = text(&timings);
        for sample in [
            "flexlvm_claim_bound_duration_seconds_sum{backend=\"fast\"} 3.0\n",
            "flexlvm_claim_bound_duration_seconds_count{backend=\"fast\"} 1\n",
        ] {
            assert!(text.contains(sample), "{text}");
        }
    }

    #[test]
    fn volume_is_timed_for_each_completed_operation() {
        let timings = Timings::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let created = json!({"uuid": "u", "size": "1Gi"});
        timings.volume(&volume("1Gi", "Present", json!({})), at(0));
        timings.volume(&volume("1Gi", "Present", created.clone()), at(2));
        timings.volume(&volume("2Gi", "Present", created.clone()), at(10));
        timings.volume(
            &volume("2Gi", "Present", json!({"uuid": "u", "size": "2Gi"})),
            at(13),
        );
        // A cancelled removal does not count.
        timings.volume(&volume("1Gi", "Absent", created.clone()), at(20));
        timings.volume(&volume("1Gi", "Present", created.clone()), at(21));
        let removing = volume("1Gi", "Absent", created);
        timings.volume(&removing, at(30));
        timings.volume_deleted(&removing, at(34));
        timings.volume_deleted(&removing, at(35));
        let text = text(&timings);
        for (operation, seconds) in [("create", 2), ("grow", 3), ("remove", 4)] {
            let labels = format!("{{operation=\"{operation}\",backend=\"fast\"}}");
            let name = "flexlvm_volume_operation_duration_seconds";
            let sum = format!("{name}_sum{labels} {seconds}.0\n");
            assert!(text.contains(&sum), "{sum} in {text}");
            let count = format!("{name}_count{labels} 1\n");
            assert!(text.contains(&count), "{count} in {text}");
        }
    }
}
