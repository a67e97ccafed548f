//! How a logical volume is laid out on the disks of its volume group: a part of StorageBackends
//! and of LogicalVolumes. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity;
use crate::validation::ValidationError;

/// Default stripe size in bytes, the same as LVM's.
const STRIPE_SIZE: u64 = 64 << 10;

/// Permitted stripe sizes in bytes: every kernel and LVM's default RAID region size take them.
const STRIPE_SIZES: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 20;

/// How a logical volume is laid out on the disks of its volume group.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// Kind of logical volume. `Linear`: plain extents on any disks with free space. `Striped`:
    /// spread over several disks for speed; if one of them fails, the volume is lost. `RAID1`: the
    /// same data on several disks. `RAID5`, `RAID6`: striped, with parity for one or two failed
    /// disks. `RAID10`: striped, with two copies of each stripe. `Thin`: in a thin pool, which
    /// allocates space when it is first written to. `Cached`: plain extents on slow disks, with a
    /// cache on fast ones. A node whose volume group has too few disks for the kind gets no volume
    /// instead of one of another kind. Defaults to `Linear`.
    #[serde(default, rename = "type")]
    pub type_: LayoutType,
    /// Number of disks that share the data, without parity and copies; for `Striped`, `RAID5`,
    /// `RAID6` and `RAID10`. `RAID5` uses one disk more, `RAID6` two more, `RAID10` twice as many.
    /// Defaults to 3 for `RAID6` and 2 for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 32))]
    pub stripes: Option<u32>,
    /// Amount of data that goes to one disk before the next one is used; for `Striped`, `RAID5`,
    /// `RAID6` and `RAID10`. A power of two from `4Ki` to `1Mi`. Defaults to `64Ki`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_size: Option<Quantity>,
    /// Number of disks that each hold all data; for `RAID1`. Defaults to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 10))]
    pub copies: Option<u32>,
    /// Whether each disk's part has checksums (dm-integrity); for the RAID types. LVM then detects
    /// data that a disk changed silently, and repairs it from the other disks. Costs space and
    /// speed. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<bool>,
}

/// Kinds of logical volumes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayoutType {
    /// Plain extents on any disks with free space: as fast, and as safe, as one disk.
    #[default]
    Linear,
    /// Spread over several disks, without redundancy.
    Striped,
    /// The same data on several disks.
    #[serde(rename = "RAID1")]
    Raid1,
    /// Striped, with parity for one failed disk.
    #[serde(rename = "RAID5")]
    Raid5,
    /// Striped, with parity for two failed disks.
    #[serde(rename = "RAID6")]
    Raid6,
    /// Striped, with two copies of each stripe.
    #[serde(rename = "RAID10")]
    Raid10,
    /// In a thin pool.
    Thin,
    /// Plain extents on slow disks, with a cache on fast ones.
    Cached,
}

impl LayoutType {
    /// All types.
    pub const ALL: [Self; 8] = [
        Self::Linear,
        Self::Striped,
        Self::Raid1,
        Self::Raid5,
        Self::Raid6,
        Self::Raid10,
        Self::Thin,
        Self::Cached,
    ];

    /// Returns the type with this name, as the API spells it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|type_| type_.as_str() == name)
    }

    /// Returns the type as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linear => "Linear",
            Self::Striped => "Striped",
            Self::Raid1 => "RAID1",
            Self::Raid5 => "RAID5",
            Self::Raid6 => "RAID6",
            Self::Raid10 => "RAID10",
            Self::Thin => "Thin",
            Self::Cached => "Cached",
        }
    }

    /// Returns true when the data is spread over several disks.
    #[must_use]
    pub fn is_striped(self) -> bool {
        matches!(
            self,
            Self::Striped | Self::Raid5 | Self::Raid6 | Self::Raid10
        )
    }

    /// Returns true when a failed disk loses no data.
    #[must_use]
    pub fn is_raid(self) -> bool {
        matches!(self, Self::Raid1 | Self::Raid5 | Self::Raid6 | Self::Raid10)
    }

    /// Returns the smallest number of disks that can share the data.
    fn fewest_stripes(self) -> u32 {
        if self == Self::Raid6 { 3 } else { 2 }
    }
}

impl Layout {
    /// Returns how many disks share the data; 1 for types that are not striped.
    #[must_use]
    pub fn stripes(&self) -> u32 {
        if self.type_.is_striped() {
            self.stripes.unwrap_or(self.type_.fewest_stripes())
        } else {
            1
        }
    }

    /// Returns the number of disks that each hold all data of a RAID1.
    #[must_use]
    pub fn copies(&self) -> u32 {
        self.copies.unwrap_or(2)
    }

    /// Returns the stripe size in bytes.
    ///
    /// # Errors
    /// When the field holds no valid size.
    pub fn stripe_size(&self) -> Result<u64, ValidationError> {
        const FIELD: &str = "layout.stripeSize";
        let Some(requested) = &self.stripe_size else {
            return Ok(STRIPE_SIZE);
        };
        let bytes = quantity::parse(requested)
            .map_err(|error| ValidationError::new(FIELD, error.to_string()))?;
        if STRIPE_SIZES.contains(&bytes) && bytes.is_power_of_two() {
            return Ok(bytes);
        }
        let problem = format!("{} is not possible", requested.0);
        Err(ValidationError::new(FIELD, problem).with_hint("use a power of two from 4Ki to 1Mi"))
    }

