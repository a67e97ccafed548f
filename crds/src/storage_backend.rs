//! StorageBackend: the volume group, the nodes and the kind of logical volume for claims. Written
//! by admins; the controller writes its status.

use device_path::DevicePath;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::devices;
use crate::erase::Erase;
use crate::layout::{Layout, LayoutType};
use crate::logical_volume::Filesystem;
use crate::node_loss::NodeLoss;
use crate::portion::Portion;
use crate::quantity;
use crate::selector::NodeSelector;
use crate::thin_pool::ThinPoolSettings;
use crate::validation::ValidationError;

/// Where and how FlexLVM creates volumes: in the volume group of this name, on the selected nodes.
/// A StorageClass names its backend in `parameters.backend`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "flexlvm.dev",
    version = "v1alpha1",
    kind = "StorageBackend",
    plural = "storagebackends",
    shortname = "sb",
    category = "flexlvm",
    status = "StorageBackendStatus",
    derive = "PartialEq",
    doc = "A StorageBackend defines where FlexLVM creates volumes: in which volume group, on which nodes. A StorageClass names its backend in `parameters.backend`.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "True when every selected node can provide volumes.",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Volume Group",
        type_ = "string",
        description = "LVM volume group, the same name on every node.",
        json_path = ".spec.volumeGroup"
    ),
    printcolumn(
        name = "Nodes",
        type_ = "string",
        description = "Number of nodes that can provide volumes, of those selected.",
        json_path = ".status.nodes"
    ),
    printcolumn(
        name = "Capacity",
        type_ = "string",
        description = "Total size of the volume groups.",
        json_path = ".status.capacity"
    ),
    printcolumn(
        name = "Free",
        type_ = "string",
        description = "Space available for volumes.",
        json_path = ".status.free"
    ),
    printcolumn(
        name = "Volumes",
        type_ = "integer",
        description = "Number of volumes of this backend.",
        json_path = ".status.volumes"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why the backend is Ready or not.",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct StorageBackendSpec {
    /// Nodes that provide this backend, by their labels. Defaults to every node that runs an
    /// agent.
    #[serde(default)]
    pub node_selector: NodeSelector,
    /// LVM volume group that holds the volumes. It has the same name on every node, and exists
    /// already (see `vgcreate`), or is created from `devices`. Letters, digits and `+ _ . -`; it
    /// does not begin with a hyphen, and is neither `.` nor `..`. Immutable. Example: `vg0`.
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^(\.?[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*|\.\.[a-zA-Z0-9+_.-]+)$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("volumeGroup can't be changed: volumes are in it"))]
    pub volume_group: String,
    /// Devices, by stable paths, for the agent to create the volume group from. The agent uses
    /// those that exist on its node and are blank, and only if the node never had this volume
    /// group. It never changes an existing volume group: add devices to it with `vgextend`.
    /// `status.devices` of the node's NodeStorage shows the state of each device. Example:
    /// `/dev/disk/by-id/nvme-Samsung_SSD_980_1TB_S649NX0R`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(max = DevicePath::LONGEST),
            regex(pattern = DevicePath::PATTERN)
        )
    )]
    pub devices: Vec<String>,
    /// How logical volumes are laid out on the disks of the volume group. A change applies to
    /// volumes created afterwards. Defaults to type `Linear`.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("self.type in ['Striped', 'RAID5', 'RAID6', 'RAID10'] || (!has(self.stripes) && !has(self.stripeSize))").message("layout.stripes and layout.stripeSize are for type Striped, RAID5, RAID6 and RAID10"),
        validation = Rule::new("self.type == 'RAID1' || !has(self.copies)").message("layout.copies is for type RAID1"),
        validation = Rule::new("self.type.startsWith('RAID') || !has(self.integrity) || !self.integrity").message("layout.integrity is for the RAID types"),
        validation = Rule::new("self.type != 'RAID6' || !has(self.stripes) || self.stripes >= 3").message("layout.stripes of type RAID6 is at least 3"),
    )]
    pub layout: Layout,
    /// Thin pool that the volumes of a node share; required for layout type `Thin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!has(self.name) || !(has(self.size) || has(self.maximumSize) || has(self.metadataSize) || has(self.extendAt) || has(self.extendBy))").message("thinPool: name selects an existing pool, which FlexLVM does not change; leave out name, or size, maximumSize, metadataSize, extendAt and extendBy"))]
    #[x_kube(validation = Rule::new("has(self.name) || has(self.size)").message("thinPool: set size to create a pool, or name to use an existing one"))]
    pub thin_pool: Option<ThinPoolSettings>,
    /// Cache that each volume gets; required for layout type `Cached`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Space of each volume group that this backend's volumes can't use: an amount (`10Gi`), or a
    /// share of the volume group (`5%`). Existing volumes keep their space. Defaults to none.
    pub reserve: Option<Portion>,
    /// Minimum and maximum size of this backend's volumes. Defaults to no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<SizeLimits>,
    /// File system for volumes whose StorageClass names none. Parameters of the class (`fsType`,
    /// `mkfsOptions`, `fsck`, `mountOptions`) take precedence; the options here are for this type
    /// only, so a class with another type gets none of them. Defaults to ext4 without options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
    /// What happens to the content of a volume that is removed, before its space is offered again:
    /// `None`, `Discard` or `Zero`. The value at the time of the removal counts, also for volumes
    /// that exist already. Not possible for layout types `Thin` and `Cached`. Defaults to `None`.
    #[serde(default)]
    pub erase: Erase,
    /// Which node gets a volume for which the scheduler has chosen none (`volumeBindingMode:
    /// Immediate`): `Spread` or `Pack`. Defaults to `Spread`.
    #[serde(default)]
    pub placement: Placement,
    /// What happens to the claims whose volumes are on a node that is lost: its Node object is
    /// deleted, or it is not Ready and has the taint `node.kubernetes.io/out-of-service`, or another
    /// Node has its name and lacks the logical volume. The value at that time counts, also for
    /// volumes that exist already. Defaults to policy `Wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_loss: Option<NodeLoss>,
}

