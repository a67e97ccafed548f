//! NodeStorage: the storage of one node. One object per node, written by its agent, so that a
//! thousand agents never write to the same object.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::devices::NodeDevice;
use crate::share::Share;

/// The spec is empty: a NodeStorage is a report of the node's agent.
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
    doc = "A NodeStorage reports the storage of one node: its volume groups, their space, and the versions of FlexLVM's components there. It has the name of its Node; FlexLVM's agent on that node writes it.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "True when LVM works on the node, as of the agent's last report.",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Driver",
        type_ = "string",
        description = "True when the FlexVolume driver is installed.",
        json_path = ".status.conditions[?(@.type==\"DriverInstalled\")].status"
    ),
    printcolumn(
        name = "Kubelet",
        type_ = "string",
        description = "True when the node's kubelet has loaded the driver. While it is False, the node gets no new volumes.",
        json_path = ".status.conditions[?(@.type==\"KubeletReady\")].status"
    ),
    printcolumn(
        name = "Volume Groups",
        type_ = "string",
        description = "Volume groups of the node.",
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
        description = "Version of the agent.",
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

/// Observed storage of the node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeStorageStatus {
    /// `Ready`: LVM works. `DriverInstalled`: the FlexVolume driver of this agent's version is
    /// installed. `KubeletReady`: the node's kubelet has loaded the driver; while it is False, the
    /// node gets no new volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// All volume groups of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub volume_groups: Vec<VolumeGroup>,
    /// Names of volume groups that were on this node and are no longer. Their disks may come back,
    /// so the agent creates no volume group of such a name. Delete this object to clear the list;
    /// the agent writes it anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub missing_volume_groups: Vec<String>,
    /// What LVM warned of in its last successful report, such as damaged metadata or a missing disk,
    /// also of devices that no StorageBackend names: at most 16 messages of 200 characters. Absent
    /// without warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub lvm_warnings: Vec<String>,
    /// Devices that StorageBackends list for this node (`spec.devices`), and the state of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["volumeGroup", "path"]))]
    pub devices: Vec<NodeDevice>,
    /// Logical volumes with the tag of a claim that no LogicalVolume of this node describes, at most
    /// 1,000 of them: after etcd was restored from an older backup, or when an object was removed by
    /// force. FlexLVM creates no other volume for these claims, and removes nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1000),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["claimUid"])
    )]
    pub orphans: Vec<OrphanedVolume>,
    /// Digests of the claims whose logical volumes `orphans` omits because of its limit, 12 hexadecimal
    /// digits each, at most 10,000 of them. FlexLVM creates no other volume for these claims either.
    /// Absent if `orphans` is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 120_000))]
    pub further_orphans: Option<String>,
    /// When the agent last wrote the report anew, by the node's clock: every five minutes, also
    /// without a change. For information: no component compares it with another clock. Absent if an
    /// earlier version of the agent wrote the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<Time>,
    /// Volumes whose LogicalVolume and logical volume do not match, and retained ones that no claim
    /// uses, at most 1,000 of them. FlexLVM repairs and removes none of them by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1000),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub deviations: Vec<Deviation>,
    /// Number of volumes of each kind, also of those that `orphans` and `deviations` omit because of
    /// their limits. Absent before the first report of LVM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditCounts>,
    /// Version of the agent, and of the driver that it installs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Version of LVM on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lvm_version: Option<String>,
}

/// How the agent's reason begins if the metadata of a volume group went back to an older state. The
/// rest names volumes and devices, which Events to tenants must not contain.
pub const METADATA_WENT_BACK: &str = "its metadata may have gone back to an older state";

/// Maximum number of [`NodeStorageStatus::orphans`].
pub const MAX_ORPHANS: usize = 1000;

/// Maximum number of [`NodeStorageStatus::deviations`].
pub const MAX_DEVIATIONS: usize = 1000;

/// Maximum number of [`PhysicalVolume::volumes`] of all disks of a NodeStorage together.
///
/// An object of the API can have about 1.5 MB. A name takes 43 bytes, and a volume counts once for
/// each of its disks: the limit per object holds for any number of disks, which a limit per disk
/// would not.
pub const MAX_LISTED_VOLUMES: usize = 1000;

/// A logical volume of a claim that no LogicalVolume describes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OrphanedVolume {
    /// UID of the claim, from the logical volume's tag.
    pub claim_uid: String,
    /// Namespace and name of the claim, from the logical volume's tag, as in `default/data`. Absent
    /// without that tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Name of the volume group.
    pub volume_group: String,
    /// Name of the logical volume.
    pub name: String,
}

/// A volume whose LogicalVolume and logical volume do not match, or that no claim uses.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Deviation {
    /// `Missing`: the LogicalVolume exists, its logical volume does not. `Foreign`: a logical volume
    /// has the name or the tags of a LogicalVolume, but is not the one that it describes.
    /// `Retained`: reclaim policy `Retain` keeps the volume, and its claim is gone. `Abandoned`: the
    /// node was lost, and the claim was released; the logical volume is kept, and not used.
    pub kind: DeviationKind,
    /// Name of the volume group.
    pub volume_group: String,
    /// Name of the logical volume.
    pub name: String,
    /// LVM's UUID of the logical volume; of a missing one, the UUID that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Namespace and name of the claim, as in `default/data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// What differs.
    pub message: String,
}

