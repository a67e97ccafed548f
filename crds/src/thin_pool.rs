//! Thin pools: what a StorageBackend says of the pool that its volumes share on each node, and what
//! a LogicalVolume was promised of one. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::portion::Portion;
use crate::quantity;
use crate::share::Share;

/// What a pool takes at least: fewer make no sense, and LVM's smallest metadata want some room
/// beside.
const SMALLEST: u64 = 64 << 20;

/// The thin pool of a backend, one on each node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ThinPoolSettings {
    /// A thin pool that is there already, on every node under this name. It stays as it is: FlexLVM
    /// neither extends nor removes it. Left out: FlexLVM makes a pool of its own with the first
    /// volume, `flexlvm-` and the backend's name, and removes it with the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 100),
        regex(pattern = r"^[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*$")
    )]
    pub name: Option<String>,
    /// How large FlexLVM makes a pool: an amount (`100Gi`), or a share of the volume group (`50%`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Portion>,
    /// How large such a pool may become. The space is promised to the pool from its first volume
    /// on, so it is there when it is needed; the pool is extended as it fills up. Left out: `size`,
    /// so it is never extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_size: Option<Portion>,
    /// The size of such a pool's metadata. Left out: enough for the maximum size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_size: Option<Quantity>,
    /// How many times a pool's size its volumes may have together, with up to two digits after the
    /// point (`1.5`). With more than `1`, the pool can fill up although no volume is full, and
    /// writing then fails. Left out: `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,4}(\.[0-9]{1,2})?$"))]
    pub overprovision: Option<String>,
    /// Percent of a pool's data that may be in use before the pool is extended. Left out: 70.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub extend_at: Option<u32>,
    /// By how many percent of its size a pool is extended at a time. Left out: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub extend_by: Option<u32>,
    /// Percent of a pool's data in use from which on it gets no new volume, and no volume in it
    /// grows. Left out: 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub data_guard: Option<u32>,
    /// The same for its metadata. Left out: 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub metadata_guard: Option<u32>,
}

/// The thin pool that a volume is in, and the space that was promised to it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeThinPool {
    /// The pool's name in its volume group.
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^[a-zA-Z0-9+_][a-zA-Z0-9+_.-]*$")
    )]
    pub name: String,
    /// How the pool is made where it is missing; left out for a pool that an admin made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<ThinPoolCreation>,
}

/// How a pool is made, and how large it may become.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ThinPoolCreation {
    /// The size of its data when it is made, in whole extents.
    pub size: Quantity,
    /// The size that its data may reach, in whole extents.
    pub maximum_size: Quantity,
    /// The size of its metadata, in whole extents.
    pub metadata_size: Quantity,
    /// The physical volumes on which the space of its largest size was promised, metadata included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uuid"]))]
    pub physical_volumes: Vec<Share>,
}

impl ThinPoolSettings {
    /// How many hundredths of a pool's size its volumes may have together.
    ///
    /// # Errors
    /// One sentence, when the field holds no such number.
    pub fn overprovision(&self) -> Result<u64, String> {
        let Some(text) = &self.overprovision else {
            return Ok(100);
        };
        let wrong = || format!("thinPool.overprovision: \"{text}\" is no number such as 1.5");
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
                "thinPool.overprovision: {text} is not possible; say 1 to 1000"
            ));
        }
        Ok(hundredths)
    }

    /// Percent of the data in use from which on a pool is extended.
    #[must_use]
    pub fn extend_at(&self) -> u32 {
        self.extend_at.unwrap_or(70)
    }

    /// By how many percent it is extended then.
    #[must_use]
    pub fn extend_by(&self) -> u32 {
        self.extend_by.unwrap_or(20)
    }

    /// Percent of data, and of metadata, in use from which on nothing more is promised.
    #[must_use]
    pub fn guards(&self) -> (u32, u32) {
        (
            self.data_guard.unwrap_or(90),
            self.metadata_guard.unwrap_or(80),
        )
    }

    /// The sizes of a pool that FlexLVM makes in a volume group of so many bytes: its data at first
    /// and at most.
    ///
    /// # Errors
    /// One sentence that names the field.
    pub fn sizes(&self, group: u64) -> Result<(u64, u64), String> {
        let size = self.size.as_ref().ok_or(
            "thinPool.size: say how large the pool is to be (100Gi, or 50% of the volume group), or name one that is there (thinPool.name)",
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

    /// The size that was said for the metadata.
    ///
    /// # Errors
    /// One sentence, when the field holds no size.
    pub fn metadata(&self) -> Result<Option<u64>, String> {
        let bytes = self.metadata_size.as_ref().map(quantity::parse).transpose();
        let bytes = bytes.map_err(|error| format!("thinPool.metadataSize: {error}"))?;
        match bytes {
            Some(bytes) if !(2 << 20..=16 << 30).contains(&bytes) => Err(format!(
                "thinPool.metadataSize: {} is not possible; say 2Mi to 16Gi",
                quantity::human(bytes)
            )),
            bytes => Ok(bytes),
        }
    }

    /// What is contradictory, in one sentence that names the field; `None` when nothing is.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if let Some(name) = &self.name {
            let made = [
                ("size", self.size.is_some()),
                ("maximumSize", self.maximum_size.is_some()),
                ("metadataSize", self.metadata_size.is_some()),
                ("extendAt", self.extend_at.is_some()),
                ("extendBy", self.extend_by.is_some()),
            ];
            if let Some((field, _)) = made.iter().find(|(_, is_said)| *is_said) {
                return Some(format!(
                    "thinPool.{field}: pool {name} is there already and stays as it is; leave out {field}, or thinPool.name"
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
        let (data, metadata) = self.guards();
        [
            ("extendAt", self.extend_at(), 99),
            ("extendBy", self.extend_by(), 100),
            ("dataGuard", data, 100),
            ("metadataGuard", metadata, 100),
        ]
        .iter()
        .find(|(_, percent, most)| !(1..=*most).contains(percent))
        .map(|(field, percent, most)| {
            format!("thinPool.{field}: {percent} is not possible; say 1 to {most}")
        })
    }

    fn sizes_fault(&self) -> Option<String> {
        // Shares and amounts can only be compared where a volume group is; those of one kind can be
        // here.
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
        let (first, least) = (quantity::human(first), quantity::human(SMALLEST));
        let is_small = self.sizes(100 << 40).is_ok_and(|(size, _)| size < SMALLEST);
        is_small.then(|| format!("thinPool.size: {first} is too small; say {least} or more"))
    }
}

/// The name of the pool that FlexLVM makes for a backend.
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
    fn what_is_left_out_has_a_value() {
        let made = pool(json!({"size": "50%"}));
        assert_eq!(
            (made.fault(), made.sizes(1000), made.overprovision()),
            (None, Ok((500, 500)), Ok(100))
        );
        assert_eq!(
            (made.extend_at(), made.extend_by(), made.guards()),
            (70, 20, (90, 80))
        );
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
    fn each_backend_has_a_pool_of_its_own() {
        assert_eq!(pool_name("thin"), "flexlvm-thin");
        let (a, b) = ("x".repeat(253), "x".repeat(252));
        assert!(pool_name(&a).len() <= 127 && pool_name(&a) != pool_name(&b));
    }
}
