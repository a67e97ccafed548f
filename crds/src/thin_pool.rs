//! Thin pools: the pool settings of a StorageBackend, and the pool of a LogicalVolume with the
//! space reserved for it. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::portion::Portion;
use crate::quantity;
use crate::share::Share;

/// Minimum size in bytes of a pool: a smaller one is of no use, and needs space for LVM's smallest
/// metadata as well.
const SMALLEST: u64 = 64 << 20;

/// Settings for the thin pools of a backend: one pool per node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ThinPoolSettings {
    /// Name of an existing thin pool, the same on every node. FlexLVM neither extends nor removes
    /// it. Without a name, FlexLVM creates a pool named `flexlvm-` and the backend's name with the
    /// first volume, and removes it with the last one. Example: `pool0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 100),
        regex(pattern = r"^[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*$")
    )]
    pub name: Option<String>,
    /// Initial size of a pool that FlexLVM creates: an amount (`100Gi`), or a share of the volume
    /// group (`50%`). Required unless `name` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Portion>,
    /// Maximum size of such a pool: an amount (`500Gi`), or a share of the volume group (`80%`).
    /// This space is reserved from the first volume on, so that it is free when the pool is
    /// extended. Defaults to `size`: the pool is never extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_size: Option<Portion>,
    /// Size of such a pool's metadata, `2Mi` to `16Gi`. Defaults to what the maximum size needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_size: Option<Quantity>,
    /// Maximum ratio of the total virtual size of a pool's volumes to the size of the pool, with up
    /// to two digits after the point (`1.5`). With more than `1`, the pool can run full although no
    /// volume is full; writes then fail. Defaults to `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,4}(\.[0-9]{1,2})?$"))]
    pub overprovision: Option<String>,
    /// Data usage (percent) at which the pool is extended. Defaults to 70.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub extend_at: Option<u32>,
    /// Percent of its size by which a pool is extended at a time. Defaults to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub extend_by: Option<u32>,
    /// Data usage (percent) at which no new volumes are created and none are expanded. Defaults to
    /// 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub data_guard: Option<u32>,
    /// Metadata usage (percent) at which no new volumes are created and none are expanded. Defaults
    /// to 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub metadata_guard: Option<u32>,
}

/// The thin pool of a volume, and the space reserved for it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeThinPool {
    /// Name of the pool in its volume group.
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*$")
    )]
    pub name: String,
    /// How the agent creates the pool if it is missing. Absent for a pool that an admin created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<ThinPoolCreation>,
}

/// How a pool is created, and its maximum size.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ThinPoolCreation {
    /// Initial size of its data, a multiple of the volume group's extent size.
    pub size: Quantity,
    /// Maximum size of its data, a multiple of the volume group's extent size.
    pub maximum_size: Quantity,
    /// Size of its metadata, a multiple of the volume group's extent size.
    pub metadata_size: Quantity,
    /// Physical volumes on which the space of the pool's maximum size is reserved, with metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<Share>,
}

impl ThinPoolSettings {
    /// Returns the overprovision ratio in hundredths.
    ///
    /// # Errors
    /// One sentence, when the field holds no such number.
    pub fn overprovision(&self) -> Result<u64, String> {
        let Some(text) = &self.overprovision else {
            return Ok(100);
        };
        let wrong = || format!("thinPool.overprovision: \"{text}\" is not a number such as 1.5");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 2 || !is_number(whole) || !is_number(fraction) {
            return Err(wrong());
        }
        let hundredths: u64 = format!("{whole}{fraction:0<2}")
            .parse()
            .map_err(|_| wrong())?;
        if !(100..=100_000).contains(&hundredths) {
            return Err(format!(
                "thinPool.overprovision: {text} is not possible; use 1 to 1000"
            ));
        }
        Ok(hundredths)
    }

    /// Returns the data usage in percent at which a pool is extended.
    #[must_use]
    pub fn extend_at(&self) -> u32 {
        self.extend_at.unwrap_or(70)
    }

