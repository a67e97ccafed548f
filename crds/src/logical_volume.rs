//! LogicalVolume: one volume on one node. The controller writes the spec, a work order; the node's
//! agent carries it out and writes the status.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::VolumeCache;
use crate::layout::Layout;
use crate::share::Share;
use crate::thin_pool::VolumeThinPool;

/// The work order for one logical volume, and what became of it.
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
    doc = "A LogicalVolume is one volume on one node: FlexLVM's controller writes its spec, the agent of the node carries it out. It has the name of its PersistentVolume and of the logical volume on the node, `pvc-` and the claim's uid. Don't write it by hand: delete or edit the claim instead.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "True when the logical volume is there, in the size asked for.",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        description = "The node.",
        json_path = ".spec.node"
    ),
    printcolumn(
        name = "Size",
        type_ = "string",
        description = "The size on the node.",
        json_path = ".status.size"
    ),
    printcolumn(
        name = "Namespace",
        type_ = "string",
        description = "The claim's namespace.",
        json_path = ".spec.claim.namespace"
    ),
    printcolumn(
        name = "Claim",
        type_ = "string",
        description = "The claim.",
        json_path = ".spec.claim.name"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why the volume is, or is not, Ready.",
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
        description = "The volume group.",
        json_path = ".spec.volumeGroup",
        priority = 1
    ),
    printcolumn(
        name = "UUID",
        type_ = "string",
        description = "LVM's uuid of the logical volume.",
        json_path = ".status.uuid",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LogicalVolumeSpec {
    /// The node, by the name of its Node object.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("node can't be changed: the data is there"))]
    pub node: String,
    /// The StorageBackend that the volume was asked from.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("backend can't be changed"))]
    pub backend: String,
    /// The volume group on the node.
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^(\.?[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*|\.\.[a-zA-Z0-9+_.-]+)$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("volumeGroup can't be changed: the data is there"))]
    pub volume_group: String,
    /// How the logical volume is laid out.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("layout can't be changed"))]
    pub layout: Layout,
    /// The size promised. It may be raised, and is never lowered; the logical volume is at least as
    /// large.
    // No rule says so: CEL knows quantities from Kubernetes 1.29 on, and a server before that
    // refuses the whole definition.
    pub size: Quantity,
    /// The physical volumes on which the space was promised, and how much on each: images, parity
    /// and metadata included. Left out: on whichever have room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<Share>,
    /// For layout type `Thin`: the pool that the volume is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.name == oldSelf.name").message("thinPool.name can't be changed: the data is there"))]
    pub thin_pool: Option<VolumeThinPool>,
    /// For layout type `Cached`: the cache in front of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("cache can't be changed"))]
    pub cache: Option<VolumeCache>,
    /// Whether the logical volume is to be there.
    #[serde(default)]
    pub state: State,
    /// The claim that the volume is for.
    #[x_kube(validation = Rule::new("self == oldSelf").message("claim can't be changed: the data is its own"))]
    pub claim: ClaimReference,
    /// The key to the volume. It stands in the options of the claim's PersistentVolume, too, and
    /// the driver mounts the volume for nobody who doesn't have it. Whoever may read this object
    /// may mount the volume.
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("key can't be changed: the PersistentVolume holds it"))]
    pub key: String,
    /// The StorageClass that the claim named.
    pub storage_class: String,
    /// What becomes of the volume when its claim is deleted: the reclaim policy of its
    /// PersistentVolume.
    pub reclaim_policy: ReclaimPolicy,
    /// The file system that the driver makes at the first mount.
    pub filesystem: Filesystem,
}

/// Whether a logical volume is to be there.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The logical volume is made if it isn't there, and kept. Deleting the LogicalVolume object
    /// removes nothing.
    #[default]
    Present,
    /// The claim went before its PersistentVolume was made: the logical volume is removed if it
    /// never carried data.
    AbsentIfNeverUsed,
    /// The PersistentVolume was released: the logical volume is removed, with its data, once nobody
    /// has it open.
    Absent,
}

/// What becomes of a volume when its claim is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReclaimPolicy {
    /// The volume goes with its claim.
    #[default]
    Delete,
    /// The volume stays until an admin removes it.
    Retain,
}

/// One claim, unmistakably.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimReference {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// The claim's uid: a claim of the same name made later is another one.
    pub uid: String,
}

/// The file system of a volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Filesystem {
    /// The type: `ext4`, `xfs` or `btrfs`.
    #[serde(rename = "type")]
    pub type_: FilesystemType,
    /// Options for mkfs, one per item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mkfs_options: Vec<String>,
    /// Options of the mount, one per item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_options: Vec<String>,
    /// When it is checked before it is mounted: `auto` (left out: so) or `never`.
    #[serde(default, skip_serializing_if = "Fsck::is_default")]
    pub fsck: Fsck,
}

/// When a file system is checked before it is mounted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Fsck {
    /// When it is an ext4 whose superblock asks for it: it has recorded errors, or has no journal
    /// and was not unmounted. `e2fsck -p` then repairs what is safe to repair; with more damage the
    /// volume is not mounted.
    #[default]
    Auto,
    /// Never: it is mounted as it is, if the kernel does so.
    Never,
}

impl Fsck {
    /// Whether it need not be said.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Types of file systems.
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
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|type_| type_.as_str() == name)
    }

    /// As mount(8) and `flexVolume.fsType` spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The smallest volume, in bytes, that holds such a file system with room for data, and the
    /// format marker at its end: mkfs.xfs refuses less than 300 MiB, the kernel grows no btrfs to less
    /// than 256 MiB, and ext4 needs some for its journal.
    #[must_use]
    pub fn smallest_volume(self) -> u64 {
        match self {
            Self::Ext4 => 32 << 20,
            Self::Xfs => 301 << 20,
            Self::Btrfs => 256 << 20,
        }
    }
}

/// What became of a logical volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LogicalVolumeStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the logical volume is there in the size asked for. `Removed`: it is gone, its space
    /// is free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The size of the logical volume on the node: whole extents, so often a little more than
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// LVM's uuid of the logical volume. The driver mounts nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}
