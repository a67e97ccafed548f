//! The parts of the chain from a claim to its pods, each with its state. Pure.

mod place;
mod published;

use crds::condition::{self, READY};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use placement::{claim, class};

use super::waiting::Cause;
use super::{Link, LinkState};
use crate::objects::{backend_conditions, bound_volume, claim_phase, human};
use crate::snapshot::kind::Kind;
use crate::snapshot::{CONTROLLER, Snapshot};

/// Returns the parts of a claim's chain.
pub(super) fn chain(
    snapshot: &Snapshot,
    claim: &PersistentVolumeClaim,
    cause: Option<&Cause>,
) -> Vec<Link> {
    let mut links = vec![of_claim(claim), of_class(snapshot, claim)];
    let name = bound_volume(claim).map(str::to_owned);
    let name = name
        .or_else(|| claim::volume_name(claim))
        .unwrap_or_default();
    let volume = snapshot.logical_volumes.get(&name);
    let backend = volume.map(|volume| volume.spec.backend.clone());
    let backend = backend.or_else(|| named_backend(snapshot, claim));
    if let Some(backend) = backend {
        links.push(of_backend(snapshot, &backend));
    }
    if cause.is_some() {
        links.extend(of_controller(snapshot));
    }
    let volume_fault = cause.filter(|cause| !matches!(cause, Cause::FirstPod(_)));
    match volume {
        Some(volume) => {
            links.push(place::of_volume(&name, volume));
            links.extend(place::of_place(snapshot, volume));
        }
        None if snapshot.persistent_volumes.contains_key(&name) => {}
        None => links.push(Link {
            object: format!("logicalvolume.flexlvm.dev/{name}"),
            state: if volume_fault.is_some() {
                LinkState::Fault
            } else {
                LinkState::Waiting
            },
            detail: match cause {
                Some(cause) => format!("not created: {}", cause.describe()),
                None => "not created: the claim is not FlexLVM's".to_owned(),
            },
            next: format!("kubectl describe logicalvolume.flexlvm.dev {name}"),
        }),
    }
    links.push(published::of_persistent_volume(snapshot, &name, volume));
    links.extend(published::of_pods(snapshot, claim));
    links
}

fn ok(object: String, detail: String, next: String) -> Link {
    Link {
        object,
        state: LinkState::Ok,
        detail,
        next,
    }
}

/// Returns the name of the backend that the claim's class names.
fn named_backend(snapshot: &Snapshot, claim: &PersistentVolumeClaim) -> Option<String> {
    let class = snapshot.classes.get(claim::class_name(claim)?)?;
    class::backend_of(class).map(str::to_owned)
}

fn of_claim(claim: &PersistentVolumeClaim) -> Link {
    let name = claim.name_any();
    let namespace = claim.namespace().unwrap_or_default();
    let requested = match claim::size(claim) {
        Ok(size) => format!("{} requested", crds::quantity::human(size)),
        Err(error) => error.to_string(),
    };
    let status = claim.status.as_ref();
    let capacity = status.and_then(|status| status.capacity.as_ref()?.get("storage"));
    let capacity = capacity.map(|capacity| format!(", {} provided", human(capacity)));
    let phase = claim_phase(claim);
    let is_deleted = claim.metadata.deletion_timestamp.is_some();
    let state = match phase {
        "Bound" if !is_deleted => LinkState::Ok,
        "Lost" => LinkState::Fault,
        _ => LinkState::Waiting,
    };
    let deletion = if is_deleted {
        ", being deleted: it waits until no pod uses it"
    } else {
        ""
    };
    Link {
        object: format!("persistentvolumeclaim/{name}"),
        state,
        detail: format!(
            "{phase}, {requested}{}{deletion}",
            capacity.unwrap_or_default()
        ),
        next: format!("kubectl -n {namespace} describe pvc {name}"),
    }
}

