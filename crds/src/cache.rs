//! Caches: the cache settings of a StorageBackend, and the cache space reserved for a
//! LogicalVolume. Pure.

use device_path::DevicePath;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::devices::validate_path;
use crate::portion::Portion;
use crate::share::Share;
use crate::validation::ValidationError;

/// Minimum size of a cache in bytes: LVM rejects a smaller one.
const SMALLEST: u64 = 8 << 20;

/// Settings for the caches of a backend: one cache per volume.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Fast disks for the caches, by stable paths. They are physical volumes of the volume group;
    /// a node uses those of the list that it has. FlexLVM allocates nothing but caches on them, for
    /// any backend. Example: `/dev/disk/by-id/nvme-Samsung_SSD_980_1TB_S649NX0R`.
    #[schemars(
        length(min = 1, max = 64),
        inner(
            length(max = DevicePath::LONGEST),
            regex(pattern = DevicePath::PATTERN)
        )
    )]
    pub devices: Vec<String>,
    /// Size of a volume's cache: an amount (`10Gi`) or a share of the volume's size (`10%`), at
    /// least 8Mi.
    pub size: Portion,
    /// When a write is reported as complete. Defaults to `WriteThrough`.
    #[serde(default)]
    pub mode: CacheMode,
}

/// When a write to a cached volume is reported as complete.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// When it is on the slow disk: if a fast disk fails, no data is lost.
    #[default]
    WriteThrough,
    /// When it is on the fast disk: writes are faster, but if that disk fails, the volume is lost.
    WriteBack,
}

impl CacheMode {
    /// Returns the mode as LVM spells it.
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
    /// Size of the cache, a multiple of the volume group's extent size.
    pub size: Quantity,
    /// When a write is reported as complete. Defaults to `WriteThrough`.
    #[serde(default)]
    pub mode: CacheMode,
    /// Physical volumes on which the cache's space is reserved.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<Share>,
}

impl Cache {
    /// Returns the size in bytes of the cache for a volume of `volume` bytes.
    ///
    /// # Errors
    /// When the field holds no valid size.
    pub fn bytes(&self, volume: u64) -> Result<u64, ValidationError> {
        let bytes = self.size.bytes("cache.size", volume)?;
        Ok(bytes.max(SMALLEST))
    }

    /// Checks what the schema can't express.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn validate(&self) -> Result<(), ValidationError> {
        if self.devices.is_empty() {
            let problem = "name the fast disks by their stable paths";
            return Err(ValidationError::new("cache.devices", problem));
        }
        for path in &self.devices {
            validate_path("cache.devices", path)?;
        }
        if self.size.bytes("cache.size", 100 << 30)? == 0 {
            return Err(ValidationError::new("cache.size", "a cache needs space")
                .with_hint("use an amount, or a share of the volume"));
        }
        Ok(())
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
    fn cache_size_is_a_share_and_at_least_the_minimum() {
        let shared = cache(json!({"devices": ["/dev/disk/by-id/nvme-1"], "size": "10%"}));
        assert_eq!(
            (shared.validate(), shared.bytes(1 << 40), shared.bytes(1)),
            (Ok(()), Ok((1_u64 << 40).div_ceil(10)), Ok(8 << 20))
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
            (
                json!({"devices": ["/dev/sda", "/dev//sdb"], "size": "1Gi"}),
                "cache.devices: \"/dev//sdb\" is not a plain path below /dev",
            ),
            (
                json!({"devices": ["/dev/sdb/"], "size": "1Gi"}),
                "cache.devices: \"/dev/sdb/\" is not a plain path below /dev",
            ),
            (json!({"devices": ["/dev/sdb"], "size": "0%"}), "cache.size"),
            (
                json!({"devices": ["/dev/sdb"], "size": "much"}),
                "cache.size",
            ),
        ] {
            let Err(error) = cache(value.clone()).validate() else {
                panic!("{value} is accepted");
            };
            assert!(error.to_string().starts_with(words), "{value}: {error}");
        }
    }
}
