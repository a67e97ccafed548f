//! What LVM reports in addition to the model, for metrics. Pure.
//!
//! No plan of a volume depends on it; the NodeStorage reports a full metadata area from it. It is
//! parsed apart from the model and leniently: a missing or malformed column leaves its value out and
//! rejects nothing, while in the model it rejects the whole report.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The statistics of a whole node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LvmStatistics {
    /// All volume groups, in the order of LVM's report.
    pub groups: Vec<GroupStatistics>,
}

/// A volume group. Sizes are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GroupStatistics {
    /// Not unique: LVM also reports groups that share a name.
    #[serde(rename = "vg_name", deserialize_with = "text")]
    pub name: String,
    /// Size of one extent.
    #[serde(rename = "vg_extent_size", deserialize_with = "number")]
    pub extent_size: Option<u64>,
    /// Total extents.
    #[serde(rename = "vg_extent_count", deserialize_with = "number")]
    pub extents: Option<u64>,
    /// Extents that are not allocated.
    #[serde(rename = "vg_free_count", deserialize_with = "number")]
    pub free_extents: Option<u64>,
    /// Physical volumes whose device is missing.
    #[serde(rename = "vg_missing_pv_count", deserialize_with = "number")]
    pub missing_disks: Option<u64>,
    /// Maximum number of logical volumes; 0 without a limit.
    #[serde(rename = "max_lv", deserialize_with = "number")]
    pub max_volumes: Option<u64>,
    /// Maximum number of physical volumes; 0 without a limit.
    #[serde(rename = "max_pv", deserialize_with = "number")]
    pub max_disks: Option<u64>,
    /// Number of snapshots.
    #[serde(rename = "snap_count", deserialize_with = "number")]
    pub snapshots: Option<u64>,
    /// Number of metadata areas.
    #[serde(rename = "vg_mda_count", deserialize_with = "number")]
    pub metadata_areas: Option<u64>,
    /// Number of metadata areas in use.
    #[serde(rename = "vg_mda_used_count", deserialize_with = "number")]
    pub used_metadata_areas: Option<u64>,
    /// Size of the smallest metadata area.
    #[serde(rename = "vg_mda_size", deserialize_with = "number")]
    pub metadata_size: Option<u64>,
    /// Free space of the fullest metadata area.
    #[serde(rename = "vg_mda_free", deserialize_with = "number")]
    pub metadata_free: Option<u64>,
    /// `writeable` or `read-only`.
    #[serde(rename = "vg_permissions", deserialize_with = "text")]
    pub permissions: String,
    /// LVM's name of the allocation policy, such as `normal`.
    #[serde(rename = "vg_allocation_policy", deserialize_with = "text")]
    pub allocation_policy: String,
    /// Its logical volumes, without LVM's internal ones.
    #[serde(skip)]
    pub volumes: Vec<VolumeStatistics>,
    /// Its physical volumes.
    #[serde(skip)]
    pub disks: Vec<DiskStatistics>,
}

/// A logical volume. Sizes are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumeStatistics {
    /// The name within its volume group.
    #[serde(rename = "lv_name", deserialize_with = "text")]
    pub name: String,
    /// LVM's uuid of it.
    #[serde(rename = "lv_uuid", deserialize_with = "text")]
    pub uuid: String,
    /// LVM's attributes, see lvs(8).
    #[serde(rename = "lv_attr", deserialize_with = "text")]
    pub attributes: String,
    /// Its size.
    #[serde(rename = "lv_size", deserialize_with = "number")]
    pub size: Option<u64>,
    /// LVM's names of its layout, such as `linear`, `raid,raid1` or `thin,pool`.
    #[serde(rename = "lv_layout", deserialize_with = "text")]
    pub layout: String,
    /// The thin pool that contains it; empty if none does.
    #[serde(rename = "pool_lv", deserialize_with = "text")]
    pub pool: String,
    /// `writeable`, `read-only` or `read-only-override`.
    #[serde(rename = "lv_permissions", deserialize_with = "text")]
    pub permissions: String,
    /// LVM's name of its fault, such as `partial`; empty if it is healthy.
    #[serde(rename = "lv_health_status", deserialize_with = "text")]
    pub health: String,
    /// Of a thin pool: `error` or `queue`.
    #[serde(rename = "lv_when_full", deserialize_with = "text")]
    pub when_full: String,
    /// Usage of a thin volume, thin pool, cache or snapshot.
    #[serde(rename = "data_percent", deserialize_with = "ratio")]
    pub data_used: Option<Ratio>,
    /// Usage of a snapshot; LVM also prints it for thin volumes and pools.
    #[serde(rename = "snap_percent", deserialize_with = "ratio")]
    pub snapshot_used: Option<Ratio>,
    /// Size of the metadata of a thin pool or cache.
    #[serde(rename = "lv_metadata_size", deserialize_with = "number")]
    pub metadata_size: Option<u64>,
    /// Usage of that metadata.
    #[serde(rename = "metadata_percent", deserialize_with = "ratio")]
    pub metadata_used: Option<Ratio>,
    /// What an active RAID is doing, such as `idle` or `resync`.
    #[serde(rename = "raid_sync_action", deserialize_with = "text")]
    pub sync_action: String,
    /// The part of a RAID that is in sync.
    #[serde(rename = "sync_percent", deserialize_with = "ratio")]
    pub synced: Option<Ratio>,
    /// Differences between the images of a RAID that the last check found.
    #[serde(rename = "raid_mismatch_count", deserialize_with = "number")]
    pub mismatches: Option<u64>,
}

