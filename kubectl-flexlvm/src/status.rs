//! `status`: one screen about backends, nodes and volumes, and what is wrong. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crds::condition::{self, DRIVER_INSTALLED, HEALTHY, KUBELET_READY, READY};
use crds::logical_volume::State;
use crds::{NodeStorage, quantity};
use placement::claim;
use placement::filter;
use serde::Serialize;
use storage_model::Bytes;

use crate::doctor::check::Finding;
use crate::doctor::{self, Diagnosis};
use crate::explain::waiting::WaitingClaim;
use crate::objects::{backend_conditions, counted, human, storage_conditions, volume_conditions};
use crate::output::Report;
use crate::snapshot::Snapshot;
use crate::table::Table;

/// Findings that `status` shows; `doctor` shows all.
const SHOWN: usize = 5;

/// State of an installation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    backends: Vec<BackendLine>,
    nodes: Vec<NodeLine>,
    volumes: VolumeCounts,
    diagnosis: Diagnosis,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackendLine {
    name: String,
    ready: String,
    nodes: String,
    volume_group: String,
    layout: &'static str,
    capacity: String,
    free: String,
    volumes: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeLine {
    name: String,
    ready: bool,
    lvm: String,
    driver: String,
    kubelet: String,
    volume_groups: Vec<GroupLine>,
    volumes: usize,
    agent_version: String,
    lvm_version: String,
}

#[derive(Debug, Serialize)]
struct GroupLine {
    name: String,
    size: String,
    free: String,
}

/// Numbers of volumes and claims.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct VolumeCounts {
    total: usize,
    ready: usize,
    unhealthy: usize,
    being_removed: usize,
    abandoned: usize,
    claims_waiting: usize,
}

/// Returns the state of an installation.
#[must_use]
pub fn status(snapshot: &Snapshot) -> Status {
    Status {
        backends: backends(snapshot),
        nodes: nodes(snapshot),
        volumes: volumes(snapshot),
        diagnosis: doctor::diagnose(snapshot),
    }
}

/// Returns the status of a condition, or `Unknown`.
fn state(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    type_: &str,
) -> String {
    let condition = condition::get(conditions, type_);
    condition.map_or("Unknown".to_owned(), |condition| condition.status.clone())
}

fn backends(snapshot: &Snapshot) -> Vec<BackendLine> {
    let mut volumes: BTreeMap<&str, usize> = BTreeMap::new();
    for volume in snapshot.logical_volumes.values() {
        *volumes.entry(&volume.spec.backend).or_default() += 1;
    }
    let mut lines = Vec::new();
    for (name, backend) in &snapshot.backends {
        let status = backend.status.clone().unwrap_or_default();
        lines.push(BackendLine {
            name: name.clone(),
            ready: state(backend_conditions(backend), READY),
            nodes: status.nodes.unwrap_or_default(),
            volume_group: backend.spec.volume_group.clone(),
            layout: backend.spec.layout.type_.as_str(),
            capacity: status.capacity.as_ref().map(human).unwrap_or_default(),
            free: status.free.as_ref().map(human).unwrap_or_default(),
            volumes: volumes.get(name.as_str()).copied().unwrap_or_default(),
        });
    }
    lines
}

/// Returns the volume groups of a node, each with the space that is neither used by others nor
/// reserved.
fn groups(
    snapshot: &Snapshot,
    node: &str,
    storage: &NodeStorage,
    reservations: &placement::reservations::Reservations,
) -> Vec<GroupLine> {
    let Some(node) = snapshot.nodes.get(node) else {
        return Vec::new();
    };
    let candidate = placement::request::Candidate {
        node,
        storage: Some(storage),
        silent_for: None,
    };
    let mut lines = Vec::new();
    for group in storage
        .status
        .iter()
        .flat_map(|status| &status.volume_groups)
    {
        let backend = crds::StorageBackendSpec::new(&group.name);
        let space = placement::fit::group_free_space(&backend, candidate, reservations);
        let free = space.map_or(Bytes(0), |(space, _)| space.free);
        lines.push(GroupLine {
            name: group.name.clone(),
            size: human(&group.size),
            free: quantity::human(free),
        });
    }
    lines
}

fn nodes(snapshot: &Snapshot) -> Vec<NodeLine> {
    let reservations = snapshot.reservations();
    let mut volumes: BTreeMap<&str, usize> = BTreeMap::new();
    for volume in snapshot.logical_volumes.values() {
        *volumes.entry(&volume.spec.node).or_default() += 1;
    }
    let mut lines = Vec::new();
    for (name, storage) in &snapshot.storages {
        let conditions = storage_conditions(storage);
        let status = storage.status.clone().unwrap_or_default();
        lines.push(NodeLine {
            name: name.clone(),
            ready: snapshot.nodes.get(name).is_some_and(filter::is_up),
            lvm: state(conditions, READY),
            driver: state(conditions, DRIVER_INSTALLED),
            kubelet: state(conditions, KUBELET_READY),
            volume_groups: groups(snapshot, name, storage, &reservations),
            volumes: volumes.get(name.as_str()).copied().unwrap_or_default(),
            agent_version: status.agent_version.unwrap_or_default(),
            lvm_version: status.lvm_version.unwrap_or_default(),
        });
    }
    lines
}