/// Minimum and maximum size of volumes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SizeLimits {
    /// Minimum volume size; smaller requests are rounded up to it. Example: `1Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Quantity>,
    /// Maximum volume size: a larger claim is rejected, and no volume is expanded beyond it.
    /// Example: `1Ti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Quantity>,
}

/// Which of the nodes with enough free space gets a volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The node with the most free space.
    #[default]
    Spread,
    /// The node with the least sufficient free space.
    Pack,
}

/// Observed state of a StorageBackend.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageBackendStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: every selected node can provide volumes. The message names the nodes that can't,
    /// and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Number of nodes that can provide volumes, of those selected. Example: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// Total size of the volume groups of all providing nodes; for layout type `Thin`, the maximum
    /// size of their thin pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// Space available for volumes on all providing nodes together, with their copies, parity and
    /// metadata; one volume can't use more than its node has. For layout type `Thin`, the virtual
    /// size that volumes of the pools can still have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Quantity>,
    /// Space reserved for volumes of this backend, with copies, parity, metadata and caches; for
    /// layout type `Thin`, their virtual sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Quantity>,
    /// Space that `spec.reserve` keeps free on all providing nodes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<Quantity>,
    /// Number of volumes of this backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<i64>,
}

impl StorageBackendSpec {
    /// Returns a backend on this volume group, with defaults for all other fields.
    #[must_use]
    pub fn new(volume_group: &str) -> Self {
        Self {
            node_selector: NodeSelector::default(),
            volume_group: volume_group.to_owned(),
            devices: Vec::new(),
            layout: Layout::default(),
            thin_pool: None,
            cache: None,
            reserve: None,
            volume_size: None,
            filesystem: None,
            erase: Erase::None,
            placement: Placement::default(),
            node_loss: None,
        }
    }

    /// Checks what the schema can't express.
    ///
    /// # Errors
    /// The first contradiction in the spec.
    pub fn validate(&self) -> Result<(), ValidationError> {
        self.node_selector.validate()?;
        devices::validate(&self.devices)?;
        self.layout.validate()?;
        self.validate_pool_and_cache()?;
        self.validate_erase()?;
        self.validate_limits()?;
        self.reserve(0)?;
        Ok(())
    }

