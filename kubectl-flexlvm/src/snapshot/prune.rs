//! Removes from each object what no command needs, and all that can be secret: the keys of volumes,
//! annotations, and the containers of pods. Pure.

use std::collections::BTreeMap;

use crds::{LogicalVolume, NodeStorage, StorageBackend};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateWaiting, ContainerStatus, Event, Node, PersistentVolume,
    PersistentVolumeClaim, Pod, PodSpec, PodStatus, PodTemplateSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity, StorageClass};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use placement::claim;

/// Options of a PersistentVolume that a snapshot keeps. A list of what is kept, since an admin may
/// write further options by hand.
const KEPT_OPTIONS: [&str; 7] = [
    flexvolume::options::GROUP,
    flexvolume::options::VOLUME,
    flexvolume::options::UUID,
    flexvolume::options::SIZE,
    flexvolume::options::MKFS,
    flexvolume::options::FSCK,
    flexvolume::options::MOUNT,
];

/// Reasons of kubelets' and the attach controller's Events about volumes.
const MOUNT_REASONS: [&str; 2] = ["FailedMount", "FailedAttachVolume"];

/// Reduces an object to what commands need.
pub trait Prune {
    /// Removes fields, and returns whether to keep the object.
    fn prune(&mut self) -> bool;
}

/// Removes what each object's metadata has for other programs.
fn metadata(metadata: &mut ObjectMeta, annotations: &[&str]) {
    metadata.managed_fields = None;
    retain(metadata.annotations.as_mut(), annotations);
}

fn retain(map: Option<&mut BTreeMap<String, String>>, kept: &[&str]) {
    if let Some(map) = map {
        map.retain(|key, _| kept.contains(&key.as_str()));
    }
}

impl Prune for PersistentVolume {
    fn prune(&mut self) -> bool {
        metadata(&mut self.metadata, &[]);
        let source = self
            .spec
            .as_mut()
            .and_then(|spec| spec.flex_volume.as_mut());
        let Some(source) = source else {
            return false;
        };
        retain(source.options.as_mut(), &KEPT_OPTIONS);
        for value in source.options.iter_mut().flat_map(BTreeMap::values_mut) {
            *value = without_keys(value);
        }
        is_ours(&source.driver) || self.name_any().starts_with(claim::VOLUME_PREFIX)
    }
}

/// Returns true for the name of FlexLVM's driver.
#[must_use]
pub fn is_ours(driver: &str) -> bool {
    driver == flexvolume::DRIVER
}

/// Returns a text without anything that has the form of a volume key: 32 hexadecimal digits in a
/// row, or more.
///
/// A key can stand in a wrong place only if an admin wrote it there. Digests of keys have the same
/// form, and no command needs them.
#[must_use]
pub fn without_keys(text: &str) -> String {
    const DIGITS: usize = 32;
    let mut clean = String::new();
    let mut digits = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_hexdigit() {
            digits.push(character);
            continue;
        }
        if digits.len() >= DIGITS {
            clean.push_str("REDACTED");
        } else {
            clean.push_str(&digits);
        }
        digits.clear();
        if character != '\0' {
            clean.push(character);
        }
    }
    clean
}

impl Prune for PersistentVolumeClaim {
    fn prune(&mut self) -> bool {
        metadata(&mut self.metadata, &claim::READ_ANNOTATIONS);
        self.metadata.labels = None;
        true
    }
}

impl Prune for Pod {
    fn prune(&mut self) -> bool {
        metadata(&mut self.metadata, &[]);
        let spec = self.spec.take().unwrap_or_default();
        let mut volumes = spec.volumes.unwrap_or_default();
        volumes.retain(|volume| volume.persistent_volume_claim.is_some());
        let is_ours = self.namespace().as_deref() == Some(super::NAMESPACE);
        let has_claims = !volumes.is_empty();
        self.spec = Some(PodSpec {
            node_name: spec.node_name,
            service_account_name: spec.service_account_name,
            volumes: Some(volumes),
            ..PodSpec::default()
        });
        let status = self.status.take().unwrap_or_default();
        self.status = Some(PodStatus {
            phase: status.phase,
            conditions: status.conditions,
            container_statuses: status.container_statuses.map(waiting_reasons),
            ..PodStatus::default()
        });
        is_ours || has_claims
    }
}

/// Reduces the states of containers to why they wait: messages are the containers' own.
fn waiting_reasons(statuses: Vec<ContainerStatus>) -> Vec<ContainerStatus> {
    let mut reduced = Vec::new();
    for status in statuses {
        let waiting = status.state.and_then(|state| state.waiting);
        let waiting = waiting.map(|waiting| ContainerStateWaiting {
            message: None,
            ..waiting
        });
        reduced.push(ContainerStatus {
            name: status.name,
            ready: status.ready,
            restart_count: status.restart_count,
            image: status.image,
            state: Some(ContainerState {
                waiting,
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        });
    }
    reduced
}

impl Prune for StorageClass {
    fn prune(&mut self) -> bool {
        metadata(
            &mut self.metadata,
            &["storageclass.kubernetes.io/is-default-class"],
        );
        if self.provisioner != crds::GROUP {
            self.parameters = None;
        }
        true
    }
}

impl Prune for Node {
    fn prune(&mut self) -> bool {
        metadata(&mut self.metadata, &[]);
        if let Some(status) = &mut self.status {
            status.images = None;
            status.volumes_attached = None;
            status.volumes_in_use = None;
        }
        true
    }
}

impl Prune for Event {
    fn prune(&mut self) -> bool {
        metadata(&mut self.metadata, &[]);
        self.message = self.message.take().map(|message| without_keys(&message));
        let source = self.source.as_ref();
        let component = source.and_then(|source| source.component.as_deref());
        let reason = self.reason.as_deref().unwrap_or_default();
        component == Some(crds::GROUP) || MOUNT_REASONS.contains(&reason)
    }
}

/// Removes the settings of a workload's containers but their commands: an admin may add variables
/// with secrets.
fn template(template: &mut PodTemplateSpec) {
    template.metadata = None;
    let Some(spec) = &mut template.spec else {
        return;
    };
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        container.env_from = None;
        for variable in container.env.iter_mut().flatten() {
            if !variable.name.starts_with("FLEXLVM_") {
                variable.value = None;
            }
        }
    }
}

impl Prune for Deployment {
    fn prune(&mut self) -> bool {
        metadata(&mut self.metadata, &[]);
        template(&mut self.spec.template);
        true
    }
}

impl Prune for DaemonSet {
    fn prune(&mut self) -> bool {
        metadata(&mut self.metadata, &[]);
        template(&mut self.spec.template);
        true
    }
}

impl Prune for CustomResourceDefinition {
    fn prune(&mut self) -> bool {
        metadata(&mut self.metadata, &[]);
        for version in &mut self.spec.versions {
            version.schema = None;
        }
        true
    }
}

/// Implements [`Prune`] for kinds that hold nothing but metadata that is not needed.
macro_rules! prune_metadata {
    ($($kind:ty),*) => {$(
        impl Prune for $kind {
            fn prune(&mut self) -> bool {
                metadata(&mut self.metadata, &[]);
                true
            }
        }
    )*};
}

prune_metadata!(
    StorageBackend,
    LogicalVolume,
    NodeStorage,
    CSIDriver,
    CSIStorageCapacity,
    Lease,
    ClusterRole,
    ClusterRoleBinding,
    Role,
    RoleBinding
);