    /// Checks what the schema can't express.
    ///
    /// # Errors
    /// The first contradiction, with the valid values.
    pub fn validate(&self) -> Result<(), ValidationError> {
        const STRIPED: &str = "Striped, RAID5, RAID6 or RAID10";
        let type_ = self.type_;
        if self.stripes.is_some() && !type_.is_striped() {
            return Err(self.misplaced("stripes", STRIPED));
        }
        if self.stripe_size.is_some() && !type_.is_striped() {
            return Err(self.misplaced("stripeSize", STRIPED));
        }
        if self.copies.is_some() && type_ != LayoutType::Raid1 {
            return Err(self.misplaced("copies", "RAID1"));
        }
        if self.integrity == Some(true) && !type_.is_raid() {
            return Err(self.misplaced("integrity", "a RAID kind"));
        }
        if type_.is_striped() {
            self.check_range("stripes", self.stripes(), type_.fewest_stripes(), 32)?;
        }
        if type_ == LayoutType::Raid1 {
            self.check_range("copies", self.copies(), 2, 10)?;
        }
        self.stripe_size()?;
        Ok(())
    }

    /// Returns the error about a field that the type doesn't have; `types` have it.
    fn misplaced(&self, field: &str, types: &str) -> ValidationError {
        let field = format!("layout.{field}");
        let problem = format!("type {} has none", self.type_.as_str());
        ValidationError::new(field, problem)
            .with_hint(format!("leave it out, or choose {types} as layout.type"))
    }

    /// Checks that a field's number is at least `least` and at most `most`.
    fn check_range(
        &self,
        field: &str,
        number: u32,
        least: u32,
        most: u32,
    ) -> Result<(), ValidationError> {
        if (least..=most).contains(&number) {
            return Ok(());
        }
        let field = format!("layout.{field}");
        let type_ = self.type_.as_str();
        let problem = format!("{number} is not possible for type {type_}");
        Err(ValidationError::new(field, problem).with_hint(format!("use {least} to {most}")))
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, LayoutType};
    use serde_json::{Value, json};

    fn layout(value: Value) -> Layout {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_type_is_in_all_and_has_the_name_of_the_api() {
        let schema = serde_json::to_value(schemars::schema_for!(LayoutType)).unwrap();
        assert_eq!(
            schema["oneOf"].as_array().unwrap().len(),
            LayoutType::ALL.len()
        );
        for type_ in LayoutType::ALL {
            assert_eq!(serde_json::to_value(type_).unwrap(), type_.as_str());
            assert_eq!(LayoutType::from_name(type_.as_str()), Some(type_));
        }
        assert_eq!(LayoutType::from_name("raid1"), None);
    }

    #[test]
    fn absent_fields_have_defaults() {
        let raid6 = layout(json!({"type": "RAID6"}));
        assert_eq!(
            (raid6.stripes(), raid6.stripe_size(), raid6.validate()),
            (3, Ok(64 << 10), Ok(()))
        );
        assert_eq!(layout(json!({"type": "RAID1"})).copies(), 2);
        assert_eq!(layout(json!({})), Layout::default());
        assert_eq!(
            serde_json::to_value(Layout::default()).unwrap(),
            json!({"type": "Linear"})
        );
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn contradictions_name_the_field_and_the_remedy() {
        for (value, words) in [
            (json!({"stripes": 2}), ["layout.stripes", "Linear", "RAID5"]),
            (
                json!({"type": "RAID1", "stripes": 2}),
                ["layout.stripes", "RAID1", "leave it out"],
            ),
            (
                json!({"type": "RAID1", "stripeSize": "64Ki"}),
                ["layout.stripeSize", "RAID1", "leave it out"],
            ),
            (
                json!({"type": "Striped", "copies": 2}),
                ["layout.copies", "Striped", "RAID1"],
            ),
            (
                json!({"type": "Thin", "stripes": 2}),
                ["layout.stripes", "Thin", "leave it out"],
            ),
            (
                json!({"type": "Cached", "integrity": true}),
                ["layout.integrity", "Cached", "RAID"],
            ),
            (
                json!({"type": "Striped", "integrity": true}),
                ["layout.integrity", "Striped", "RAID"],
            ),
            (
                json!({"type": "RAID6", "stripes": 2}),
                ["layout.stripes", "2 is not possible", "3 to 32"],
            ),
            (
                json!({"type": "Striped", "stripes": 33}),
                ["layout.stripes", "33 is not possible", "2 to 32"],
            ),
            (
                json!({"type": "RAID1", "copies": 1}),
                ["layout.copies", "1 is not possible", "2 to 10"],
            ),
            (
                json!({"type": "Striped", "stripeSize": "3Ki"}),
                ["layout.stripeSize", "3Ki", "power of two"],
            ),
            (
                json!({"type": "Striped", "stripeSize": "2Mi"}),
                ["layout.stripeSize", "2Mi", "1Mi"],
            ),
            (
                json!({"type": "RAID5", "stripeSize": "lots"}),
                ["layout.stripeSize", "lots", "quantity"],
            ),
        ] {
            let Err(error) = layout(value.clone()).validate() else {
                panic!("{value} is accepted");
            };
            let fault = error.to_string();
            assert!(
                words.iter().all(|word| fault.contains(word)),
                "{value}: {fault}"
            );
        }
        for value in [
            json!({"type": "Striped", "stripes": 4, "stripeSize": "128Ki"}),
            json!({"type": "RAID1", "copies": 3, "integrity": true}),
            json!({"type": "Linear", "integrity": false}),
            json!({"type": "RAID10", "stripes": 3}),
        ] {
            assert_eq!(layout(value.clone()).validate(), Ok(()), "{value}");
        }
    }
}
