//! The parts of the chain on a node: the LogicalVolume, the node, its report, the logical volume. Pure.

use crds::condition::{
    self, DRIVER_INSTALLED, HEALTHY, KUBELET_READY, PROGRESSING, READY, REMOVED,
};
use crds::logical_volume::State;
use crds::{LogicalVolume, NodeStorage};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use placement::filter;

use super::{absent, judge, ok};
use crate::explain::{Link, LinkState};
use crate::objects::{human, is_cordoned, storage_conditions, volume_conditions};
use crate::snapshot::Snapshot;
use crate::snapshot::kind::Kind;

/// Returns a LogicalVolume, with the condition that is not True, or why it does not grow.
pub(super) fn of_volume(name: &str, volume: &LogicalVolume, growth: Option<String>) -> Link {
    let spec = &volume.spec;
    let conditions = volume_conditions(volume);
    let mut detail = format!(
        "{} {} on node {}",
        human(&spec.size),
        spec.layout.type_.as_str(),
        spec.node
    );
    if let Some(progress) = condition::get(conditions, PROGRESSING) {
        detail = format!("{detail}; {}: {}", progress.reason, progress.message);
    }
    let (state, detail) = if spec.state == State::Abandoned {
        let detail = format!("{detail}, which is lost: the claim is being released");
        (LinkState::Waiting, detail)
    } else if spec.state != State::Present {
        let removed = condition::get(conditions, REMOVED);
        let why = removed.map(|removed| format!(": {}", removed.message));
        let detail = format!("{detail}; is being removed{}", why.unwrap_or_default());
        (LinkState::Waiting, detail)
    } else if condition::get(conditions, READY).is_none() {
        let detail = format!("{detail}; the node's agent has not reported it yet");
        (LinkState::Waiting, detail)
    } else {
        match (judge(conditions, &[READY, HEALTHY], detail), growth) {
            ((LinkState::Ok, detail), Some(growth)) => {
                (LinkState::Waiting, format!("{detail}; {growth}"))
            }
            (judged, _) => judged,
        }
    };
    let next = if conditions.is_empty() {
        "kubectl -n flexlvm-system get pods -o wide -l app.kubernetes.io/component=agent".to_owned()
    } else {
        format!("kubectl describe logicalvolume.flexlvm.dev {name}")
    };
    Link {
        object: format!("logicalvolume.flexlvm.dev/{name}"),
        state,
        detail,
        next,
    }
}

/// Returns the node of a volume, its report, and the logical volume in its group.
pub(super) fn of_place(snapshot: &Snapshot, volume: &LogicalVolume) -> Vec<Link> {
    let name = &volume.spec.node;
    let storage = snapshot.storages.get(name);
    let mut links = vec![of_node(snapshot, name, snapshot.nodes.get(name))];
    links.push(of_storage(snapshot, name, storage));
    if let Some(storage) = storage {
        links.push(of_logical_volume(volume, storage));
    }
    links
}

fn of_node(snapshot: &Snapshot, name: &str, node: Option<&Node>) -> Link {
    let next = format!("kubectl describe node {name}");
    let (state, detail) = match node {
        None => (
            absent(snapshot, Kind::Nodes),
            "it does not exist".to_owned(),
        ),
        Some(node) if !filter::is_up(node) => {
            let detail = "not Ready: its kubelet does not report".to_owned();
            (LinkState::Fault, detail)
        }
        Some(node) if is_cordoned(node) => (LinkState::Ok, "Ready, cordoned".to_owned()),
        Some(_) => (LinkState::Ok, "Ready".to_owned()),
    };
    Link {
        object: format!("node/{name}"),
        state,
        detail,
        next,
    }
}

fn of_storage(snapshot: &Snapshot, name: &str, storage: Option<&NodeStorage>) -> Link {
    let object = format!("nodestorage.flexlvm.dev/{name}");
    let next = format!("kubectl get nodestorage.flexlvm.dev {name} -o yaml");
    let Some(storage) = storage else {
        return Link {
            object,
            state: absent(snapshot, Kind::NodeStorages),
            detail: "the node's agent has never reported".to_owned(),
            next: "kubectl -n flexlvm-system get pods -o wide".to_owned(),
        };
    };
    let status = storage.status.clone().unwrap_or_default();
    let fine = format!(
        "agent {}, LVM {}",
        status.agent_version.as_deref().unwrap_or("unknown"),
        status.lvm_version.as_deref().unwrap_or("unknown")
    );
    let types = [READY, KUBELET_READY, DRIVER_INSTALLED];
    let (state, detail) = judge(storage_conditions(storage), &types, fine);
    Link {
        object,
        state,
        detail,
        next,
    }
}

/// Returns the logical volume on the node: its group, its disks, its pool.
fn of_logical_volume(volume: &LogicalVolume, storage: &NodeStorage) -> Link {
    let group = &volume.spec.volume_group;
    let object = format!("{group}/{}", volume.name_any());
    let next = format!("vgs {group}; lvs {object} (on node {})", volume.spec.node);
    let mut groups = storage
        .status
        .iter()
        .flat_map(|status| &status.volume_groups);
    let Some(group) = groups.find(|it| it.name == *group) else {
        return Link {
            object,
            state: LinkState::Fault,
            detail: "the node has no such volume group".to_owned(),
            next,
        };
    };
    let status = volume.status.as_ref();
    let uuid = status.and_then(|status| status.uuid.as_deref());
    let mut detail = format!("uuid {}", uuid.unwrap_or("not reported"));
    let used = &volume.spec.physical_volumes;
    let disks = group.physical_volumes.iter();
    let disks = disks.filter(|disk| used.iter().any(|share| share.uuid == disk.uuid));
    let mut missing = Vec::new();
    for disk in disks {
        let path = disk.path.as_deref().unwrap_or(&disk.name);
        detail = format!("{detail}, disk {path}");
        if disk.missing == Some(true) {
            missing.push(path);
        }
    }
    let pool = volume.spec.thin_pool.as_ref();
    let pool = pool.and_then(|pool| group.thin_pools.iter().find(|it| it.name == pool.name));
    if let Some(pool) = pool {
        detail = format!(
            "{detail}, thin pool {} with {} % of its data and {} % of its metadata in use",
            pool.name, pool.data_used, pool.metadata_used
        );
    }
    if let Some(reason) = &group.unusable_reason {
        detail = format!("{detail}; volume group: {reason}");
    }
    if !missing.is_empty() {
        detail = format!("{detail}; missing: {}", missing.join(", "));
    }
    // Whether the volume itself is affected is for its conditions to decide.
    ok(object, detail, next)
}
