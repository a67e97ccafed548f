//! The node's report of missing volume groups.

use crds::NodeStorageStatus;
use serde_json::json;

use super::note;

fn status(groups: &[&str], missing: &[&str]) -> NodeStorageStatus {
    let groups: Vec<_> = groups
        .iter()
        .map(|name| json!({"name": name, "uuid": "u", "size": "1Gi", "extentSize": "4Mi", "usedByOthers": "0", "free": "1Gi"}))
        .collect();
    serde_json::from_value(json!({"volumeGroups": groups, "missingVolumeGroups": missing})).unwrap()
}

#[test]
fn missing_group_is_reported_until_it_is_back() {
    let missing = |old: &NodeStorageStatus, now: &[&str]| {
        let mut new = status(now, &[]);
        note(&mut new, old, None);
        new.missing_volume_groups
    };
    assert!(missing(&status(&[], &[]), &["vg0"]).is_empty());
    assert_eq!(missing(&status(&["vg0", "vg1"], &[]), &["vg1"]), ["vg0"]);
    assert_eq!(missing(&status(&["vg1"], &["vg0"]), &["vg1"]), ["vg0"]);
    assert_eq!(missing(&status(&["vg1"], &["vg0"]), &["vg0"]), ["vg1"]);
}
