//! Builds the LogicalVolume and the PersistentVolume of a claim. Pure.

use std::collections::BTreeMap;

use crds::logical_volume::{Fsck, LogicalVolumeSpec, ReclaimPolicy, State};
use crds::{LogicalVolume, StorageBackend, quantity};
use host::{Bytes, Key, KeyDigest, LvName, LvUuid, MasterKey, VgName};
use k8s_openapi::api::core::v1::{
    FlexPersistentVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec,
    VolumeNodeAffinity,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use placement::claim;
use placement::class::Class;
use placement::fit::Fit;
use serde_json::{Value, json};

use super::master_key;
use crate::kube::names;

/// Builds the LogicalVolume for a claim.
///
/// It is created with its finalizer, so that the object can never be deleted while its logical
/// volume exists.
#[must_use]
pub fn build_logical_volume(
    name: &str,
    claim: &PersistentVolumeClaim,
    class: &Class,
    backend: &StorageBackend,
    fit: &Fit,
    master_key: &MasterKey,
) -> LogicalVolume {
    let node = fit.location.node.clone();
    let claim_reference = claim::reference(claim);
    let key = master_key.derive(&claim_reference.uid);
    LogicalVolume {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels(&node)),
            finalizers: Some(vec![crds::FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: LogicalVolumeSpec {
            node,
            backend: class.backend.clone(),
            volume_group: fit.location.volume_group.clone(),
            layout: backend.spec.layout.clone(),
            size: quantity::format(fit.size),
            physical_volumes: fit.reservation.own.shares(),
            thin_pool: fit.reservation.pool.as_ref().map(|pool| pool.spec.clone()),
            cache: fit.reservation.cache.clone(),
            state: State::Present,
            claim: claim_reference.clone(),
            current_claim: Some(claim_reference),
            key_digest: key.digest().as_str().to_owned(),
            storage_class: claim::class_name(claim).unwrap_or_default().to_owned(),
            reclaim_policy: class.reclaim_policy,
            erase: backend.spec.erase,
            filesystem: class.filesystem.clone(),
            access_modes: claim::access_modes(claim),
            released: false,
            adopted: None,
            node_lost_time: None,
        },
        status: None,
    }
}

/// Returns the changed fields in the spec of a LogicalVolume that grows.
#[must_use]
pub fn grown(fit: &Fit) -> Value {
    let size = quantity::format(fit.size);
    match &fit.reservation.pool {
        Some(pool) => json!({"size": size, "thinPool": pool.spec}),
        None => json!({"size": size, "physicalVolumes": fit.reservation.own.shares()}),
    }
}

/// Returns the labels of a LogicalVolume on this node, by which its agent selects it.
#[must_use]
pub fn labels(node: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(crds::NODE_LABEL.to_owned(), crds::node_label_value(node))])
}

/// Returns true if the agent of its node can find the LogicalVolume.
#[must_use]
pub fn is_labelled(logical_volume: &LogicalVolume) -> bool {
    let wanted = labels(&logical_volume.spec.node);
    wanted
        .iter()
        .all(|(key, value)| logical_volume.labels().get(key) == Some(value))
}

/// Why a LogicalVolume that is ready gets no PersistentVolume.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpublishableError {
    /// The master key is another one than that with which the LogicalVolume was created. Holds the
    /// LogicalVolume's name.
    #[error(
        "the key of LogicalVolume {0} was derived from another Secret {secret}, so its PersistentVolume can't be created: \
         an admin must restore that Secret from the backup and restart the controller; if the claim has no data yet, \
         delete it and create it again (see docs/operations.md, the Secret of the volume keys is lost)",
        secret = master_key::SECRET
    )]
    OtherMasterKey(String),
    /// The node has no label by which the scheduler finds it. Holds the node's name.
    #[error("node {0} is gone or has no label {label}", label = names::HOSTNAME_LABEL)]
    NoHostname(String),
    /// The agent reported no valid uuid or size. Holds the LogicalVolume's name.
    #[error("the status of LogicalVolume {0} has no valid uuid and size")]
    Incomplete(String),
}

