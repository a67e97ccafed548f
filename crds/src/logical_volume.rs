//! LogicalVolume: one volume on one node. The controller writes the spec; the node's agent applies
//! it and writes the status.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::VolumeCache;
use crate::erase::Erase;
use crate::layout::Layout;
use crate::share::Share;
use crate::thin_pool::VolumeThinPool;

/// Specification of one logical volume.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "flexlvm.dev",
    version = "v1alpha1",
    kind = "LogicalVolume",
    plural = "logicalvolumes",
    shortname = "lvol",
    category = "flexlvm",
    status = "LogicalVolumeStatus",
    derive = "PartialEq",
    doc = "A LogicalVolume is one volume on one node: FlexLVM's controller writes its spec, the agent of the node applies it and writes the status. It has the name of its PersistentVolume and of the logical volume on the node, `pvc-` and the claim's uid. Do not write it by hand: delete or edit the claim instead.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "True when the logical volume exists in the requested size.",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        description = "Name of the node.",
        json_path = ".spec.node"
    ),
    printcolumn(
        name = "Size",
        type_ = "string",
        description = "Size of the logical volume on the node.",
        json_path = ".status.size"
    ),
    printcolumn(
        name = "Namespace",
        type_ = "string",
        description = "Namespace of the claim that the volume is bound to.",
        json_path = ".spec.currentClaim.namespace"
    ),
    printcolumn(
        name = "Claim",
        type_ = "string",
        description = "Name of the claim that the volume is bound to.",
        json_path = ".spec.currentClaim.name"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why the volume is Ready or not.",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Volume Group",
        type_ = "string",
        description = "Name of the volume group.",
        json_path = ".spec.volumeGroup",
        priority = 1
    ),
    printcolumn(
        name = "Healthy",
        type_ = "string",
        description = "Whether the volume works: Healthy, Resyncing, IntegrityMismatches, ImageMismatches, Degraded, PoolFull, PoolMetadataFull, PoolReadOnly, ReadOnly, CacheFailed or Failed.",
        json_path = ".status.conditions[?(@.type==\"Healthy\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "UUID",
        type_ = "string",
        description = "LVM's UUID of the logical volume.",
        json_path = ".status.uuid",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LogicalVolumeSpec {
    /// Name of the Node object. Immutable.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("node can't be changed: the data is there"))]
    pub node: String,
    /// Name of the StorageBackend that the volume was created from. Immutable.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("backend can't be changed"))]
    pub backend: String,
    /// Name of the volume group on the node. Immutable.
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^(\.?[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*|\.\.[a-zA-Z0-9+_.-]+)$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("volumeGroup can't be changed: the data is there"))]
    pub volume_group: String,
    /// How the logical volume is laid out on the disks of its volume group. Immutable.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("layout can't be changed"))]
    pub layout: Layout,
    /// Reserved size in bytes, for example `10Gi`. It can be raised, and is never lowered; the
    /// logical volume has at least this size.
    // Not a CEL rule: CEL knows quantities from Kubernetes 1.29 on, and an API server before that
    // rejects the whole definition.
    pub size: Quantity,
    /// Physical volumes on which the space is reserved, and how much on each: with copies, parity
    /// and metadata. Without it, LVM allocates from any of the volume group's disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<Share>,
    /// Thin pool that holds the volume; for layout type `Thin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.name == oldSelf.name").message("thinPool.name can't be changed: the data is there"))]
    pub thin_pool: Option<VolumeThinPool>,
    /// Cache in front of the volume; for layout type `Cached`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("cache can't be changed"))]
    pub cache: Option<VolumeCache>,
    /// Whether the logical volume must exist. Defaults to `Present`.
    #[serde(default)]
    pub state: State,
    /// Claim that the volume was created for. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf").message("claim can't be changed: the data belongs to it"))]
    pub claim: ClaimReference,
    /// Claim that the PersistentVolume is bound to, or was bound to last: another one than `claim`
    /// after an admin or a volume populator changed the PersistentVolume's `claimRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_claim: Option<ClaimReference>,
    /// SHA-256 of the volume's key, 64 hexadecimal digits: also a tag of the logical volume. The
    /// driver mounts the volume only with the key itself, which the options of the claim's
    /// PersistentVolume hold. Immutable.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("keyDigest can't be changed: the PersistentVolume holds the key"))]
    pub key_digest: String,
    /// Name of the claim's StorageClass.
    pub storage_class: String,
    /// What happens to the volume when its claim is deleted: the reclaim policy of its
    /// PersistentVolume.
    pub reclaim_policy: ReclaimPolicy,
    /// What happens to the content of the volume when it is removed, before its space is offered
    /// again: `None`, `Discard` or `Zero`. The controller writes the StorageBackend's value when it
    /// creates the volume, and again when it requests the removal. Defaults to `None`.
    #[serde(default, skip_serializing_if = "Erase::is_none")]
    pub erase: Erase,
    /// File system that the driver creates at the first mount.
    pub filesystem: Filesystem,
    /// Access modes of the PersistentVolume. Absent for volumes of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "atomic"))]
    pub access_modes: Vec<String>,
    /// True after the claim was deleted while the reclaim policy is `Retain`: the volume is kept
    /// until an admin removes it, or binds its PersistentVolume to another claim.
    #[serde(default, skip_serializing_if = "is_false")]
    pub released: bool,
    /// The existing logical volume that an Adoption made this object for. FlexLVM neither creates
    /// nor formats it. Absent for volumes that FlexLVM created. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("adopted can't be changed: the data is there"))]
    pub adopted: Option<AdoptedVolume>,
    /// When the controller first observed that the node is lost, by its own clock: the grace period
    /// of the StorageBackend (`nodeLoss`) begins then. Absent while the node is not lost, and if the
    /// backend's policy is `Wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_lost_time: Option<Time>,
}

