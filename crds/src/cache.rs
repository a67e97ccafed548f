//! Caches: what a StorageBackend says of the fast disks in front of its volumes, and what a
//! LogicalVolume was promised of them. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::portion::Portion;
use crate::share::Share;

/// LVM refuses a smaller one.
const SMALLEST: u64 = 8 << 20;

/// The cache that each volume of a backend gets.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// The fast disks that hold the caches, by stable paths (`/dev/disk/by-id/…`): disks of the
    /// volume group, each on the nodes that have it. Nothing else is put on them, whichever backend
    /// it is from.
    #[schemars(
        length(min = 1, max = 64),
        inner(
            length(min = 6, max = 255),
            regex(pattern = r"^/dev/[a-zA-Z0-9_.:+=@,/-]+$")
        )
    )]
    pub devices: Vec<String>,
    /// How large a volume's cache is: an amount (`10Gi`), or a share of the volume (`10%`).
    pub size: Portion,
    /// When a write counts as done.
    #[serde(default)]
    pub mode: CacheMode,
}

/// When a write to a cached volume counts as done.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// When it is on the slow disk too: a lost fast disk loses nothing.
    #[default]
    WriteThrough,
    /// When it is on the fast disk: writes are faster, and a lost fast disk loses the volume.
    WriteBack,
}

impl CacheMode {
    /// As LVM spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WriteThrough => "writethrough",
            Self::WriteBack => "writeback",
        }
    }
}

/// The cache of one volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeCache {
    /// Its size, in whole extents.
    pub size: Quantity,
    /// When a write counts as done.
    #[serde(default)]
    pub mode: CacheMode,
    /// The physical volumes on which its space was promised.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<Share>,
}

impl Cache {
    /// The size of the cache of a volume of so many bytes.
    ///
    /// # Errors
    /// One sentence, when the field holds no possible size.
    pub fn bytes(&self, volume: u64) -> Result<u64, String> {
        self.size
            .bytes(volume)
            .map(|bytes| bytes.max(SMALLEST))
            .map_err(|error| format!("cache.size: {error}"))
    }

    /// What is contradictory, in one sentence that names the field; `None` when nothing is.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.devices.is_empty() {
            return Some("cache.devices: name the fast disks by their stable paths".to_owned());
        }
        let is_wrong =
            |path: &&String| !path.starts_with("/dev/") || path.split('/').any(|part| part == "..");
        if let Some(path) = self.devices.iter().find(is_wrong) {
            return Some(format!("cache.devices: {path} is no path below /dev"));
        }
        match self.size.bytes(100 << 30) {
            Err(error) => Some(format!("cache.size: {error}")),
            Ok(0) => Some(
                "cache.size: a cache of nothing is none; say an amount, or a share of the volume"
                    .to_owned(),
            ),
            Ok(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;
    use serde_json::{Value, json};

    fn cache(value: Value) -> Cache {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_cache_has_a_size() {
        let shared = cache(json!({"devices": ["/dev/disk/by-id/nvme-1"], "size": "10%"}));
        assert_eq!(
            (shared.fault(), shared.bytes(1 << 40), shared.bytes(1)),
            (None, Ok((1_u64 << 40).div_ceil(10)), Ok(8 << 20))
        );
    }

    #[test]
    fn contradictions_name_the_field() {
        for (value, words) in [
            (json!({"devices": [], "size": "1Gi"}), "cache.devices"),
            (
                json!({"devices": ["/dev/../etc/passwd"], "size": "1Gi"}),
                "cache.devices",
            ),
            (json!({"devices": ["sdb"], "size": "1Gi"}), "cache.devices"),
            (json!({"devices": ["/dev/sdb"], "size": "0%"}), "cache.size"),
            (
                json!({"devices": ["/dev/sdb"], "size": "much"}),
                "cache.size",
            ),
        ] {
            assert!(
                cache(value.clone())
                    .fault()
                    .is_some_and(|fault| fault.starts_with(words)),
                "{value}"
            );
        }
    }
}
