//! Removal of LVs: of released ones and of those that were never used, and the LVs that are kept.

use crds::condition::{self, READY};
use kube::api::DeleteParams;
use operator::agent::volumes::plan::Content;
use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test]
async fn released_lv_is_removed_once_not_in_use() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let name = fixture.create_volume("data", 8).await;
    fixture.ready(&name).await;
    // Mounted without the agent's knowledge, and LVM's report is outdated: LVM itself refuses.
    fixture.node.state().groups[0].volumes[0].open = true;
    fixture.node.state().groups[0].volumes[0].content = Content::Data("ext4".to_owned());
    fixture.change(&name, json!({"state": "Absent"})).await;
    let object = fixture
        .wait_for_not_removed(&name, "InUse", "it is mounted at /mnt/data")
        .await;
    assert!(condition::is_true(
        &object.status.unwrap().conditions,
        READY
    ));
    fixture.quiet().await;
    assert!(fixture.node.volume(&name).is_some());
    fixture.node.state().groups[0].volumes[0].open = false;
    let status = fixture
        .wait_for_removed(&name, "Removed")
        .await
        .status
        .unwrap();
    assert_eq!(
        (fixture.node.volume(&name).is_none(), status.size),
        (true, None)
    );
    assert_eq!(fixture.node.count("look"), 0);
}

#[tokio::test]
async fn never_used_lv_is_removed_only_if_empty() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let unused = fixture.create_volume("unused", 8).await;
    let used = fixture.create_volume("used", 8).await;
    fixture.ready(&unused).await;
    fixture.ready(&used).await;
    fixture.node.change_volume(&used, |volume| {
        volume.content = Content::Data("xfs".to_owned());
    });
    for name in [&unused, &used] {
        fixture
            .change(name, json!({"state": "AbsentIfNeverUsed"}))
            .await;
    }
    fixture.wait_for_removed(&unused, "Removed").await;
    fixture
        .wait_for_not_removed(&used, "NotEmpty", "is not empty (xfs), so it is kept")
        .await;
    assert_eq!(
        (
            fixture.node.volume(&unused).is_none(),
            fixture.node.volume(&used).is_some()
        ),
        (true, true)
    );
}

#[tokio::test]
async fn deleting_object_keeps_lv() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let name = fixture.create_volume("data", 8).await;
    fixture.ready(&name).await;
    fixture
        .logical_volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let object = fixture
        .wait_for_not_removed(&name, "DeletionBlocked", "is kept")
        .await;
    assert!(condition::is_true(
        &object.status.unwrap().conditions,
        READY
    ));
    assert!(fixture.is_deleted(&name).await && fixture.node.volume(&name).is_some());
    assert_eq!(fixture.node.count("lvremove"), 0);
}

#[tokio::test]
async fn deleted_object_of_retained_volume_ends_once_admin_removes_lv_or_its_tag() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let removed = fixture.create_volume("removed", 8).await;
    let untagged = fixture.create_volume("untagged", 8).await;
    for name in [&removed, &untagged] {
        fixture.ready(name).await;
        fixture
            .change(name, json!({"reclaimPolicy": "Retain"}))
            .await;
        fixture
            .logical_volumes()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        fixture
            .wait_for_not_removed(name, "DeletionBlocked", "reclaim policy Retain keeps")
            .await;
    }
    fixture.node.change(|state| {
        state.groups[0]
            .volumes
            .retain(|volume| volume.name != removed);
    });
    fixture
        .node
        .change_volume(&untagged, |volume| volume.tags.clear());
    fixture.wait_for_removed(&removed, "Removed").await;
    fixture
        .wait_for_removed(&untagged, "ForeignLogicalVolume")
        .await;
    assert!(fixture.node.volume(&untagged).is_some());
    assert_eq!(fixture.node.count("lvremove"), 0);
}
