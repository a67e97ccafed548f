//! StorageBackend: which volume group, on which nodes, serves claims, and with which kind of
//! logical volume. Written by admins; the controller writes its status.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::devices;
use crate::layout::{Layout, LayoutType};
use crate::logical_volume::Filesystem;
use crate::portion::Portion;
use crate::quantity;
use crate::selector::NodeSelector;
use crate::thin_pool::ThinPoolSettings;

/// A StorageBackend tells FlexLVM where volumes may be made: in the volume group of this name, on
/// the nodes that the selector means. A StorageClass names its backend in `parameters.backend`.
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
        name = "Capacity",
        type_ = "string",
        description = "The size of the volume groups.",
        json_path = ".status.capacity"
    ),
    printcolumn(
        name = "Free",
        type_ = "string",
        description = "What volumes may still take.",
        json_path = ".status.free"
    ),
    printcolumn(
        name = "Volumes",
        type_ = "integer",
        description = "Volumes of this backend.",
        json_path = ".status.volumes"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why the backend is, or is not, Ready.",
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
    /// The nodes that offer this backend, by their labels. Left out: every node that runs an agent.
    #[serde(default)]
    pub node_selector: NodeSelector,
    /// The LVM volume group that volumes are made in. It has the same name on every node, and
    /// exists already (see `vgcreate`), or is made of `devices`. Letters, digits and `+ _ . -`; it
    /// doesn't begin with a hyphen, and is neither `.` nor `..`.
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^(\.?[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*|\.\.[a-zA-Z0-9+_.-]+)$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("volumeGroup can't be changed: volumes are in it"))]
    pub volume_group: String,
    /// Devices, by paths that stay (`/dev/disk/by-id/…`), from which each selected node's agent
    /// makes the volume group where it never was: of those that are there and blank. A volume group
    /// that is there is never changed: `vgextend` adds devices to it. What became of each device,
    /// and why, says `status.devices` of the node's NodeStorage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(max = 255), regex(pattern = r"^/dev/[!-~]+$"))
    )]
    pub devices: Vec<String>,
    /// How logical volumes are laid out on the disks of the volume group. A change concerns volumes
    /// that are made afterwards.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("self.type in ['Striped', 'RAID5', 'RAID6', 'RAID10'] || (!has(self.stripes) && !has(self.stripeSize))").message("layout.stripes and layout.stripeSize are for type Striped, RAID5, RAID6 and RAID10"),
        validation = Rule::new("self.type == 'RAID1' || !has(self.copies)").message("layout.copies is for type RAID1"),
        validation = Rule::new("self.type.startsWith('RAID') || !has(self.integrity) || !self.integrity").message("layout.integrity is for the RAID types"),
        validation = Rule::new("self.type != 'RAID6' || !has(self.stripes) || self.stripes >= 3").message("layout.stripes of type RAID6 is at least 3"),
    )]
    pub layout: Layout,
    /// For layout type `Thin`: the pool that the volumes of a node share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!has(self.name) || !(has(self.size) || has(self.maximumSize) || has(self.metadataSize) || has(self.extendAt) || has(self.extendBy))").message("thinPool: a pool that has a name is there already and stays as it is; leave out name, or size, maximumSize, metadataSize, extendAt and extendBy"))]
    #[x_kube(validation = Rule::new("has(self.name) || has(self.size)").message("thinPool: say how large the pool is to be (size), or name one that is there (name)"))]
    pub thin_pool: Option<ThinPoolSettings>,
    /// For layout type `Cached`: the cache that each volume gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Space of each volume group that no volume of this backend gets: an amount (`10Gi`), or a
    /// share of the volume group (`5%`). Volumes that are there already keep theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Portion>,
    /// How small and how large the volumes of this backend may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<SizeLimits>,
    /// The file system of volumes whose class names none. What a class says itself (`fsType`,
    /// `mkfsOptions`, `fsck`, `mountOptions`) counts instead; the options are for this type, so a
    /// class with another type gets none of them. Left out: ext4 without options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
    /// Which node gets a volume that the scheduler has not chosen one for (`volumeBindingMode:
    /// Immediate`).
    #[serde(default)]
    pub placement: Placement,
}

/// How small and how large volumes may be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SizeLimits {
    /// A claim for less gets so much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Quantity>,
    /// A claim for more is refused, and no volume grows beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Quantity>,
}

/// Which of the nodes with room gets a volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The node with the most free space.
    #[default]
    Spread,
    /// The node with the least free space that is enough.
    Pack,
}

/// What the controller found out about a StorageBackend.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageBackendStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: every selected node can serve the backend. The message names the nodes that can't,
    /// and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Nodes that can serve the backend, of the nodes that are selected: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// The size of the volume groups of all serving nodes; of their thin pools, where there are
    /// such, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// What volumes may still take on all serving nodes together, for their copies, parity and
    /// metadata too; one volume finds no more than its node has. Of thin pools, what their volumes
    /// may still have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Quantity>,
    /// What volumes of this backend were promised, copies, parity, metadata and caches included; in
    /// thin pools, their sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Quantity>,
    /// What is kept back on all serving nodes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<Quantity>,
    /// How many volumes of this backend there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<i64>,
}