fn of_class(snapshot: &Snapshot, claim: &PersistentVolumeClaim) -> Link {
    let Some(name) = claim::class_name(claim) else {
        return Link {
            object: "storageclass/".to_owned(),
            state: LinkState::Fault,
            detail: "the claim names no StorageClass".to_owned(),
            next: "kubectl get storageclasses".to_owned(),
        };
    };
    let object = format!("storageclass/{name}");
    let next = format!("kubectl get storageclass {name} -o yaml");
    let fault = |state, detail| Link {
        object: object.clone(),
        state,
        detail,
        next: next.clone(),
    };
    let Some(class) = snapshot.classes.get(name) else {
        // A bound volume needs its class no longer.
        return match bound_volume(claim) {
            Some(_) => ok(
                object.clone(),
                "deleted; its volume needs it no longer".to_owned(),
                next,
            ),
            None => fault(
                absent(snapshot, Kind::StorageClasses),
                "it does not exist".to_owned(),
            ),
        };
    };
    let backend = class::backend_of(class).and_then(|name| snapshot.backends.get(name));
    let default = backend.and_then(|backend| backend.spec.filesystem.as_ref());
    match class::read_ours(class, default) {
        Err(error) => fault(LinkState::Fault, error.to_string()),
        Ok(read) => {
            let mode = if read.waits_for_consumer {
                "WaitForFirstConsumer"
            } else {
                "Immediate"
            };
            let detail = format!(
                "backend {}, {}, {mode}",
                read.backend,
                read.filesystem.type_.as_str()
            );
            ok(object.clone(), detail, next)
        }
    }
}

/// Returns the state of an object that is absent: unknown if its kind can't be read.
fn absent(snapshot: &Snapshot, kind: Kind) -> LinkState {
    if snapshot.is_readable(kind) {
        LinkState::Fault
    } else {
        LinkState::Unknown
    }
}

/// Adds the conditions to a detail that are not True; the first one is at fault.
fn judge(conditions: &[Condition], types: &[&str], fine: String) -> (LinkState, String) {
    for type_ in types {
        if let Some(condition) = condition::get(conditions, type_)
            && condition.status != "True"
        {
            let detail = format!("{fine}; {}: {}", condition.reason, condition.message);
            return (LinkState::Fault, detail);
        }
    }
    (LinkState::Ok, fine)
}

fn of_backend(snapshot: &Snapshot, name: &str) -> Link {
    let object = format!("storagebackend.flexlvm.dev/{name}");
    let next = format!("kubectl describe storagebackend.flexlvm.dev {name}");
    let Some(backend) = snapshot.backends.get(name) else {
        return Link {
            object,
            state: absent(snapshot, Kind::StorageBackends),
            detail: "it does not exist".to_owned(),
            next,
        };
    };
    let status = backend.status.clone().unwrap_or_default();
    let number = |it: Option<&_>| it.map(human).unwrap_or_default();
    let detail = format!(
        "volume group {}, {} nodes, {} free of {}",
        backend.spec.volume_group,
        status.nodes.as_deref().unwrap_or("0/0"),
        number(status.free.as_ref()),
        number(status.capacity.as_ref())
    );
    // Some nodes may be unready while the volume's own is not: the conditions are a remark only.
    let conditions = backend_conditions(backend);
    let detail = match condition::get(conditions, READY) {
        Some(ready) if ready.status != "True" => format!("{detail}; {}", ready.message),
        _ => detail,
    };
    ok(object, detail, next)
}

/// Returns a controller that does not run.
fn of_controller(snapshot: &Snapshot) -> Option<Link> {
    let name = CONTROLLER;
    if !snapshot.is_readable(Kind::Deployments) {
        return None;
    }
    let ready = snapshot.ready_controllers().unwrap_or_default();
    let link = ok(
        format!("deployment/{name}"),
        format!("{ready} replicas are ready"),
        format!("kubectl -n flexlvm-system describe deployment {name}"),
    );
    Some(Link {
        state: if ready > 0 {
            LinkState::Ok
        } else {
            LinkState::Fault
        },
        ..link
    })
}