/// Kinds of deviations.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum DeviationKind {
    /// The LogicalVolume exists, its logical volume does not.
    Missing,
    /// A logical volume has the name or the tags of a LogicalVolume, but is not the one that it
    /// describes.
    Foreign,
    /// Reclaim policy `Retain` keeps the volume, and its claim is gone.
    Retained,
    /// The node was lost, and the claim was released: the logical volume is kept, and not used.
    Abandoned,
}

/// Number of volumes of a node by the kind of their deviation.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuditCounts {
    /// Logical volumes with the tag of a claim that no LogicalVolume describes.
    pub orphaned: u32,
    /// LogicalVolumes whose logical volume does not exist.
    pub missing: u32,
    /// Logical volumes with the name or the tags of a LogicalVolume that describes another one.
    pub foreign: u32,
    /// Retained volumes without a claim.
    pub retained: u32,
    /// Volumes whose claims were released while the node was lost.
    #[serde(default)]
    pub abandoned: u32,
}

/// One volume group of a node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeGroup {
    /// Name of the volume group.
    pub name: String,
    /// LVM's UUID of the volume group.
    pub uuid: String,
    /// Total size in bytes of its extents.
    pub size: Quantity,
    /// Size in bytes of one extent: the size of every logical volume is a multiple of it.
    pub extent_size: Quantity,
    /// Space used by logical volumes that FlexLVM does not manage, or that have no LogicalVolume
    /// object. FlexLVM can reserve the rest of `size`.
    pub used_by_others: Quantity,
    /// Free space, for information: it can be up to a minute old.
    pub free: Quantity,
    /// LVM physical volumes (disks or partitions) of the volume group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<PhysicalVolume>,
    /// Thin pools in the volume group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub thin_pools: Vec<ReportedThinPool>,
    /// LVM's limit on the number of its logical volumes (`vgchange --logicalvolume`). Absent without
    /// a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_volume_limit: Option<LogicalVolumeLimit>,
    /// Why no volume can be created or expanded in it: it is exported, partial, owned by another
    /// host, one of its disks exists twice, its metadata may have gone back to an older state, and so
    /// on. Absent when that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable_reason: Option<String>,
}

/// LVM's limit on the number of logical volumes in a volume group.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LogicalVolumeLimit {
    /// Maximum number of logical volumes: `max_lv` of vgs.
    pub maximum: u32,
    /// Number of logical volumes that can still be created. It can be up to a minute old while it is
    /// 65 or more.
    pub remaining: u32,
}

/// Maximum number of logical volumes that LVM counts while it creates a volume: a RAID and the
/// checksums of its images, of which LVM allows 64.
pub const MAX_LVS_PER_VOLUME: u32 = 65;

/// One physical volume of a volume group.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PhysicalVolume {
    /// LVM's UUID of the physical volume.
    pub uuid: String,
    /// Name of its device, which can change when the node restarts; `[unknown]` while the device is
    /// missing.
    pub name: String,
    /// Path of its device that stays the same when the node restarts, below `/dev/disk/by-id` or
    /// else `/dev/disk/by-path`. While the device is missing, its last known one. Absent if the node
    /// has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// True while LVM does not find its device; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<bool>,
    /// Total size in bytes of its extents; 0 where allocation is disabled (`pvchange
    /// --allocatable n`).
    pub size: Quantity,
    /// Space used by volumes that FlexLVM does not manage.
    pub used_by_others: Quantity,
    /// Free space, for information: it can be up to a minute old.
    pub free: Quantity,
    /// Paths by which StorageBackends list this disk for caches (`cache.devices`). If there are
    /// any, FlexLVM allocates nothing but caches on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_paths: Vec<String>,
    /// Names of the LogicalVolumes with a part on this disk, sorted, for information: the list can be
    /// up to a minute old, unless a disk became missing. A volume in a thin pool counts on each disk
    /// of its pool. All disks of the NodeStorage together list at most 1,000 names, those of missing
    /// disks first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1000),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub volumes: Vec<String>,
    /// Number of further LogicalVolumes with a part on this disk, which `volumes` omits because of
    /// its limit. Absent if it omits none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_volumes: Option<u32>,
}

/// One thin pool of a volume group.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReportedThinPool {
    /// Name of the thin pool.
    pub name: String,
    /// Name with which a FlexLVM agent created it, if an admin has renamed it since: no volume is
    /// created in it until it has that name again. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_name: Option<String>,
    /// Size in bytes of its data.
    pub size: Quantity,
    /// Size in bytes of its metadata.
    pub metadata_size: Quantity,
    /// Data usage in percent. It can be up to a minute old.
    pub data_used: u32,
    /// Metadata usage in percent. It can be up to a minute old.
    pub metadata_used: u32,
    /// Total virtual size of its volumes that FlexLVM does not manage.
    pub other_volumes: Quantity,
    /// Space that the pool uses on each physical volume, if a FlexLVM agent created it; this space
    /// is not part of `usedByOthers`. Absent for pools that an admin created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<Share>,
    /// Why no volume can be created or expanded in it. Absent when that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable_reason: Option<String>,
}