impl StorageBackendSpec {
    /// A backend on this volume group, and nothing else said.
    #[must_use]
    pub fn of(volume_group: &str) -> Self {
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
            placement: Placement::default(),
        }
    }

    /// What is contradictory in the spec, in one sentence; `None` when nothing is. The schema can't
    /// say this.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let limits = || {
            let (minimum, maximum) = self.limits()?;
            if minimum > maximum {
                let (minimum, maximum) = (quantity::human(minimum), quantity::human(maximum));
                return Err(format!(
                    "volumeSize: the minimum, {minimum}, is more than the maximum, {maximum}"
                ));
            }
            Ok(())
        };
        let reserve = || self.reserve(0).map(drop);
        let layout = || self.layout.fault().or_else(|| self.kind_fault());
        let devices = || devices::fault(&self.devices);
        let selector = self.node_selector.fault();
        selector
            .or_else(devices)
            .or_else(layout)
            .or_else(|| limits().err())
            .or_else(|| reserve().err())
    }

    /// What is contradictory between the layout and what is said about pools and caches.
    fn kind_fault(&self) -> Option<String> {
        let kind = self.layout.type_;
        match (&self.thin_pool, &self.cache) {
            (Some(pool), None) if kind == LayoutType::Thin => pool.fault(),
            (None, Some(cache)) if kind == LayoutType::Cached => cache.fault(),
            (Some(_), _) if kind != LayoutType::Thin => Some(misplaced("thinPool", "Thin", kind)),
            (_, Some(_)) if kind != LayoutType::Cached => Some(misplaced("cache", "Cached", kind)),
            (None, _) if kind == LayoutType::Thin => Some(
                "thinPool: layout type Thin takes its volumes out of one; say thinPool.size or thinPool.name"
                    .to_owned(),
            ),
            (_, None) if kind == LayoutType::Cached => {
                Some("cache: layout type Cached has one; say cache.devices and cache.size".to_owned())
            }
            _ => None,
        }
    }

    /// Bytes that are kept back of a volume group of so many.
    ///
    /// # Errors
    /// One sentence, when the field holds no amount and no share.
    pub fn reserve(&self, group: u64) -> Result<u64, String> {
        let bytes = self
            .reserve
            .as_ref()
            .map_or(Ok(0), |reserve| reserve.bytes(group));
        bytes.map_err(|error| format!("reserve: {error}"))
    }

    /// The least and the most bytes of a volume.
    ///
    /// # Errors
    /// One sentence, when one of them is no size.
    pub fn limits(&self) -> Result<(u64, u64), String> {
        let read = |name: &str, limit: Option<&Quantity>, otherwise| {
            let parsed = limit.map_or(Ok(otherwise), quantity::parse);
            parsed.map_err(|error| format!("volumeSize.{name}: {error}"))
        };
        let limits = self.volume_size.as_ref();
        let minimum = read(
            "minimum",
            limits.and_then(|limits| limits.minimum.as_ref()),
            0,
        )?;
        let maximum = read(
            "maximum",
            limits.and_then(|limits| limits.maximum.as_ref()),
            u64::MAX,
        )?;
        Ok((minimum, maximum))
    }
}

fn misplaced(field: &str, type_: &str, kind: LayoutType) -> String {
    format!(
        "{field}: it is for layout type {type_}, and this one is {}; leave it out, or change layout.type",
        kind.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::StorageBackendSpec;
    use serde_json::json;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn contradictions_are_named() {
        let fault = |extra: serde_json::Value| {
            let mut spec = json!({"volumeGroup": "vg0"});
            spec.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            serde_json::from_value::<StorageBackendSpec>(spec)
                .unwrap()
                .fault()
        };
        assert_eq!(
            fault(json!({"reserve": "5%", "volumeSize": {"minimum": "1Gi", "maximum": "1Gi"}})),
            None
        );
        let text = fault(json!({"volumeSize": {"minimum": "2Gi", "maximum": "1Gi"}})).unwrap();
        assert_eq!(
            text,
            "volumeSize: the minimum, 2 GiB, is more than the maximum, 1 GiB"
        );
        assert!(
            fault(json!({"volumeSize": {"maximum": "ten"}}))
                .unwrap()
                .contains("volumeSize.maximum")
        );
        assert!(
            fault(json!({"devices": ["/etc/passwd"]}))
                .unwrap()
                .contains("devices")
        );
        assert!(
            fault(json!({"reserve": "101%"}))
                .unwrap()
                .contains("reserve")
        );
        for (value, words) in [
            (
                json!({"thinPool": {"size": "1Gi"}}),
                "thinPool: it is for layout type Thin, and this one is Linear",
            ),
            (
                json!({"layout": {"type": "Thin"}}),
                "thinPool: layout type Thin",
            ),
            (
                json!({"layout": {"type": "Thin"}, "thinPool": {}}),
                "thinPool.size",
            ),
            (
                json!({"layout": {"type": "Cached"}}),
                "cache: layout type Cached",
            ),
            (
                json!({"layout": {"type": "RAID1"}, "cache": {"devices": ["/dev/sdb"], "size": "1Gi"}}),
                "cache: it is for",
            ),
            (
                json!({"layout": {"type": "Thin"}, "thinPool": {"size": "1Gi"}, "cache": {"devices": ["/dev/sdb"], "size": "1Gi"}}),
                "cache: it is for layout type Cached, and this one is Thin",
            ),
        ] {
            let fault = fault(value.clone()).unwrap_or_else(|| panic!("{value} is accepted"));
            assert!(fault.starts_with(words), "{value}: {fault}");
        }
        assert_eq!(
            fault(json!({"layout": {"type": "Thin"}, "thinPool": {"name": "pool0"}})),
            None
        );
    }
}
