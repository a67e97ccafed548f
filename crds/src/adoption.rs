//! Adoption: an admin's request to make an existing logical volume a volume of FlexLVM, with its
//! data. Cluster-scoped: an account that may create one can give any volume to any claim.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::logical_volume::{Filesystem, ReclaimPolicy};
use crate::share::Share;

/// Specification of one adoption.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "flexlvm.dev",
    version = "v1alpha1",
    kind = "Adoption",
    plural = "adoptions",
    category = "flexlvm",
    status = "AdoptionStatus",
    derive = "PartialEq",
    doc = "An Adoption makes an existing logical volume a volume of FlexLVM, with its data: one whose objects were lost, or one that an admin created. An admin creates it; the controller creates LogicalVolume and PersistentVolume, and Kubernetes binds the claim. Deleting an Adoption changes no volume.",
    printcolumn(
        name = "Adopted",
        type_ = "string",
        description = "True when the PersistentVolume exists.",
        json_path = ".status.conditions[?(@.type==\"Adopted\")].status"
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        description = "Name of the node.",
        json_path = ".spec.node"
    ),
    printcolumn(
        name = "Logical Volume",
        type_ = "string",
        description = "Name of the logical volume, which LogicalVolume and PersistentVolume get, too.",
        json_path = ".spec.logicalVolume"
    ),
    printcolumn(
        name = "Namespace",
        type_ = "string",
        description = "Namespace of the claim.",
        json_path = ".status.claim.namespace"
    ),
    printcolumn(
        name = "Claim",
        type_ = "string",
        description = "Name of the claim.",
        json_path = ".status.claim.name"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why the logical volume is adopted or not.",
        json_path = ".status.conditions[?(@.type==\"Adopted\")].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AdoptionSpec {
    /// Name of the Node object. Immutable.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("node can't be changed: create another Adoption"))]
    pub node: String,
    /// Name of the volume group on the node. Immutable.
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^(\.?[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*|\.\.[a-zA-Z0-9+_.-]+)$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("volumeGroup can't be changed: create another Adoption"))]
    pub volume_group: String,
    /// Name of the logical volume: `pvc-` and lowercase letters, digits, hyphens and dots, since
    /// LogicalVolume and PersistentVolume get this name. Rename another one first (`lvrename`).
    /// Immutable.
    #[schemars(
        length(min = 5, max = 127),
        regex(pattern = r"^pvc-[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("logicalVolume can't be changed: create another Adoption"))]
    pub logical_volume: String,
    /// LVM's UUID of the logical volume (`lvs -o lv_uuid`). Without it, the logical volume that has
    /// the name is adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-zA-Z]{6}(-[0-9a-zA-Z]{4}){5}-[0-9a-zA-Z]{6}$"))]
    pub uuid: Option<String>,
    /// Claim that gets the volume, by its name: it may be created later. Defaults to the claim in
    /// the tags of the logical volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<AdoptingClaim>,
    /// Name of the StorageBackend whose rules apply to the volume, such as its layout and limits.
    /// Defaults to the one in the tags of the logical volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub backend: Option<String>,
    /// Name of the StorageClass, which must be that of the claim. Defaults to the one in the tags of
    /// the logical volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
    /// File system on the logical volume, with its mount options. FlexLVM does not create it.
    /// Defaults to the one in the tags of the logical volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
    /// Access modes of the PersistentVolume. Defaults to those in the tags of the logical volume, or
    /// else `ReadWriteOnce`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "atomic"))]
    pub access_modes: Vec<String>,
    /// What happens to the volume when its claim is deleted. Defaults to `Retain`.
    #[serde(default = "retain")]
    pub reclaim_policy: ReclaimPolicy,
}

fn retain() -> ReclaimPolicy {
    ReclaimPolicy::Retain
}

/// The claim that gets an adopted volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdoptingClaim {
    /// Namespace of the claim.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the claim.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Observed state of an adoption.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AdoptionStatus {
    /// `Adopted`: LogicalVolume and PersistentVolume exist; the controller writes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Claim that gets the volume; the controller writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<AdoptingClaim>,
    /// What the agent of the node has found; the agent writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<AdoptionReport>,
}

/// What the agent has found under the name of an Adoption.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AdoptionReport {
    /// Generation of the spec that the report is about.
    pub generation: i64,
    /// The logical volume. Absent if there is none that can be adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<AdoptableVolume>,
    /// Why there is no logical volume that can be adopted. Absent if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<AdoptionProblem>,
}

/// A logical volume that can be adopted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AdoptableVolume {
    /// LVM's UUID of the logical volume.
    pub uuid: String,
    /// Size of the logical volume.
    pub size: Quantity,
    /// How LVM stores it: `Plain`, `RAID` or `Thin`.
    pub storage: StorageKind,
    /// Space that it uses on each physical volume, with copies and parity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<Share>,
    /// Name of the thin pool that contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thin_pool: Option<String>,
    /// Its LVM tags that begin with `flexlvm.dev/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tags: Vec<String>,
}

/// How LVM stores a logical volume that can be adopted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageKind {
    /// Linear or striped.
    Plain,
    /// A RAID.
    #[serde(rename = "RAID")]
    Raid,
    /// In a thin pool.
    Thin,
}

/// Why there is no logical volume that can be adopted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdoptionProblem {
    /// The reason, for programs.
    pub reason: String,
    /// The reason and the remedy.
    pub message: String,
}