/// The logical volume of an Adoption, and the Adoption.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AdoptedVolume {
    /// LVM's UUID of the logical volume. The agent uses no other one in its place.
    #[schemars(regex(pattern = r"^[0-9a-zA-Z]{6}(-[0-9a-zA-Z]{4}){5}-[0-9a-zA-Z]{6}$"))]
    pub uuid: String,
    /// Name of the Adoption.
    pub adoption: String,
    /// UID of the Adoption: a later one of the same name is a different one.
    pub adoption_uid: String,
    /// Size of the logical volume when its format marker was written, which determines the marker's
    /// position. Absent if it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_size: Option<Quantity>,
}

/// Returns true for false, which is not serialized.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl LogicalVolumeSpec {
    /// Returns the claim that the volume is bound to, or was bound to last.
    #[must_use]
    pub fn current_claim(&self) -> &ClaimReference {
        self.current_claim.as_ref().unwrap_or(&self.claim)
    }
}

/// Whether a logical volume must exist.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The agent creates the logical volume if it is missing, and keeps it. Deleting the
    /// LogicalVolume object removes nothing.
    #[default]
    Present,
    /// The claim was deleted, or the placement was withdrawn, before the PersistentVolume was
    /// created: the agent removes the logical volume if it never carried data.
    AbsentIfNeverUsed,
    /// The PersistentVolume was released: the agent removes the logical volume and its data once it
    /// is closed on the node.
    Absent,
    /// The node is lost: the controller deletes the claim, and with it the PersistentVolume, so that
    /// the claim can be created again. The agent keeps the logical volume and its data, and reports
    /// it if the node returns. The object stays until an admin deletes it, or sets `Absent`, or the
    /// agent finds that the logical volume is gone.
    Abandoned,
}

/// What happens to a volume when its claim is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReclaimPolicy {
    /// The volume is deleted with its claim.
    #[default]
    Delete,
    /// The volume is kept until an admin removes it.
    Retain,
}

/// Reference to one claim, unambiguous by its UID.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimReference {
    /// Namespace of the claim.
    pub namespace: String,
    /// Name of the claim.
    pub name: String,
    /// UID of the claim: a later claim of the same name is a different one.
    pub uid: String,
}

/// Type and options of a volume's file system.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Filesystem {
    /// File system type: `ext4`, `xfs` or `btrfs`.
    #[serde(rename = "type")]
    pub type_: FilesystemType,
    /// Options for mkfs, one per item. Example: `-m 1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mkfs_options: Vec<String>,
    /// Mount options, one per item. Example: `noatime`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_options: Vec<String>,
    /// When the file system is checked before it is mounted: `auto` or `never`. Defaults to `auto`.
    #[serde(default, skip_serializing_if = "Fsck::is_default")]
    pub fsck: Fsck,
}

/// When a file system is checked before it is mounted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Fsck {
    /// If it is an ext4 whose superblock requests a check: it has recorded errors, or has no
    /// journal and was not unmounted cleanly. `e2fsck -p` repairs what is safe to repair; with more
    /// damage the driver does not mount the volume.
    #[default]
    Auto,
    /// Never: the file system is mounted as it is, if the kernel accepts it.
    Never,
}

impl Fsck {
    /// Returns true for the default, which is not serialized.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Supported file system types.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum FilesystemType {
    /// ext4, the default.
    #[default]
    Ext4,
    /// xfs.
    Xfs,
    /// btrfs, on a single device.
    Btrfs,
}

impl FilesystemType {
    /// All supported types.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// Returns the type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|type_| type_.as_str() == name)
    }

    /// Returns the name, as mount(8) and `flexVolume.fsType` spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Returns the minimum size in bytes of a volume with such a file system, some data and the
    /// format marker at its end.
    ///
    /// mkfs.xfs rejects less than 300 MiB, the kernel does not resize a btrfs to less than 256 MiB,
    /// and ext4 needs space for its journal.
    #[must_use]
    pub fn smallest_volume(self) -> u64 {
        match self {
            Self::Ext4 => 32 << 20,
            Self::Xfs => 301 << 20,
            Self::Btrfs => 256 << 20,
        }
    }
}

/// Observed state of a logical volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LogicalVolumeStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the logical volume exists in the requested size, and its device has that size.
    /// `Healthy`: it works, with all its redundancy, and its thin pool accepts writes; `False` with
    /// reason `Resyncing`, `IntegrityMismatches`, `ImageMismatches`, `Degraded`, `PoolFull`, `PoolMetadataFull`,
    /// `PoolReadOnly`, `ReadOnly`, or with `CacheFailed` or `Failed`, which make `Ready` `False`,
    /// too, if the volume can't be used. While a mirror is synchronized for the first time, it is
    /// `True` with reason `Resyncing`. `Removed`: it is gone, and its space is free. `Progressing`: a
    /// step that takes minutes, such as its erasure, advances; the message shows how far it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Size of the logical volume on the node: a multiple of the extent size, so often a little
    /// more than requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// LVM's UUID of the logical volume. The driver mounts a volume with this UUID only.
    #[schemars(regex(pattern = r"^[0-9a-zA-Z]{6}(-[0-9a-zA-Z]{4}){5}-[0-9a-zA-Z]{6}$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// UID of the Node on which the agent last found the logical volume: a Node of the same name with
    /// another UID may have other disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_uid: Option<String>,
}
