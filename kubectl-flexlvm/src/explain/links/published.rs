//! The parts of the chain above the node: the PersistentVolume, and the pods. Pure.

use crds::LogicalVolume;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;

use super::ok;
use crate::explain::{Link, LinkState};
use crate::objects::{
    affinity_hosts, claims_of, hostname, human, option, pod_is_ready, pod_node, pod_phase,
    pod_waits_for, volume_phase,
};
use crate::snapshot::Snapshot;
use crate::snapshot::kind::Kind;

/// Returns the PersistentVolume of a claim; `of` is its LogicalVolume.
pub(super) fn of_persistent_volume(
    snapshot: &Snapshot,
    name: &str,
    of: Option<&LogicalVolume>,
) -> Link {
    let object = format!("persistentvolume/{name}");
    let next = format!("kubectl describe pv {name}");
    let Some(volume) = snapshot.persistent_volumes.get(name) else {
        let (state, detail) = if snapshot.is_readable(Kind::PersistentVolumes) {
            let detail = "not created: it follows once the logical volume is ready";
            (LinkState::Waiting, detail)
        } else {
            (LinkState::Unknown, "PersistentVolumes can't be listed")
        };
        return Link {
            object,
            state,
            detail: detail.to_owned(),
            next,
        };
    };
    let spec = volume.spec.as_ref();
    let capacity = spec.and_then(|spec| spec.capacity.as_ref()?.get("storage"));
    let phase = volume_phase(volume);
    let fine = format!(
        "{phase}, {}, node label {}",
        capacity.map(human).unwrap_or_default(),
        affinity_hosts(volume).join(",")
    );
    let fault = of.and_then(|of| mismatch(snapshot, volume, of));
    let (state, detail) = match (fault, phase) {
        (Some(fault), _) => (LinkState::Fault, format!("{fine}; {fault}")),
        (None, "Bound") => (LinkState::Ok, fine),
        (None, "Failed") => (LinkState::Fault, fine),
        (None, _) => (LinkState::Waiting, fine),
    };
    Link {
        object,
        state,
        detail,
        next,
    }
}

/// Returns why the driver or the scheduler can't use the PersistentVolume of a LogicalVolume.
fn mismatch(snapshot: &Snapshot, volume: &PersistentVolume, of: &LogicalVolume) -> Option<String> {
    let status = of.status.as_ref();
    let uuid = status.and_then(|status| status.uuid.as_deref());
    let actual = option(volume, flexvolume::options::UUID);
    if uuid.is_some() && actual != uuid {
        return Some("its uuid is not that of the logical volume".to_owned());
    }
    let host = snapshot.nodes.get(&of.spec.node).and_then(hostname)?;
    let hosts = affinity_hosts(volume);
    (!hosts.is_empty() && !hosts.contains(&host))
        .then(|| format!("node {} has the label {host}", of.spec.node))
}

/// Returns the pods that use a claim.
pub(super) fn of_pods(snapshot: &Snapshot, claim: &PersistentVolumeClaim) -> Vec<Link> {
    let name = claim.name_any();
    let namespace = claim.namespace();
    let mut links = Vec::new();
    for pod in snapshot.pods.values() {
        if pod.namespace() == namespace && claims_of(pod).any(|it| it == name) {
            links.push(of_pod(snapshot, pod));
        }
    }
    if links.is_empty() && snapshot.is_readable(Kind::Pods) {
        let detail = "no pod uses the claim".to_owned();
        let namespace = namespace.unwrap_or_default();
        links.push(ok(
            "pods".to_owned(),
            detail,
            format!("kubectl -n {namespace} get pods"),
        ));
    }
    links
}

fn of_pod(snapshot: &Snapshot, pod: &Pod) -> Link {
    let name = pod.name_any();
    let namespace = pod.namespace().unwrap_or_default();
    let phase = pod_phase(pod);
    let place = pod_node(pod).map(|node| format!(" on {node}"));
    let why = pod_waits_for(pod).map(|reason| format!(": {reason}"));
    let mut detail = format!(
        "{phase}{}{}",
        place.unwrap_or_default(),
        why.unwrap_or_default()
    );
    let mut state = match phase {
        "Running" | "Succeeded" | "Failed" => LinkState::Ok,
        _ => LinkState::Waiting,
    };
    let mount = snapshot.events.iter().rev().find(|event| {
        let about = &event.involved_object;
        event.reason.as_deref() == Some("FailedMount")
            && about.name.as_deref() == Some(&name)
            && about.namespace.as_deref() == Some(&namespace)
    });
    if let Some(message) = mount.and_then(|event| event.message.as_deref())
        && !pod_is_ready(pod)
    {
        detail = format!("{detail}; FailedMount: {message}");
        state = LinkState::Fault;
    }
    Link {
        object: format!("pod/{name}"),
        state,
        detail,
        next: format!("kubectl -n {namespace} describe pod {name}"),
    }
}
