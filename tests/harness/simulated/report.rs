//! The JSON of `lvm fullreport` for a simulated node.

use serde_json::{Value, json};

use super::state::{Group, State};
use super::{EXTENT, disk};

impl State {
    /// Returns the report of all volume groups.
    pub(super) fn report(&self) -> String {
        let parts: Vec<Value> = self
            .groups
            .iter()
            .map(|group| group.report(self.seqno(&group.name)))
            .collect();
        json!({"report": parts}).to_string()
    }
}

impl Group {
    fn report(&self, seqno: u64) -> Value {
        let volumes = self.volumes.iter().map(|volume| {
            let open = if volume.open { 'o' } else { '-' };
            json!({
                "lv_name": volume.name, "lv_uuid": volume.uuid, "lv_attr": format!("-wi-a{open}----"),
                "lv_size": (volume.extents * EXTENT).to_string(), "lv_tags": volume.tags.join(","),
                "pool_lv": "", "data_percent": "", "metadata_percent": "", "lv_metadata_size": "",
                "lv_layout": "linear", "lv_permissions": "writeable", "lv_health_status": "", "lv_when_full": "",
                "snap_percent": "", "raid_sync_action": "", "sync_percent": "", "raid_mismatch_count": "",
            })
        });
        let exported = if self.exported { 'x' } else { '-' };
        let disk = disk_of(&self.name);
        json!({"vg": [{
            "vg_name": self.name, "vg_uuid": uuid_of(&self.name), "vg_attr": format!("wz{exported}-n-"),
            "vg_extent_size": EXTENT.to_string(), "vg_extent_count": self.extents.to_string(),
            "vg_free_count": self.free().to_string(), "vg_missing_pv_count": "0", "vg_systemid": "", "vg_lock_type": "", "vg_seqno": seqno.to_string(),
            "max_lv": self.max_lv.to_string(), "max_pv": "0", "snap_count": "0", "vg_mda_count": "1", "vg_mda_used_count": "1",
            "vg_mda_size": "1044480", "vg_mda_free": "521216", "vg_permissions": "writeable", "vg_allocation_policy": "normal",
        }], "pv": [{
            "pv_name": format!("/dev/{}", disk::name(&self.name)), "pv_uuid": disk, "pv_attr": format!("a{exported}-"),
            "pv_pe_count": self.extents.to_string(), "pv_pe_alloc_count": (self.extents - self.free()).to_string(),
            "dev_size": ((self.extents + 1) * EXTENT).to_string(), "pv_mda_size": "1044480", "pv_mda_free": "521216",
        }], "lv": volumes.collect::<Vec<_>>(), "pvseg": self.segments(&disk)})
    }

    /// Returns the segments of the group's disk: one for each volume, and the free space.
    fn segments(&self, disk: &str) -> Vec<Value> {
        let mut used: Vec<(&str, u64)> = Vec::new();
        for volume in &self.volumes {
            used.push((&volume.name, volume.extents));
        }
        used.push(("", self.free()));
        used.into_iter()
            .map(|(name, extents)| {
                json!({"pv_uuid": disk, "pvseg_size": extents.to_string(), "lv_name": name})
            })
            .collect()
    }
}

/// Returns LVM's uuid of the one disk of a group.
#[must_use]
pub fn disk_of(group: &str) -> String {
    uuid_of(&format!("disk of {group}"))
}

pub(super) fn uuid_of(name: &str) -> String {
    let digits = format!("{:016x}", crds::hash(name));
    format!(
        "{}-{}-{}-4444-4444-4444-666666",
        &digits[..6],
        &digits[6..10],
        &digits[10..14]
    )
}
