//! What the report keeps of volume groups that are gone.

use crds::NodeStorageStatus;
use serde_json::json;

use super::note;

fn status(groups: &[&str], missing: &[&str]) -> NodeStorageStatus {
    let group = |name: &&str| json!({"name": name, "uuid": "u", "size": "1Gi", "extentSize": "4Mi", "usedByOthers": "0", "free": "1Gi"});
    let groups: Vec<_> = groups.iter().map(group).collect();
    serde_json::from_value(json!({"volumeGroups": groups, "missingVolumeGroups": missing})).unwrap()
}

#[test]
fn a_group_that_was_reported_stays_known_until_it_is_back() {
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
