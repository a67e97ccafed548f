//! NodeStorage: what one node has. One per node, written by the node's agent, so that a thousand
//! agents never write to one object.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::devices::NodeDevice;
use crate::share::Share;

/// A NodeStorage has nothing to ask for: its agent reports.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "flexlvm.dev",
    version = "v1alpha1",
    kind = "NodeStorage",
    plural = "nodestorages",
    shortname = "nst",
    category = "flexlvm",
    status = "NodeStorageStatus",
    derive = "PartialEq",
    doc = "A NodeStorage says what one node has: its volume groups, their space, and the versions of what FlexLVM runs there. It has the name of its Node; FlexLVM's agent on that node writes it.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "True when LVM answers on the node.",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Driver",
        type_ = "string",
        description = "True when the FlexVolume driver is installed.",
        json_path = ".status.conditions[?(@.type==\"DriverInstalled\")].status"
    ),
    printcolumn(
        name = "Volume Groups",
        type_ = "string",
        description = "The volume groups of the node.",
        json_path = ".status.volumeGroups[*].name"
    ),
    printcolumn(
        name = "Free",
        type_ = "string",
        description = "Free space of each volume group.",
        json_path = ".status.volumeGroups[*].free"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        description = "The agent's version.",
        json_path = ".status.agentVersion",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct NodeStorageSpec {}

/// What the agent found on its node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeStorageStatus {
    /// `Ready`: LVM answers. `DriverInstalled`: the FlexVolume driver of this agent's version is in
    /// place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Every volume group of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub volume_groups: Vec<VolumeGroup>,
    /// Names of volume groups that were on this node and are not any more: their disks may come
    /// back, so FlexLVM makes no volume group of such a name. Forgotten when this object is
    /// deleted; it is then written anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub missing_volume_groups: Vec<String>,
    /// The devices that StorageBackends name for this node (`spec.devices`), and what became of
    /// each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["volumeGroup", "path"]))]
    pub devices: Vec<NodeDevice>,
    /// The version of the agent, and of the driver that it installs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// The version of LVM on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lvm_version: Option<String>,
}

/// One volume group of a node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeGroup {
    /// The name.
    pub name: String,
    /// LVM's uuid of the volume group.
    pub uuid: String,
    /// The size of all its extents.
    pub size: Quantity,
    /// The size of one extent, in bytes: every logical volume is a multiple of it.
    pub extent_size: Quantity,
    /// Space taken by logical volumes that are not FlexLVM's, or that no LogicalVolume object
    /// knows. What remains of `size` is FlexLVM's to promise.
    pub used_by_others: Quantity,
    /// Free space, for people: it is brought up to date at leisure.
    pub free: Quantity,
    /// The physical volumes, LVM's word for its disks, that the volume group is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<PhysicalVolume>,
    /// The thin pools in the volume group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub thin_pools: Vec<ReportedThinPool>,
    /// Why no volume can be made here (`exported`, `partial`, another host's …); left out when all
    /// is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable_reason: Option<String>,
}

/// One physical volume of a volume group.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PhysicalVolume {
    /// LVM's uuid of it.
    pub uuid: String,
    /// Its device's name, which may change with every start of the node.
    pub name: String,
    /// The size of its extents; nothing, where LVM is told to allocate none on it (`pvchange
    /// --allocatable n`).
    pub size: Quantity,
    /// Of that, what is not FlexLVM's to promise.
    pub used_by_others: Quantity,
    /// Free space, for people: it is brought up to date at leisure.
    pub free: Quantity,
    /// The paths by which StorageBackends name this disk as one for caches (`cache.devices`). Where
    /// there are any, nothing but caches is put on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_paths: Vec<String>,
}

/// One thin pool of a volume group.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReportedThinPool {
    /// The name.
    pub name: String,
    /// The size of its data.
    pub size: Quantity,
    /// The size of its metadata.
    pub metadata_size: Quantity,
    /// Percent of its data in use, brought up to date at leisure.
    pub data_used: u32,
    /// Percent of its metadata in use.
    pub metadata_used: u32,
    /// The sizes together of its volumes that are not FlexLVM's.
    pub other_volumes: Quantity,
    /// Where a FlexLVM agent made the pool: what it takes of each physical volume, which is not
    /// counted in `usedByOthers`. Left out for pools that an admin made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<Share>,
    /// Why no volume can be made in it, or grow; left out when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable_reason: Option<String>,
}
