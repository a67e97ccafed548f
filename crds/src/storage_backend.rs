//! StorageBackend: which volume group, on which nodes, serves claims, and with which kind of logical volume.
//! Written by admins; the controller writes its status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::selector::NodeSelector;

/// A StorageBackend tells FlexLVM where volumes may be made: in the volume group of this name, on the nodes that the
/// selector means. A StorageClass names its backend in `parameters.backend`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "flexlvm.dev",
    version = "v1alpha1",
    kind = "StorageBackend",
    plural = "storagebackends",
    category = "flexlvm",
    status = "StorageBackendStatus",
    derive = "PartialEq",
    doc = "A StorageBackend tells FlexLVM where volumes may be made: in which volume group, on which nodes. A StorageClass names its backend in `parameters.backend`.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "True when every selected node can serve the backend.",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Volume Group",
        type_ = "string",
        description = "The LVM volume group, the same name on every node.",
        json_path = ".spec.volumeGroup"
    ),
    printcolumn(
        name = "Nodes",
        type_ = "string",
        description = "Nodes that can serve the backend, of those selected.",
        json_path = ".status.nodes"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why the backend is, or is not, Ready.",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct StorageBackendSpec {
    /// The nodes that offer this backend, by their labels. Left out: every node that runs an agent.
    #[serde(default)]
    pub node_selector: NodeSelector,
    /// The LVM volume group that volumes are made in. It has the same name on every node, and exists already (see
    /// `vgcreate`). Letters, digits and `+ _ . -`; it doesn't begin with a hyphen, and is neither `.` nor `..`.
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^(\.?[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*|\.\.[a-zA-Z0-9+_.-]+)$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("volumeGroup can't be changed: volumes are in it"))]
    pub volume_group: String,
    /// How logical volumes are laid out on the disks of the volume group.
    #[serde(default)]
    pub layout: Layout,
}

/// How a logical volume is laid out on the disks of its volume group.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// The kind of logical volume. `Linear`: one after the other, on whichever disks have room.
    #[serde(default, rename = "type")]
    pub type_: LayoutType,
}

/// Kinds of logical volumes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayoutType {
    /// Plain extents, on whichever disks have room: as fast, and as safe, as one disk.
    #[default]
    Linear,
}

/// What the controller found out about a StorageBackend.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageBackendStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: every selected node can serve the backend. The message names the nodes that can't, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Nodes that can serve the backend, of the nodes that are selected: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
}
