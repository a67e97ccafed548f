//! Checks of the installation: definitions, controller, agents, the CSIDriver, clocks. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use placement::class;

use super::check::{Check, Fault, Probe};
use super::facts::Facts;
use crate::objects::{pod_is_ready, pod_waits_for};
use crate::snapshot::kind::Kind;
use crate::snapshot::{AGENT, CONTROLLER, NAMESPACE};

/// Names of the definitions. The controller serves no claim before it has listed the objects of all.
const DEFINITIONS: [&str; 4] = [
    "adoptions.flexlvm.dev",
    "logicalvolumes.flexlvm.dev",
    "nodestorages.flexlvm.dev",
    "storagebackends.flexlvm.dev",
];

/// Seconds without a renewal after which the controller's Lease is held by none: its duration, and
/// as much again for a busy API server.
const LEASE_SECONDS: i64 = 30;

/// Seconds by which a node's clock may differ: a kubelet renews its Lease every ten seconds, and a
/// node without renewals for 40 seconds is not Ready.
const CLOCK_SECONDS: i64 = 60;

pub(super) const CHECKS: &[Check] = &[
    Check::fault(
        "definition-missing",
        "a definition is not installed",
        "kubectl apply -k crds/cel (before Kubernetes 1.25: crds)",
        Probe::Rule(missing_definitions),
    ),
    Check::fault(
        "definition-being-deleted",
        "a definition is being deleted, so no claim is served",
        "follow docs/operations.md, the definitions were deleted",
        Probe::Rule(deleted_definitions),
    ),
    Check::fault(
        "controller-missing",
        "the controller is not installed",
        "kubectl apply -k config/v1.30 (before Kubernetes 1.30: config/v1.25, before 1.25: config/default)",
        Probe::Rule(missing_controller),
    ),
    Check::fault(
        "controller-not-running",
        "no replica of the controller is ready, so no claim is served",
        "kubectl -n flexlvm-system describe pods -l app.kubernetes.io/component=controller, and their logs",
        Probe::Rule(stopped_controller),
    ),
    Check::fault(
        "controller-not-elected",
        "no replica of the controller is active",
        "kubectl -n flexlvm-system logs deployment/flexlvm-controller: the replicas log why they can't renew the Lease",
        Probe::Rule(unelected_controller),
    ),
    Check::fault(
        "agents-missing",
        "the agents are not installed",
        "kubectl apply -k config/v1.30 (before Kubernetes 1.30: config/v1.25, before 1.25: config/default)",
        Probe::Rule(missing_agents),
    ),
    Check::fault(
        "agent-missing",
        "a node of a backend runs no agent",
        "kubectl -n flexlvm-system describe daemonset flexlvm-agent: its node selector and tolerations must allow the node",
        Probe::Rule(absent_agents),
    ),
    Check::fault(
        "agent-not-ready",
        "the agent of a node is not ready, so nothing is created, expanded or removed there",
        "kubectl -n flexlvm-system logs --previous and describe of the agent's pod",
        Probe::Rule(unready_agents),
    ),
    Check::fault(
        "agent-not-reporting",
        "the agent of a node is ready and has not written its NodeStorage",
        "kubectl -n flexlvm-system logs of the agent's pod: it logs which write the API server refuses",
        Probe::Rule(silent_agents),
    ),
    Check::fault(
        "image-not-started",
        "a container of FlexLVM does not start",
        "kubectl -n flexlvm-system describe pod NAME: for ErrImagePull or ImagePullBackOff, copy the image to the node or correct its name (kustomize edit set image)",
        Probe::Rule(waiting_containers),
    ),
    Check::warning(
        "agent-version",
        "an agent has another version than most",
        "kubectl -n flexlvm-system rollout status daemonset/flexlvm-agent; an update that does not end has a node that is not ready",
        Probe::Rule(other_versions),
    ),
    Check::fault(
        "csidriver-leftover",
        "a CSIDriver makes the scheduler expect published capacity, and none is published: pods with waiting claims are not scheduled",
        "kubectl delete OBJECT if FlexLVM is not installed; else kubectl -n flexlvm-system logs deployment/flexlvm-controller: a running controller publishes within seconds",
        Probe::Rule(leftover_csi_driver),
    ),
    Check::warning(
        "clock-skew",
        "the clock of a node differs from that of the API server",
        "synchronize the node's clock (chronyc tracking, timedatectl): tokens and Leases depend on it",
        Probe::Rule(clocks_apart),
    ),
];

