//! Checks of StorageClasses. Pure.

use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;
use placement::backend_limits::{self, BackendError};
use placement::class;
use placement::filter;
use placement::rejection::Rejection;
use placement::request::PlacementRequest;
use storage_model::Bytes;

use super::check::{Check, Fault, Probe};
use super::facts::Facts;
use crate::snapshot::kind::Kind;

pub(super) const CHECKS: &[Check] = &[
    Check::fault(
        "class-without-backend",
        "a StorageClass has no parameter backend",
        "create the class again with parameters.backend: parameters are immutable",
        Probe::Rule(without_parameter),
    ),
    Check::fault(
        "class-invalid",
        "a parameter of a StorageClass is unknown or invalid",
        "create the class again with valid parameters: parameters are immutable",
        Probe::Rule(invalid),
    ),
    Check::fault(
        "class-backend-missing",
        "the StorageBackend of a StorageClass does not exist",
        "create the StorageBackend, or the class with the name of another one",
        Probe::Rule(missing_backend),
    ),
    Check::fault(
        "class-smallest-too-large",
        "the StorageBackend of a StorageClass allows no volume of its file system",
        "raise volumeSize.maximum of the StorageBackend",
        Probe::Rule(too_large),
    ),
    Check::fault(
        "class-topology-excludes-all",
        "allowedTopologies of a StorageClass and nodeSelector of its backend share no node",
        "create the class again with other allowedTopologies, or correct the backend's nodeSelector",
        Probe::Rule(no_common_node),
    ),
    Check::warning(
        "class-missing",
        "no StorageClass names a StorageBackend",
        "kubectl apply -f config/samples/storageclass.yaml, with its name as parameters.backend",
        Probe::Rule(unused_backends),
    ),
];

/// Returns the faults of FlexLVM's classes.
fn each(facts: &Facts<'_>, fault: impl Fn(&StorageClass) -> Option<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, class) in &facts.snapshot.classes {
        if class.provisioner != crds::GROUP {
            continue;
        }
        if let Some(detail) = fault(class) {
            faults.push(Fault::new(format!("storageclass/{name}"), detail));
        }
    }
    faults
}

fn backend_name(class: &StorageClass) -> Option<&str> {
    class::backend_of(class).filter(|name| !name.is_empty())
}

fn without_parameter(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |class| match backend_name(class) {
        Some(_) => None,
        None => Some("it names no StorageBackend".to_owned()),
    })
}

fn invalid(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |class| {
        let backend = facts.snapshot.backends.get(backend_name(class)?);
        let default = backend.and_then(|backend| backend.spec.filesystem.as_ref());
        let error = class::read(class, default).err()?;
        Some(error.to_string())
    })
}

fn missing_backend(facts: &Facts<'_>) -> Vec<Fault> {
    if !facts.snapshot.is_readable(Kind::StorageBackends) {
        return Vec::new();
    }
    each(facts, |class| {
        let name = backend_name(class)?;
        let exists = facts.snapshot.backends.contains_key(name);
        (!exists).then(|| format!("StorageBackend {name} does not exist"))
    })
}

fn too_large(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |class| {
        let backend = facts.snapshot.backends.get(backend_name(class)?)?;
        let read = class::read(class, backend.spec.filesystem.as_ref()).ok()?;
        match backend_limits::size(Bytes(1), &read, Some(backend)) {
            Err(error @ BackendError::TooLarge { .. }) => Some(error.to_string()),
            _ => None,
        }
    })
}

fn no_common_node(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |class| {
        let topologies = class.allowed_topologies.as_deref().unwrap_or_default();
        let backend = facts.snapshot.backends.get(backend_name(class)?)?;
        if topologies.is_empty() {
            return None;
        }
        let request = PlacementRequest {
            backend,
            size: Bytes(1),
            selected: None,
            topologies,
        };
        let mut is_selected = false;
        for node in facts.snapshot.nodes.values() {
            match filter::check(&request, node) {
                Err(Rejection::NotSelected) => {}
                Err(Rejection::NotAllowed) => is_selected = true,
                _ => return None,
            }
        }
        is_selected.then(|| {
            format!(
                "no node of StorageBackend {} is allowed",
                backend.name_any()
            )
        })
    })
}

fn unused_backends(facts: &Facts<'_>) -> Vec<Fault> {
    if !facts.snapshot.is_readable(Kind::StorageClasses) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (name, backend) in &facts.snapshot.backends {
        let mut classes = facts.snapshot.classes.values();
        let is_named = classes
            .any(|it| it.provisioner == crds::GROUP && backend_name(it) == Some(name.as_str()));
        if !is_named && backend.metadata.deletion_timestamp.is_none() {
            faults.push(Fault::new(
                format!("storagebackend.flexlvm.dev/{name}"),
                "claims can't request its volumes",
            ));
        }
    }
    faults
}
