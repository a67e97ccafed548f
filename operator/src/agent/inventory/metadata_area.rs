//! Volume groups whose metadata area has no space for another volume. Pure.
//!
//! LVM writes the text of all volumes into each metadata area, of which one text may use half: some
//! 700 volumes fit into the default of 1 MiB, however large the disks are. With a full area LVM
//! refuses `lvcreate`, so without this reason the group's free space would attract every claim.

use crds::node_storage::NodeStorageStatus;
use host::lvm::LvmStatistics;
use host::lvm::statistics::GroupStatistics;

/// Free bytes of a metadata area below which no volume is placed in the group. The text of a linear
/// volume with the tags of a claim takes up to 1.2 KiB, that of a RAID several times as much.
const LEAST: u64 = 8 << 10;

/// Adds the reason to each group that is usable otherwise.
pub(super) fn note(status: &mut NodeStorageStatus, statistics: &LvmStatistics) {
    for group in &mut status.volume_groups {
        let mut reported = statistics
            .groups
            .iter()
            .filter(|reported| reported.name == group.name);
        if group.unusable_reason.is_none()
            && let Some(free) = reported.find_map(free_if_full)
        {
            group.unusable_reason = Some(format!(
                "its metadata area is full: {free} bytes are free, but a volume needs up to {LEAST}; remove \
                 volumes, or add a disk with a larger area (`pvcreate --metadatasize`) and have LVM ignore \
                 the small ones (`pvchange --metadataignore y`)"
            ));
        }
    }
}

/// Returns the free bytes of the group's fullest metadata area, if they are too few.
fn free_if_full(group: &GroupStatistics) -> Option<u64> {
    // Without an area in use LVM reports 0.
    group.used_metadata_areas.filter(|areas| *areas > 0)?;
    group.metadata_free.filter(|free| *free < LEAST)
}

#[cfg(test)]
mod tests {
    use super::note;
    use crds::node_storage::NodeStorageStatus;
    use host::lvm::LvmStatistics;
    use host::lvm::statistics::GroupStatistics;
    use serde_json::json;

    fn reason(areas: u64, free: Option<u64>, known: Option<&str>) -> Option<String> {
        let mut status: NodeStorageStatus = serde_json::from_value(json!({"volumeGroups": [
            {"name": "vg0", "uuid": "u", "size": "1Gi", "extentSize": "4Mi", "usedByOthers": "0",
                "free": "1Gi", "unusableReason": known}]}))
        .unwrap();
        let group = GroupStatistics {
            name: "vg0".to_owned(),
            used_metadata_areas: Some(areas),
            metadata_free: free,
            ..GroupStatistics::default()
        };
        let groups = vec![group];
        note(&mut status, &LvmStatistics { groups });
        status.volume_groups[0].unusable_reason.clone()
    }

    #[test]
    fn only_full_metadata_area_makes_group_unusable() {
        let full = reason(1, Some(512), None).unwrap();
        assert!(full.contains("512 bytes are free"), "{full}");
        for (areas, free) in [(1, Some(8192)), (0, Some(0)), (1, None)] {
            assert_eq!(reason(areas, free, None), None, "{areas} {free:?}");
        }
        assert_eq!(
            reason(1, Some(0), Some("it is exported")).as_deref(),
            Some("it is exported")
        );
    }
}