fn volumes(snapshot: &Snapshot) -> VolumeCounts {
    let mut counts = VolumeCounts::default();
    for volume in snapshot.logical_volumes.values() {
        let conditions = volume_conditions(volume);
        counts.total += 1;
        if volume.spec.state == State::Abandoned {
            counts.abandoned += 1;
            continue;
        }
        if volume.spec.state != State::Present {
            counts.being_removed += 1;
            continue;
        }
        if condition::is_true(conditions, READY) {
            counts.ready += 1;
        }
        let healthy = condition::get(conditions, HEALTHY);
        if healthy.is_some_and(|healthy| healthy.status != "True") {
            counts.unhealthy += 1;
        }
    }
    for claim in snapshot.claims.values() {
        let is_waiting = WaitingClaim::new(snapshot, claim).is_some();
        if is_waiting || claim::is_waiting(claim) {
            counts.claims_waiting += 1;
        }
    }
    counts
}

impl Status {
    fn backend_table(&self) -> Table {
        let mut table = Table::new(&[
            "BACKEND", "READY", "NODES", "GROUP", "LAYOUT", "CAPACITY", "FREE", "VOLUMES",
        ]);
        for line in &self.backends {
            table.row([
                line.name.clone(),
                line.ready.clone(),
                line.nodes.clone(),
                line.volume_group.clone(),
                line.layout.to_owned(),
                line.capacity.clone(),
                line.free.clone(),
                line.volumes.to_string(),
            ]);
        }
        table
    }

    fn node_table(&self, wide: bool) -> Table {
        let mut header = vec![
            "NODE", "READY", "LVM", "DRIVER", "KUBELET", "GROUPS", "VOLUMES",
        ];
        if wide {
            header.extend(["AGENT-VERSION", "LVM-VERSION"]);
        }
        let mut table = Table::new(&header);
        for line in &self.nodes {
            let groups = line.volume_groups.iter();
            let groups: Vec<String> = groups
                .map(|group| format!("{} ({} free of {})", group.name, group.free, group.size))
                .collect();
            let mut cells = vec![
                line.name.clone(),
                if line.ready { "True" } else { "False" }.to_owned(),
                line.lvm.clone(),
                line.driver.clone(),
                line.kubelet.clone(),
                groups.join(", "),
                line.volumes.to_string(),
            ];
            if wide {
                cells.extend([line.agent_version.clone(), line.lvm_version.clone()]);
            }
            table.row(cells);
        }
        table
    }
}

impl Report for Status {
    fn text(&self, wide: bool) -> String {
        let mut text = String::new();
        for table in [self.backend_table(), self.node_table(wide)] {
            if !table.is_empty() {
                text.push_str(&table.render());
                text.push('\n');
            }
        }
        let counts = &self.volumes;
        let abandoned = match counts.abandoned {
            0 => String::new(),
            count => format!(", {count} abandoned"),
        };
        let _ = writeln!(
            text,
            "{}: {} ready, {} unhealthy, {} being removed{abandoned}; {} without a volume\n",
            counted(counts.total, "volume"),
            counts.ready,
            counts.unhealthy,
            counts.being_removed,
            counted(counts.claims_waiting, "claim")
        );
        let findings = &self.diagnosis.findings;
        for finding in findings.iter().take(SHOWN) {
            text.push_str(&line(finding));
        }
        if findings.len() > SHOWN {
            let _ = writeln!(
                text,
                "and {} more: kubectl flexlvm doctor",
                findings.len() - SHOWN
            );
        }
        text.push_str(&self.diagnosis.unreadable_lines());
        text.push_str(&self.diagnosis.verdict());
        text.push('\n');
        text
    }

    fn names(&self) -> Vec<String> {
        let backends = self.backends.iter();
        let backends = backends.map(|line| format!("storagebackend.flexlvm.dev/{}", line.name));
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|line| format!("nodestorage.flexlvm.dev/{}", line.name));
        backends.chain(nodes).collect()
    }

    fn is_good(&self) -> bool {
        self.diagnosis.is_good()
    }
}

/// Returns a finding in one line.
fn line(finding: &Finding) -> String {
    format!(
        "{}: {}: {}\n",
        finding.severity.as_str(),
        finding.object,
        finding.detail
    )
}