    /// Checks the limits of the volumes' size.
    fn validate_limits(&self) -> Result<(), ValidationError> {
        let limits = self.limits()?;
        if limits.minimum <= limits.maximum {
            return Ok(());
        }
        let problem = format!(
            "the minimum, {}, is more than the maximum, {}",
            quantity::human(limits.minimum),
            quantity::human(limits.maximum)
        );
        Err(ValidationError::new("volumeSize", problem))
    }

    /// Checks the thin pool and cache settings, and that the layout type has them.
    fn validate_pool_and_cache(&self) -> Result<(), ValidationError> {
        let is_thin = self.layout.type_ == LayoutType::Thin;
        let is_cached = self.layout.type_ == LayoutType::Cached;
        if self.thin_pool.is_some() && !is_thin {
            return Err(self.misplaced("thinPool", LayoutType::Thin));
        }
        if self.cache.is_some() && !is_cached {
            return Err(self.misplaced("cache", LayoutType::Cached));
        }
        match (&self.thin_pool, &self.cache) {
            (Some(pool), _) => pool.validate(),
            (_, Some(cache)) => cache.validate(),
            (None, None) if is_thin => Err(ValidationError::new(
                "thinPool",
                "layout type Thin needs a thin pool",
            )
            .with_hint("set thinPool.size or thinPool.name")),
            (None, None) if is_cached => Err(ValidationError::new(
                "cache",
                "layout type Cached needs a cache",
            )
            .with_hint("set cache.devices and cache.size")),
            (None, None) => Ok(()),
        }
    }

    /// Checks that volumes of the layout type can be erased.
    fn validate_erase(&self) -> Result<(), ValidationError> {
        if self.erase == Erase::None || Erase::is_possible(self.layout.type_) {
            return Ok(());
        }
        let problem = format!(
            "volumes of layout type {} can't be erased",
            self.layout.type_.as_str()
        );
        Err(ValidationError::new("erase", problem).with_hint("leave it out, or change layout.type"))
    }

    /// Returns the error about a field that the layout type doesn't have; `type_` has it.
    fn misplaced(&self, field: &str, type_: LayoutType) -> ValidationError {
        let problem = format!(
            "it is for layout type {}, and the layout type is {}",
            type_.as_str(),
            self.layout.type_.as_str()
        );
        ValidationError::new(field, problem).with_hint("leave it out, or change layout.type")
    }

    /// Returns the bytes to keep free in a volume group of `group` bytes.
    ///
    /// # Errors
    /// When the field holds neither an amount nor a share.
    pub fn reserve(&self, group: u64) -> Result<u64, ValidationError> {
        match &self.reserve {
            Some(reserve) => reserve.bytes("reserve", group),
            None => Ok(0),
        }
    }

    /// Returns the limits of a volume's size: 0 and `u64::MAX` where the spec has none.
    ///
    /// # Errors
    /// When one of them is not a size.
    pub fn limits(&self) -> Result<VolumeLimits, ValidationError> {
        let limits = self.volume_size.clone().unwrap_or_default();
        Ok(VolumeLimits {
            minimum: read_limit("volumeSize.minimum", limits.minimum.as_ref())?.unwrap_or(0),
            maximum: read_limit("volumeSize.maximum", limits.maximum.as_ref())?.unwrap_or(u64::MAX),
        })
    }
}

/// Minimum and maximum size of a volume, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeLimits {
    /// Size to which smaller requests are rounded up.
    pub minimum: u64,
    /// Size that no volume may exceed.
    pub maximum: u64,
}

/// Returns a limit in bytes; `None` when it is absent.
fn read_limit(field: &str, limit: Option<&Quantity>) -> Result<Option<u64>, ValidationError> {
    limit
        .map(quantity::parse)
        .transpose()
        .map_err(|error| ValidationError::new(field, error.to_string()))
}

#[cfg(test)]
mod tests;