fn missing_definitions(facts: &Facts<'_>) -> Vec<Fault> {
    let snapshot = facts.snapshot;
    if !snapshot.is_readable(Kind::CustomResourceDefinitions) {
        return Vec::new();
    }
    let missing = DEFINITIONS.into_iter();
    missing
        .filter(|name| !snapshot.definitions.contains_key(*name))
        .map(|name| {
            Fault::new(
                format!("customresourcedefinition/{name}"),
                "it does not exist",
            )
        })
        .collect()
}

fn deleted_definitions(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, definition) in &facts.snapshot.definitions {
        if definition.metadata.deletion_timestamp.is_some() {
            let detail = "it is deleted once its objects are gone, which wait for their finalizers";
            faults.push(Fault::new(
                format!("customresourcedefinition/{name}"),
                detail,
            ));
        }
    }
    faults
}

fn controller_fault(detail: &str) -> Vec<Fault> {
    vec![Fault::new(format!("deployment/{CONTROLLER}"), detail)]
}

fn missing_controller(facts: &Facts<'_>) -> Vec<Fault> {
    let snapshot = facts.snapshot;
    if snapshot.controller().is_some() || !snapshot.is_readable(Kind::Deployments) {
        return Vec::new();
    }
    controller_fault(&format!("it does not exist in namespace {NAMESPACE}"))
}

fn stopped_controller(facts: &Facts<'_>) -> Vec<Fault> {
    if facts.snapshot.ready_controllers() != Some(0) {
        return Vec::new();
    }
    let deployment = facts.snapshot.controller();
    let wanted = deployment
        .and_then(|deployment| deployment.spec.replicas)
        .unwrap_or(1);
    controller_fault(&format!("0 of {wanted} replicas are ready"))
}

/// Returns the seconds since a Lease was renewed; `None` if it never was.
fn renewed(lease: &Lease, now: Timestamp) -> Option<i64> {
    let renewed = lease.spec.as_ref()?.renew_time.as_ref()?;
    Some(now.duration_since(renewed.0).as_secs())
}

fn unelected_controller(facts: &Facts<'_>) -> Vec<Fault> {
    let snapshot = facts.snapshot;
    if facts
        .snapshot
        .ready_controllers()
        .is_none_or(|ready| ready == 0)
        || !snapshot.is_readable(Kind::ControllerLeases)
    {
        return Vec::new();
    }
    let lease = snapshot.leases.get(&format!("{NAMESPACE}/{CONTROLLER}"));
    match lease.and_then(|lease| renewed(lease, snapshot.now)) {
        None => controller_fault("its Lease was never renewed"),
        Some(seconds) if seconds > LEASE_SECONDS => {
            controller_fault(&format!("its Lease was renewed {seconds} s ago"))
        }
        Some(_) => Vec::new(),
    }
}

fn missing_agents(facts: &Facts<'_>) -> Vec<Fault> {
    let snapshot = facts.snapshot;
    if snapshot.agents().is_some() || !snapshot.is_readable(Kind::DaemonSets) {
        return Vec::new();
    }
    let detail = format!("it does not exist in namespace {NAMESPACE}");
    vec![Fault::new(format!("daemonset/{AGENT}"), detail)]
}

/// Returns true if agents are installed, and their pods can be listed.
fn has_agents(facts: &Facts<'_>) -> bool {
    facts.snapshot.agents().is_some() && facts.snapshot.is_readable(Kind::SystemPods)
}

fn absent_agents(facts: &Facts<'_>) -> Vec<Fault> {
    if !has_agents(facts) {
        return Vec::new();
    }
    let agents = facts.agents();
    let mut faults = Vec::new();
    for node in facts.storage_nodes() {
        if !agents.contains_key(node) {
            faults.push(Fault::new(
                format!("node/{node}"),
                "it has no pod of the agents",
            ));
        }
    }
    faults
}