/// Builds the PersistentVolume of a LogicalVolume that is ready.
///
/// Never with a key whose digest is not the LogicalVolume's: the logical volume has that digest as a
/// tag, so the driver would reject each mount.
///
/// Options and affinity are immutable, so they hold only what stays true: names and uuids, never a
/// device number. `mountOptions` are passed as an option, since the kubelet refuses to mount any
/// flexVolume that has the field (`pkg/volume/util/operationexecutor`, `checkMountOptionSupport`).
///
/// # Errors
/// If the key differs, or if the logical volume's uuid or size, or the node's label, is missing.
pub fn build_persistent_volume(
    logical_volume: &LogicalVolume,
    claim: Option<&PersistentVolumeClaim>,
    node: Option<&Node>,
    master_key: &MasterKey,
) -> Result<PersistentVolume, UnpublishableError> {
    let name = logical_volume.name_any();
    let spec = &logical_volume.spec;
    let key = master_key.derive(&spec.claim.uid);
    if KeyDigest::new(&spec.key_digest) != Some(key.digest()) {
        return Err(UnpublishableError::OtherMasterKey(name));
    }
    let Some(hostname) = node.and_then(|node| node.labels().get(names::HOSTNAME_LABEL)) else {
        return Err(UnpublishableError::NoHostname(spec.node.clone()));
    };
    let status = logical_volume.status.as_ref();
    let size = status.and_then(|status| status.size.clone());
    let (Some(size), Some(options)) = (size, driver_options(logical_volume, key)) else {
        return Err(UnpublishableError::Incomplete(name));
    };
    let policy = match spec.reclaim_policy {
        ReclaimPolicy::Delete => "Delete",
        ReclaimPolicy::Retain => "Retain",
    };
    let finalizers = match spec.reclaim_policy {
        ReclaimPolicy::Delete => Some(vec![names::PROVISIONER_FINALIZER.to_owned()]),
        ReclaimPolicy::Retain => None,
    };
    Ok(PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(BTreeMap::from([(
                names::PROVISIONED_BY.to_owned(),
                crds::GROUP.to_owned(),
            )])),
            finalizers,
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            capacity: Some(BTreeMap::from([("storage".to_owned(), size)])),
            access_modes: Some(access_modes(spec, claim)),
            persistent_volume_reclaim_policy: Some(policy.to_owned()),
            storage_class_name: Some(spec.storage_class.clone()),
            volume_mode: Some("Filesystem".to_owned()),
            claim_ref: Some(claim_reference(spec)),
            node_affinity: Some(affinity(hostname)),
            flex_volume: Some(FlexPersistentVolumeSource {
                driver: flexvolume::DRIVER.to_owned(),
                fs_type: Some(spec.filesystem.type_.as_str().to_owned()),
                options: Some(options.to_map()),
                ..FlexPersistentVolumeSource::default()
            }),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    })
}

/// Returns the access modes of a volume; those of its claim if an earlier version created it.
fn access_modes(spec: &LogicalVolumeSpec, claim: Option<&PersistentVolumeClaim>) -> Vec<String> {
    match claim {
        Some(claim) if spec.access_modes.is_empty() => claim::access_modes(claim),
        _ => spec.access_modes.clone(),
    }
}

/// Returns the claim for which a PersistentVolume is reserved.
///
/// An adopted volume is reserved for a claim by its name: the claim may be created later, or again.
/// It may have been handed to another claim since, before its PersistentVolume was lost.
fn claim_reference(spec: &LogicalVolumeSpec) -> ObjectReference {
    if spec.adopted.is_none() {
        return claim::object_reference(&spec.claim);
    }
    ObjectReference {
        uid: None,
        ..claim::object_reference(spec.current_claim())
    }
}

/// Returns the size of the logical volume when its format marker was written, which determines the
/// marker's position: an adopted volume may have grown since.
fn marked_size(logical_volume: &LogicalVolume) -> Option<&Quantity> {
    let adopted = logical_volume.spec.adopted.as_ref();
    let created = adopted.and_then(|adopted| adopted.created_size.as_ref());
    created.or(logical_volume.status.as_ref()?.size.as_ref())
}

/// Returns the driver's options for a volume. `None` while the logical volume's uuid or size is
/// missing.
fn driver_options(logical_volume: &LogicalVolume, key: Key) -> Option<flexvolume::VolumeOptions> {
    let spec = &logical_volume.spec;
    let status = logical_volume.status.as_ref()?;
    Some(flexvolume::VolumeOptions {
        group: VgName::new(&spec.volume_group).ok()?,
        volume: LvName::new(logical_volume.name_any()).ok()?,
        uuid: LvUuid::new(status.uuid.as_ref()?).ok()?,
        key,
        size: Bytes(quantity::parse(marked_size(logical_volume)?).ok()?),
        mkfs: spec.filesystem.mkfs_options.clone(),
        mount: spec.filesystem.mount_options.clone(),
        fsck: match spec.filesystem.fsck {
            Fsck::Auto => flexvolume::Fsck::Auto,
            Fsck::Never => flexvolume::Fsck::Never,
        },
    })
}

/// Returns the affinity to nodes with this hostname label.
///
/// The scheduler and the kubelet evaluate labels alone here; the label may differ from the node's
/// name.
fn affinity(hostname: &str) -> VolumeNodeAffinity {
    let requirement = NodeSelectorRequirement {
        key: names::HOSTNAME_LABEL.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![hostname.to_owned()]),
    };
    let term = NodeSelectorTerm {
        match_expressions: Some(vec![requirement]),
        match_fields: None,
    };
    VolumeNodeAffinity {
        required: Some(NodeSelector {
            node_selector_terms: vec![term],
        }),
    }
}
