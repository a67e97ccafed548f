//! The parts of the chain from a claim to its pods, each with its state. Pure.

mod place;
mod published;

use crds::condition::{self, READY};
use crds::{LogicalVolume, quantity};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use placement::request::Candidate;
use placement::{claim, class, growth};

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
    match volume {
        Some(volume) => {
            let growth = growth(snapshot, claim, volume);
            links.push(place::of_volume(&name, volume, growth));
            links.extend(place::of_place(snapshot, volume));
        }
        // An admin wrote the PersistentVolume, for a volume without a LogicalVolume.
        None if snapshot.persistent_volumes.contains_key(&name)
            && !name.starts_with(claim::VOLUME_PREFIX) => {}
        None => links.push(missing_volume(snapshot, &name, cause)),
    }
    links.push(published::of_persistent_volume(snapshot, &name, volume));
    links.extend(published::of_pods(snapshot, claim));
    links
}

/// Returns the LogicalVolume of a claim that has none.
fn missing_volume(snapshot: &Snapshot, name: &str, cause: Option<&Cause>) -> Link {
    let (state, detail) = match cause {
        _ if !snapshot.is_readable(Kind::LogicalVolumes) => {
            (LinkState::Unknown, "LogicalVolumes can't be listed")
        }
        None if snapshot.persistent_volumes.contains_key(name) => (
            LinkState::Fault,
            "it does not exist, so the volume can neither grow nor be removed",
        ),
        None => (
            LinkState::Waiting,
            "not created: the claim is not FlexLVM's",
        ),
        Some(Cause::FirstPod(_) | Cause::Placeable(_) | Cause::Unreadable(_)) => {
            (LinkState::Waiting, "not created")
        }
        // The last line has the cause.
        Some(_) => (LinkState::Fault, "not created"),
    };
    Link {
        object: format!("logicalvolume.flexlvm.dev/{name}"),
        state,
        detail: detail.to_owned(),
        next: format!("kubectl describe logicalvolume.flexlvm.dev {name}"),
    }
}

/// Returns why a volume is smaller than its claim requests; `None` if it is not.
fn growth(
    snapshot: &Snapshot,
    claim: &PersistentVolumeClaim,
    volume: &LogicalVolume,
) -> Option<String> {
    let requested = claim::size(claim).ok()?;
    let status = volume.status.as_ref()?;
    let actual = quantity::parse(status.size.as_ref()?).ok()?;
    if requested.0 <= actual {
        return None;
    }
    let size = quantity::human(requested);
    if quantity::parse(&volume.spec.size).is_ok_and(|reserved| reserved >= requested.0) {
        return Some(format!(
            "{size} are reserved, and the node's agent has not extended it yet"
        ));
    }
    let node = snapshot.nodes.get(&volume.spec.node);
    let candidate = node.map(|node| Candidate {
        node,
        storage: snapshot.storages.get(&volume.spec.node),
        silent_for: None,
    });
    let backend = snapshot.backends.get(&volume.spec.backend);
    let rules = growth::rules(volume, backend);
    let reservations = snapshot.reservations();
    let grown = growth::grown(volume, &rules, requested, candidate, &reservations);
    Some(match grown {
        Ok(_) => format!("there is space for {size}, and the controller has not reserved it yet"),
        Err(error) => format!("it can't grow to {size}: {error}"),
    })
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
                "it does not exist; a volume that is bound does not need it".to_owned(),
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