    /// Returns the percentage of its size by which a pool is extended.
    #[must_use]
    pub fn extend_by(&self) -> u32 {
        self.extend_by.unwrap_or(20)
    }

    /// Returns the data usage in percent at which no more space is reserved.
    #[must_use]
    pub fn data_guard(&self) -> u32 {
        self.data_guard.unwrap_or(90)
    }

    /// Returns the metadata usage in percent at which no more space is reserved.
    #[must_use]
    pub fn metadata_guard(&self) -> u32 {
        self.metadata_guard.unwrap_or(80)
    }

    /// Returns the initial and the maximum size in bytes of a pool that FlexLVM creates in a volume
    /// group of `group` bytes.
    ///
    /// # Errors
    /// One sentence that names the field.
    pub fn sizes(&self, group: u64) -> Result<(u64, u64), String> {
        let size = self.size.as_ref().ok_or(
            "thinPool.size: set the size of the pool (100Gi, or 50% of the volume group), or use an existing one (thinPool.name)",
        )?;
        let read = |field: &str, portion: &Portion| {
            portion
                .bytes(group)
                .map_err(|error| format!("thinPool.{field}: {error}"))
        };
        let first = read("size", size)?;
        let most = self
            .maximum_size
            .as_ref()
            .map_or(Ok(first), |portion| read("maximumSize", portion))?;
        Ok((first, most))
    }

    /// Returns the metadata size in bytes; `None` when the field is absent.
    ///
    /// # Errors
    /// One sentence, when the field holds no valid size.
    pub fn metadata(&self) -> Result<Option<u64>, String> {
        let bytes = self.metadata_size.as_ref().map(quantity::parse).transpose();
        let bytes = bytes.map_err(|error| format!("thinPool.metadataSize: {error}"))?;
        match bytes {
            Some(bytes) if !(2 << 20..=16 << 30).contains(&bytes) => Err(format!(
                "thinPool.metadataSize: {} is not possible; use 2Mi to 16Gi",
                quantity::human(bytes)
            )),
            bytes => Ok(bytes),
        }
    }

    /// Returns the first contradiction, in one sentence that names the field; `None` when there is
    /// none.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if let Some(name) = &self.name {
            let creation_fields = [
                ("size", self.size.is_some()),
                ("maximumSize", self.maximum_size.is_some()),
                ("metadataSize", self.metadata_size.is_some()),
                ("extendAt", self.extend_at.is_some()),
                ("extendBy", self.extend_by.is_some()),
            ];
            if let Some((field, _)) = creation_fields.iter().find(|(_, is_set)| *is_set) {
                return Some(format!(
                    "thinPool.{field}: pool {name} exists already, and FlexLVM does not change it; leave out {field}, or thinPool.name"
                ));
            }
        } else if let Some(fault) = self.sizes_fault() {
            return Some(fault);
        }
        self.overprovision()
            .err()
            .or_else(|| self.metadata().err())
            .or_else(|| self.percent_fault())
    }

    fn percent_fault(&self) -> Option<String> {
        [
            ("extendAt", self.extend_at(), 99),
            ("extendBy", self.extend_by(), 100),
            ("dataGuard", self.data_guard(), 100),
            ("metadataGuard", self.metadata_guard(), 100),
        ]
        .iter()
        .find(|(_, percent, most)| !(1..=*most).contains(percent))
        .map(|(field, percent, most)| {
            format!("thinPool.{field}: {percent} is not possible; use 1 to {most}")
        })
    }

    fn sizes_fault(&self) -> Option<String> {
        // A share and an amount can only be compared for a given volume group; two of a kind can be
        // compared here.
        let (first, most) = match self.sizes(100 << 40) {
            Ok(sizes) => sizes,
            Err(fault) => return Some(fault),
        };
        let is_share = |portion: &Option<Portion>| {
            portion
                .as_ref()
                .is_some_and(|portion| portion.0.ends_with('%'))
        };
        let comparable = is_share(&self.size) == is_share(&self.maximum_size);
        if self.maximum_size.is_some() && comparable && most < first {
            return Some("thinPool.maximumSize: it is less than thinPool.size".to_owned());
        }
        if first >= SMALLEST {
            return None;
        }
        Some(format!(
            "thinPool.size: {} is too small; use {} or more",
            quantity::human(first),
            quantity::human(SMALLEST)
        ))
    }
}