/// A physical volume. Sizes are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DiskStatistics {
    /// The device's name in LVM; `[unknown]` while it is missing.
    #[serde(rename = "pv_name", deserialize_with = "text")]
    pub name: String,
    /// LVM's uuid of it.
    #[serde(rename = "pv_uuid", deserialize_with = "text")]
    pub uuid: String,
    /// LVM's attributes, see pvs(8).
    #[serde(rename = "pv_attr", deserialize_with = "text")]
    pub attributes: String,
    /// Total extents.
    #[serde(rename = "pv_pe_count", deserialize_with = "number")]
    pub extents: Option<u64>,
    /// Allocated extents.
    #[serde(rename = "pv_pe_alloc_count", deserialize_with = "number")]
    pub allocated_extents: Option<u64>,
    /// Size of the device.
    #[serde(rename = "dev_size", deserialize_with = "number")]
    pub device_size: Option<u64>,
    /// Size of its smallest metadata area.
    #[serde(rename = "pv_mda_size", deserialize_with = "number")]
    pub metadata_size: Option<u64>,
    /// Free space of its fullest metadata area.
    #[serde(rename = "pv_mda_free", deserialize_with = "number")]
    pub metadata_free: Option<u64>,
}

/// A part of a whole, in ten-thousandths: LVM prints two digits of a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(pub u32);

impl Ratio {
    /// Returns the ratio, 1 for the whole.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl GroupStatistics {
    /// Returns the total size.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.bytes(self.extents)
    }

    /// Returns the size of the extents that are not allocated.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        self.bytes(self.free_extents)
    }

    /// Returns the size of this number of extents.
    #[must_use]
    pub fn bytes(&self, extents: Option<u64>) -> Option<u64> {
        extents?.checked_mul(self.extent_size?)
    }
}

impl VolumeStatistics {
    /// Returns whether the volume is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !matches!(self.attributes.chars().nth(4), None | Some('-'))
    }

    /// Returns whether its device is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.attributes.chars().nth(5) == Some('o')
    }

    /// Returns whether it is a snapshot with space of its own, unlike a thin snapshot.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.attributes.starts_with(['s', 'S'])
    }

    /// Returns whether it is a thin pool.
    #[must_use]
    pub fn is_thin_pool(&self) -> bool {
        self.attributes.starts_with('t')
    }
}

impl DiskStatistics {
    /// Returns whether its device is missing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.attributes.chars().nth(2) == Some('m')
    }

    /// Returns whether LVM may allocate its free extents.
    #[must_use]
    pub fn is_allocatable(&self) -> bool {
        self.attributes.starts_with('a') && !self.is_missing()
    }
}

/// One volume group in LVM's report; or the physical volumes of no group, then without `vg`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GroupPart {
    vg: Vec<GroupStatistics>,
    lv: Vec<VolumeStatistics>,
    pv: Vec<DiskStatistics>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FullReport {
    report: Vec<GroupPart>,
}

/// Parses the statistics in a full report; empty if it is none.
pub(super) fn parse(report: &[u8]) -> LvmStatistics {
    let report: FullReport = serde_json::from_slice(report).unwrap_or_default();
    let mut groups = Vec::with_capacity(report.report.len());
    for mut part in report.report {
        // LVM prints the names of its internal volumes in brackets.
        part.lv.retain(|volume| !volume.name.starts_with('['));
        if let Some(group) = part.vg.into_iter().next() {
            groups.push(GroupStatistics {
                volumes: part.lv,
                disks: part.pv,
                ..group
            });
        }
    }
    LvmStatistics { groups }
}

fn text<'de, D: Deserializer<'de>>(column: D) -> Result<String, D::Error> {
    match Value::deserialize(column)? {
        Value::String(text) => Ok(text),
        _ => Ok(String::new()),
    }
}

fn number<'de, D: Deserializer<'de>>(column: D) -> Result<Option<u64>, D::Error> {
    text(column).map(|text| text.parse().ok())
}

/// Parses a percentage as LVM prints it: `12.34`.
fn ratio<'de, D: Deserializer<'de>>(column: D) -> Result<Option<Ratio>, D::Error> {
    text(column).map(|text| {
        let (whole, hundredths) = text.split_once('.')?;
        if hundredths.len() != 2 {
            return None;
        }
        let whole: u32 = whole.parse().ok()?;
        let hundredths: u32 = hundredths.parse().ok()?;
        Some(Ratio(whole.checked_mul(100)?.checked_add(hundredths)?))
    })
}

#[cfg(test)]
mod tests;