fn unready_agents(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (node, pod) in facts.agents() {
        if !pod_is_ready(pod) && !facts.is_lost(node) && pod_waits_for(pod).is_none() {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            faults.push(Fault::new(
                format!("node/{node}"),
                format!("pod {NAMESPACE}/{name} is not ready"),
            ));
        }
    }
    faults
}

fn silent_agents(facts: &Facts<'_>) -> Vec<Fault> {
    if !facts.snapshot.is_readable(Kind::NodeStorages) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (node, pod) in facts.agents() {
        let storage = facts.snapshot.storages.get(node);
        let has_report = storage.is_some_and(|storage| storage.status.is_some());
        if pod_is_ready(pod) && !has_report && !facts.is_lost(node) {
            faults.push(Fault::new(
                format!("node/{node}"),
                "its NodeStorage does not exist, or is empty",
            ));
        }
    }
    faults
}

fn waiting_containers(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (_, pod) in facts.pods_of("agent").chain(facts.pods_of("controller")) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match pod_waits_for(pod) {
            None | Some("ContainerCreating" | "PodInitializing") => {}
            Some(reason) => faults.push(Fault::new(
                format!("pod/{name}"),
                format!("its container waits: {reason}"),
            )),
        }
    }
    faults
}

fn other_versions(facts: &Facts<'_>) -> Vec<Fault> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, storage) in &facts.snapshot.storages {
        let status = storage.status.as_ref();
        if let Some(version) = status.and_then(|status| status.agent_version.as_deref()) {
            nodes.entry(version).or_default().push(node);
        }
    }
    let Some((most, _)) = nodes.iter().max_by_key(|(_, nodes)| nodes.len()) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for (version, nodes) in &nodes {
        for node in nodes.iter().filter(|_| version != most) {
            faults.push(Fault::new(
                format!("node/{node}"),
                format!("its agent has version {version}, most have {most}"),
            ));
        }
    }
    faults
}

/// Finds a CSIDriver without the capacity that the scheduler then expects for waiting claims.
fn leftover_csi_driver(facts: &Facts<'_>) -> Vec<Fault> {
    let snapshot = facts.snapshot;
    let driver = snapshot.csi_drivers.get(crds::GROUP);
    let is_expected = driver.is_some_and(|driver| driver.spec.storage_capacity == Some(true));
    let is_published =
        !snapshot.capacities.is_empty() || !snapshot.is_readable(Kind::CsiStorageCapacities);
    if !is_expected || is_published {
        return Vec::new();
    }
    let waiting = snapshot.classes.values().find(|class| {
        let is_ours = class.provisioner == crds::GROUP && class::waits_for_consumer(class);
        let backend = class::backend_of(class);
        let mut places = facts.places.iter().filter(|place| place.space.is_ok());
        is_ours && places.any(|place| place.backend.metadata.name.as_deref() == backend)
    });
    let Some(class) = waiting else {
        return Vec::new();
    };
    let detail = format!(
        "it has storageCapacity: true, and there is no CSIStorageCapacity for StorageClass {}",
        class.name_any()
    );
    vec![Fault::new(format!("csidriver/{}", crds::GROUP), detail)]
}

/// Compares the times that kubelets write into their Leases with the server's time.
fn clocks_apart(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for name in facts.snapshot.nodes.keys() {
        let lease = facts
            .snapshot
            .leases
            .get(&format!("kube-node-lease/{name}"));
        let Some(age) = lease.and_then(|lease| renewed(lease, facts.snapshot.now)) else {
            continue;
        };
        // Without renewals, the node would not be Ready.
        if facts.is_lost(name) || (-CLOCK_SECONDS..=CLOCK_SECONDS).contains(&age) {
            continue;
        }
        let relation = if age > 0 { "behind" } else { "ahead" };
        faults.push(Fault::new(
            format!("node/{name}"),
            format!("it is about {} s {relation}", age.abs()),
        ));
    }
    faults
}
