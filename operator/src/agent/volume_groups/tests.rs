//! The node's report of missing volume groups.

use crds::NodeStorageStatus;
use crds::node_storage::AuditCounts;
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

/// Otherwise the controller would place the claim anew, empty, while a disk is away.
#[test]
fn orphans_of_a_missing_group_stay_until_it_is_back() {
    let orphans = |uids: &[&str]| {
        let all = uids.iter().map(
            |uid| json!({"claimUid": uid, "volumeGroup": "vg0", "name": format!("pvc-{uid}")}),
        );
        serde_json::from_value(all.collect()).unwrap()
    };
    let mut old = status(&["vg0", "vg1"], &[]);
    old.orphans = orphans(&["a", "b"]);
    for _ in 0..2 {
        let mut away = status(&["vg1"], &[]);
        away.audit = Some(AuditCounts::default());
        note(&mut away, &old, None);
        assert_eq!(away.orphans, old.orphans);
        assert_eq!(away.audit.unwrap().orphaned, 2);
        old = away;
    }
    // LVM's report failed, so that the status is still the former one.
    let mut unchanged = old.clone();
    note(&mut unchanged, &old, None);
    assert_eq!(unchanged, old);

    let mut back = status(&["vg0", "vg1"], &[]);
    back.orphans = orphans(&["b"]);
    note(&mut back, &old, None);
    assert_eq!(back.orphans, orphans(&["b"]));
    // An admin deleted the NodeStorage: the group is gone for good.
    let mut cleared = status(&["vg1"], &[]);
    note(&mut cleared, &NodeStorageStatus::default(), None);
    assert!(cleared.orphans.is_empty());
}
