//! Metrics of volumes, claims and backends.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crds::LogicalVolume;
use crds::condition::{self, READY, reason};
use crds::logical_volume::State;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use placement::{claim, class};

use crate::controller::state::ClusterState;
use crate::metrics::series::{Gauge, Scrape};

const WAITING: Gauge<1> = Gauge::new(
    "flexlvm_claims_waiting",
    "Claims whose provisioning is requested and that are not bound; backend is empty if the class names none.",
    ["backend"],
);

const LONGEST: Gauge<0> = Gauge::new(
    "flexlvm_claims_longest_wait_seconds",
    "Time since provisioning was requested of the claim that has waited longest.",
    [],
);

const VOLUMES: Gauge<4> = Gauge::new(
    "flexlvm_volumes",
    "LogicalVolumes by backend, layout, required state, and reason of their condition Ready.",
    ["backend", "layout", "state", "reason"],
);

const BACKEND_READY: Gauge<1> = Gauge::new(
    "flexlvm_backend_ready",
    "1 if every selected node can provide volumes of the StorageBackend, else 0.",
    ["backend"],
);

const BACKEND_VOLUMES: Gauge<1> = Gauge::new(
    "flexlvm_backend_volumes",
    "Volumes of the StorageBackend, as of its status.",
    ["backend"],
);

const CAPACITY_TRACKING: Gauge<0> = Gauge::new(
    "flexlvm_capacity_tracking_active",
    "1 if the scheduler uses the published capacity, else 0.",
    [],
);

/// Writes the samples of all volumes, waiting claims and backends.
pub(super) fn samples(scrape: &mut Scrape<'_>, state: &ClusterState) -> fmt::Result {
    of_claims(scrape, state)?;
    of_volumes(scrape, state)?;
    of_backends(scrape, state)?;
    scrape.value(&CAPACITY_TRACKING, state.capacity_tracking_active())
}

fn of_claims(scrape: &mut Scrape<'_>, state: &ClusterState) -> fmt::Result {
    let mut waiting: BTreeMap<String, usize> = BTreeMap::new();
    for backend in state.backends.state() {
        waiting.insert(backend.name_any(), 0);
    }
    for claim in state.claims.state() {
        if claim::is_waiting(&claim) {
            *waiting.entry(backend_of(state, &claim)).or_default() += 1;
        }
    }
    let samples = waiting
        .iter()
        .map(|(backend, count)| ([backend.as_str()], (*count).into()));
    scrape.gauge(&WAITING, samples)?;
    let longest = state.timings().longest_wait(Instant::now());
    scrape.value(&LONGEST, longest.as_secs_f64())
}

/// Returns the existing backend that the class of a claim names; else an empty text, since tenants
/// choose classes.
fn backend_of(state: &ClusterState, claim: &PersistentVolumeClaim) -> String {
    let class =
        claim::class_name(claim).and_then(|class| state.classes.get(&ObjectRef::new(class)));
    let Some(backend) = class.as_deref().and_then(class::backend_of) else {
        return String::new();
    };
    if state.backends.get(&ObjectRef::new(backend)).is_none() {
        return String::new();
    }
    backend.to_owned()
}

fn of_volumes(scrape: &mut Scrape<'_>, state: &ClusterState) -> fmt::Result {
    let mut counts: BTreeMap<(String, [&str; 3]), usize> = BTreeMap::new();
    for volume in state.logical_volumes.state() {
        let spec = &volume.spec;
        let labels = [
            spec.layout.type_.as_str(),
            name_of(spec.state),
            reason_of(&volume),
        ];
        *counts.entry((spec.backend.clone(), labels)).or_default() += 1;
    }
    let samples = counts.iter().map(|((backend, labels), count)| {
        let [layout, state, reason] = *labels;
        ([backend.as_str(), layout, state, reason], (*count).into())
    });
    scrape.gauge(&VOLUMES, samples)
}

fn name_of(state: State) -> &'static str {
    match state {
        State::Present => "Present",
        State::Absent => "Absent",
        State::AbsentIfNeverUsed => "AbsentIfNeverUsed",
        State::Abandoned => "Abandoned",
    }
}

/// Returns why a volume is Ready or not; `Unknown` before its agent has reported.
fn reason_of(volume: &LogicalVolume) -> &'static str {
    let conditions = volume.status.as_ref().map(|status| &status.conditions);
    let ready = conditions.and_then(|conditions| condition::get(conditions, READY));
    ready.map_or("Unknown", |ready| reason::known(&ready.reason))
}

fn of_backends(scrape: &mut Scrape<'_>, state: &ClusterState) -> fmt::Result {
    let mut backends = BTreeMap::new();
    for backend in state.backends.state() {
        backends.insert(
            backend.name_any(),
            backend.status.clone().unwrap_or_default(),
        );
    }
    let ready = backends.iter().map(|(name, status)| {
        let is_ready = condition::is_true(&status.conditions, READY);
        ([name.as_str()], is_ready.into())
    });
    scrape.gauge(&BACKEND_READY, ready)?;
    let mut volumes = Vec::new();
    for (name, status) in &backends {
        let count = status.volumes.and_then(|count| u64::try_from(count).ok());
        volumes.push(([name.as_str()], count.unwrap_or_default().into()));
    }
    scrape.gauge(&BACKEND_VOLUMES, volumes)
}