/// Returns the name of the pool that FlexLVM creates for a backend.
#[must_use]
pub fn pool_name(backend: &str) -> String {
    const LONGEST: usize = 80;
    let name: String = backend.chars().take(LONGEST).collect();
    if name == backend {
        format!("flexlvm-{name}")
    } else {
        format!("flexlvm-{name}-{:016x}", crate::hash(backend))
    }
}

#[cfg(test)]
mod tests {
    use super::{ThinPoolSettings, pool_name};
    use serde_json::{Value, json};

    fn pool(value: Value) -> ThinPoolSettings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn absent_fields_have_defaults() {
        let made = pool(json!({"size": "50%"}));
        assert_eq!(
            (made.fault(), made.sizes(1000), made.overprovision()),
            (None, Ok((500, 500)), Ok(100))
        );
        assert_eq!([made.extend_at(), made.extend_by()], [70, 20]);
        assert_eq!([made.data_guard(), made.metadata_guard()], [90, 80]);
        assert_eq!(
            pool(json!({"size": "1Gi", "maximumSize": "50%"})).sizes(4 << 30),
            Ok((1 << 30, 2 << 30))
        );
        assert_eq!(
            pool(json!({"name": "pool0", "overprovision": "2.5"})).overprovision(),
            Ok(250)
        );
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn contradictions_name_the_field_and_the_remedy() {
        for (value, words) in [
            (json!({}), ["thinPool.size", "thinPool.name"]),
            (
                json!({"name": "p", "size": "1Gi"}),
                ["thinPool.size", "leave out"],
            ),
            (
                json!({"name": "p", "extendAt": 70}),
                ["thinPool.extendAt", "leave out"],
            ),
            (
                json!({"size": "2Gi", "maximumSize": "1Gi"}),
                ["thinPool.maximumSize", "less than"],
            ),
            (
                json!({"size": "50%", "maximumSize": "40%"}),
                ["thinPool.maximumSize", "less than"],
            ),
            (json!({"size": "1Mi"}), ["thinPool.size", "64 MiB"]),
            (json!({"size": "0%"}), ["thinPool.size", "64 MiB"]),
            (
                json!({"size": "1Gi", "maximumSize": "lots"}),
                ["thinPool.maximumSize", "lots"],
            ),
            (
                json!({"size": "1Gi", "overprovision": "0.5"}),
                ["thinPool.overprovision", "1 to 1000"],
            ),
            (
                json!({"size": "1Gi", "overprovision": "x"}),
                ["thinPool.overprovision", "1.5"],
            ),
            (
                json!({"size": "1Gi", "overprovision": "1.555"}),
                ["thinPool.overprovision", "1.5"],
            ),
            (
                json!({"size": "1Gi", "metadataSize": "1Ti"}),
                ["thinPool.metadataSize", "16Gi"],
            ),
            (
                json!({"size": "1Gi", "dataGuard": 0}),
                ["thinPool.dataGuard", "1 to 100"],
            ),
            (
                json!({"size": "1Gi", "extendAt": 100}),
                ["thinPool.extendAt", "1 to 99"],
            ),
        ] {
            let fault = pool(value.clone())
                .fault()
                .unwrap_or_else(|| panic!("{value} is accepted"));
            assert!(
                words.iter().all(|word| fault.contains(word)),
                "{value}: {fault}"
            );
        }
        assert_eq!(
            pool(json!({"size": "1Gi", "maximumSize": "90%", "overprovision": "1000"})).fault(),
            None
        );
    }

    #[test]
    fn each_backend_has_its_own_pool() {
        assert_eq!(pool_name("thin"), "flexlvm-thin");
        let (a, b) = ("x".repeat(253), "x".repeat(252));
        assert!(pool_name(&a).len() <= 127 && pool_name(&a) != pool_name(&b));
    }
}
