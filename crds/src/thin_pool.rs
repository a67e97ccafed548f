//! Thin pools: the pool settings of a StorageBackend, and the pool of a LogicalVolume with the
//! space reserved for it. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::portion::Portion;
use crate::quantity;
use crate::share::Share;
use crate::validation::ValidationError;

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

/// Sizes of the data of a pool that FlexLVM creates, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizes {
    /// Size at creation.
    pub initial: u64,
    /// Size up to which the pool is extended. May be below `initial` in a small volume group.
    pub maximum: u64,
}

impl ThinPoolSettings {
    /// Returns the overprovision ratio in hundredths.
    ///
    /// # Errors
    /// When the field holds no such number.
    pub fn overprovision(&self) -> Result<u64, ValidationError> {
        const FIELD: &str = "thinPool.overprovision";
        let Some(text) = &self.overprovision else {
            return Ok(100);
        };
        let Some(hundredths) = parse_hundredths(text) else {
            let problem = format!("\"{text}\" is not a number such as 1.5");
            return Err(ValidationError::new(FIELD, problem));
        };
        if !(100..=100_000).contains(&hundredths) {
            let problem = format!("{text} is not possible");
            return Err(ValidationError::new(FIELD, problem).with_hint("use 1 to 1000"));
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

    /// Returns the sizes of a pool that FlexLVM creates in a volume group of `group` bytes.
    ///
    /// # Errors
    /// When a size is missing or invalid.
    pub fn sizes(&self, group: u64) -> Result<PoolSizes, ValidationError> {
        const FIELD: &str = "thinPool.size";
        let Some(size) = &self.size else {
            return Err(ValidationError::new(
                FIELD,
                "set the size of the pool (100Gi, or 50% of the volume group), or use an existing one (thinPool.name)",
            ));
        };
        let initial = size.bytes(FIELD, group)?;
        let maximum = match &self.maximum_size {
            Some(maximum) => maximum.bytes("thinPool.maximumSize", group)?,
            None => initial,
        };
        Ok(PoolSizes { initial, maximum })
    }

    /// Returns the metadata size in bytes; `None` when the field is absent.
    ///
    /// # Errors
    /// When the field holds no valid size.
    pub fn metadata(&self) -> Result<Option<u64>, ValidationError> {
        const FIELD: &str = "thinPool.metadataSize";
        let Some(size) = &self.metadata_size else {
            return Ok(None);
        };
        let bytes = quantity::parse(size)
            .map_err(|error| ValidationError::new(FIELD, error.to_string()))?;
        if !(2 << 20..=16 << 30).contains(&bytes) {
            let problem = format!("{} is not possible", quantity::human(bytes));
            return Err(ValidationError::new(FIELD, problem).with_hint("use 2Mi to 16Gi"));
        }
        Ok(Some(bytes))
    }

    /// Checks what the schema can't express.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn validate(&self) -> Result<(), ValidationError> {
        match &self.name {
            Some(name) => self.validate_existing(name)?,
            None => self.validate_sizes()?,
        }
        self.overprovision()?;
        self.metadata()?;
        check_percentage("extendAt", self.extend_at(), 99)?;
        check_percentage("extendBy", self.extend_by(), 100)?;
        check_percentage("dataGuard", self.data_guard(), 100)?;
        check_percentage("metadataGuard", self.metadata_guard(), 100)
    }

    /// Checks that no setting for the creation of a pool is set along with an existing pool's name.
    fn validate_existing(&self, name: &str) -> Result<(), ValidationError> {
        let creation_fields = [
            ("size", self.size.is_some()),
            ("maximumSize", self.maximum_size.is_some()),
            ("metadataSize", self.metadata_size.is_some()),
            ("extendAt", self.extend_at.is_some()),
            ("extendBy", self.extend_by.is_some()),
        ];
        for (field, is_set) in creation_fields {
            if is_set {
                let problem = format!("pool {name} exists already, and FlexLVM does not change it");
                return Err(ValidationError::new(format!("thinPool.{field}"), problem)
                    .with_hint(format!("leave out {field}, or thinPool.name")));
            }
        }
        Ok(())
    }

    /// Checks the sizes of a pool that FlexLVM creates.
    fn validate_sizes(&self) -> Result<(), ValidationError> {
        // A share and an amount can only be compared for a given volume group; two of a kind can be
        // compared here.
        let sizes = self.sizes(100 << 40)?;
        if let (Some(size), Some(maximum)) = (&self.size, &self.maximum_size)
            && size.is_share() == maximum.is_share()
            && sizes.maximum < sizes.initial
        {
            let problem = "it is less than thinPool.size";
            return Err(ValidationError::new("thinPool.maximumSize", problem));
        }
        if sizes.initial < SMALLEST {
            let problem = format!("{} is too small", quantity::human(sizes.initial));
            let hint = format!("use {} or more", quantity::human(SMALLEST));
            return Err(ValidationError::new("thinPool.size", problem).with_hint(hint));
        }
        Ok(())
    }
}

/// Parses a number with at most two digits after the point, in hundredths.
fn parse_hundredths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut digits = whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || fraction.len() > 2 || !digits.all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{fraction:0<2}").parse().ok()
}

/// Checks that a percentage is at least 1 and at most `most`.
fn check_percentage(field: &str, percent: u32, most: u32) -> Result<(), ValidationError> {
    if (1..=most).contains(&percent) {
        return Ok(());
    }
    let problem = format!("{percent} is not possible");
    Err(ValidationError::new(format!("thinPool.{field}"), problem)
        .with_hint(format!("use 1 to {most}")))
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
    use super::{PoolSizes, ThinPoolSettings, pool_name};
    use serde_json::{Value, json};

    fn pool(value: Value) -> ThinPoolSettings {
        serde_json::from_value(value).unwrap()
    }

    fn sizes(initial: u64, maximum: u64) -> PoolSizes {
        PoolSizes { initial, maximum }
    }

    #[test]
    fn absent_fields_have_defaults() {
        let made = pool(json!({"size": "50%"}));
        assert_eq!(
            (made.validate(), made.sizes(1000), made.overprovision()),
            (Ok(()), Ok(sizes(500, 500)), Ok(100))
        );
        assert_eq!([made.extend_at(), made.extend_by()], [70, 20]);
        assert_eq!([made.data_guard(), made.metadata_guard()], [90, 80]);
        assert_eq!(
            pool(json!({"size": "1Gi", "maximumSize": "50%"})).sizes(4 << 30),
            Ok(sizes(1 << 30, 2 << 30))
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
            let Err(error) = pool(value.clone()).validate() else {
                panic!("{value} is accepted");
            };
            let fault = error.to_string();
            assert!(
                words.iter().all(|word| fault.contains(word)),
                "{value}: {fault}"
            );
        }
        assert_eq!(
            pool(json!({"size": "1Gi", "maximumSize": "90%", "overprovision": "1000"})).validate(),
            Ok(())
        );
    }

    #[test]
    fn each_backend_has_its_own_pool() {
        assert_eq!(pool_name("thin"), "flexlvm-thin");
        let a = "x".repeat(253);
        let b = "x".repeat(252);
        assert!(pool_name(&a).len() <= 127 && pool_name(&a) != pool_name(&b));
    }
}
