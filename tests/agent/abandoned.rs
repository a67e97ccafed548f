//! A node that returns after its claims were released: its volumes are listed and left alone.

use crds::condition::{self, HEALTHY};
use crds::node_storage::{AuditCounts, DeviationKind};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt as _};
use operator::agent::volumes::plan::Content;
use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test]
async fn returned_node_lists_abandoned_volume_and_keeps_its_data_and_space() {
    let fixture = Fixture::new(100).await;
    let agent = fixture.agent();
    let name = fixture.create_volume("left", 8).await;
    fixture.ready(&name).await;
    fixture.node.change_volume(&name, |volume| {
        volume.content = Content::Data("ext4".to_owned());
    });
    let before = fixture.node.volume(&name).unwrap();
    drop(agent);
    fixture.change(&name, json!({"state": "Abandoned"})).await;
    let _agent = fixture.agent();
    let object = fixture
        .wait_for_not_ready(&name, "Abandoned", "it is kept with its data, and not used")
        .await;
    let status = object.status.unwrap();
    assert_eq!(status.uuid.as_deref(), Some(before.uuid.as_str()));
    assert!(condition::is_true(&status.conditions, HEALTHY));
    let report = fixture
        .wait_for_report("it is listed", |storage| {
            let status = storage.status.as_ref();
            status.is_some_and(|status| !status.deviations.is_empty())
        })
        .await
        .status
        .unwrap();
    let listed = &report.deviations[0];
    assert_eq!(
        (listed.kind, listed.name.as_str(), listed.claim.as_deref()),
        (
            DeviationKind::Abandoned,
            name.as_str(),
            Some("default/left")
        )
    );
    let counts = AuditCounts {
        abandoned: 1,
        ..AuditCounts::default()
    };
    assert_eq!(report.audit, Some(counts));
    // Its reservation still counts, so it does not count as used by others.
    assert_eq!(report.volume_groups[0].used_by_others.0, "0");
    assert_eq!(report.orphans, []);
    fixture.quiet().await;
    let now = fixture.node.volume(&name).unwrap();
    assert_eq!((now.uuid, now.content), (before.uuid, before.content));
    assert_eq!(fixture.node.count("lvremove"), 0);

    // An admin removes it with its data.
    fixture.change(&name, json!({"state": "Absent"})).await;
    fixture.wait_for_removed(&name, "Removed").await;
    assert!(fixture.node.volume(&name).is_none());
}

#[tokio::test]
async fn abandoned_volume_ends_once_its_group_is_there_without_it() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let name = fixture.create_volume("wiped", 8).await;
    fixture.ready(&name).await;
    let groups = std::mem::take(&mut fixture.node.state().groups);
    fixture.change(&name, json!({"state": "Abandoned"})).await;
    fixture
        .wait_for_not_ready(&name, "VolumeGroupMissing", "may still exist")
        .await;
    // The node was installed anew, with an empty group.
    fixture.node.change(|state| {
        state.groups = groups;
        state.groups[0].volumes.clear();
    });
    fixture.wait_for_removed(&name, "Removed").await;
}

#[tokio::test]
async fn status_names_the_node_object_on_which_the_volume_was_found() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture.wait_for_first_report().await;
    let name = fixture.create_volume("found", 8).await;
    let status = fixture.ready(&name).await.status.unwrap();
    let nodes: Api<Node> = Api::all(fixture.client.clone());
    let node = nodes.get(&fixture.name).await.unwrap();
    assert_eq!(status.node_uid, node.uid());
}
