//! The agent against a real API server, with its own account's rights and simulated LVM: from
//! LogicalVolume objects to LVs and their removal, with failures at each step.

mod backends;
mod failures;
mod faults;
mod fixture;
mod policy;
mod reports;

use std::time::Duration;

use crds::condition::{self, READY, REMOVED};
use crds::quantity;
use harness::simulated::{EXTENT, Volume};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use operator::agent::volumes::plan::Content;
use serde_json::json;

use fixture::{Fixture, groups};

#[tokio::test]
async fn agent_creates_lv_with_one_command_and_one_write() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture
        .wait_for_report("the node is reported", |storage| storage.status.is_some())
        .await;
    let reports = fixture.node.count("fullreport");
    let name = fixture.create_volume("data", 8).await;
    let object = fixture.ready(&name).await;
    let volume = fixture.node.volume(&name).unwrap();
    assert_eq!(volume.extents, 8);
    let key = host::Key::new("00000000000000000000000000000000")
        .unwrap()
        .digest();
    assert_eq!(
        volume.tags,
        [
            fixture.tag("data"),
            "flexlvm.dev/claim=default/data".to_owned(),
            key.tag()
        ]
    );
    assert_eq!(volume.content, Content::Unformatted);
    let status = object.status.unwrap();
    assert_eq!(
        (status.uuid, status.size.unwrap().0),
        (Some(volume.uuid), "32Mi".to_owned())
    );
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(
        (fixture.node.count("lvcreate"), fixture.node.count("look")),
        (1, 0)
    );
    assert_eq!(
        fixture.node.count("fullreport"),
        reports,
        "the report from before suffices"
    );
    fixture.quiet().await;
    assert_eq!(fixture.writes(&name), ["patch logicalvolumes/status"]);
}

#[tokio::test]
async fn agent_leaves_foreign_lv_unchanged() {
    let fixture = Fixture::new(100).await;
    let name = fixture.volume("data");
    let foreign = Volume {
        name: name.clone(),
        uuid: "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP".to_owned(),
        extents: 20,
        tags: vec!["mine".to_owned()],
        open: false,
        content: Content::Data("ext4".to_owned()),
    };
    fixture
        .node
        .change(|state| state.groups[0].volumes.push(foreign));
    let _agent = fixture.agent();
    fixture.create_volume("data", 8).await;
    fixture
        .wait_for_condition(
            &name,
            READY,
            "False",
            "ForeignLogicalVolume",
            &format!("lacks the tag {}", fixture.tag("data")),
        )
        .await;
    fixture
        .change(&name, json!({"state": "AbsentIfNeverUsed"}))
        .await;
    fixture
        .wait_for_condition(&name, REMOVED, "True", "NeverCreated", "")
        .await;
    fixture.change(&name, json!({"state": "Absent"})).await;
    fixture.quiet().await;
    let volume = fixture.node.volume(&name).unwrap();
    assert_eq!(
        (volume.extents, volume.content),
        (20, Content::Data("ext4".to_owned()))
    );
    assert!(
        !fixture
            .node
            .state()
            .verbs
            .iter()
            .any(|verb| verb.starts_with("lv") || verb == "mark")
    );
}

#[tokio::test]
async fn volume_waits_for_its_volume_group() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let name = fixture
        .create_volume_with("data", json!({"volumeGroup": "vg1"}))
        .await;
    let words = format!("{} has no volume group vg1", fixture.name);
    fixture
        .wait_for_condition(&name, READY, "False", "VolumeGroupMissing", &words)
        .await;
    fixture.node.add_group("vg1", 100);
    fixture.node.change(|state| state.groups[1].exported = true);
    fixture
        .wait_for_condition(
            &name,
            READY,
            "False",
            "VolumeGroupUnusable",
            "it is exported; vgimport brings it back",
        )
        .await;
    let report = fixture
        .wait_for_report("vg1 is reported", |storage| groups(storage).len() == 2)
        .await;
    assert_eq!(
        groups(&report)[1].unusable_reason.as_deref(),
        Some("it is exported; vgimport brings it back")
    );
    fixture
        .node
        .change(|state| state.groups[1].exported = false);
    fixture.ready(&name).await;
}

#[tokio::test]
async fn lack_of_space_is_reported_with_numbers_and_lv_created_later() {
    let fixture = Fixture::new(10).await;
    let _agent = fixture.agent();
    let name = fixture.create_volume("data", 12).await;
    let words = format!(
        "no space in volume group vg0 on {}: 40 MiB free, 48 MiB needed",
        fixture.name
    );
    fixture
        .wait_for_condition(&name, READY, "False", "InsufficientSpace", &words)
        .await;
    fixture.node.change(|state| state.groups[0].extents = 20);
    fixture.ready(&name).await;

    fixture.change(&name, json!({"size": "100Mi"})).await;
    let object = fixture
        .wait_for_condition(
            &name,
            READY,
            "False",
            "InsufficientSpace",
            "32 MiB free, 52 MiB more needed",
        )
        .await;
    assert_eq!(
        object.status.unwrap().size.unwrap().0,
        "48Mi",
        "the volume stays usable"
    );
    fixture.node.change(|state| state.groups[0].extents = 200);
    let object = fixture.ready(&name).await;
    assert_eq!(
        (
            object.status.unwrap().size.unwrap().0.as_str(),
            fixture.node.count("lvextend")
        ),
        ("100Mi", 1)
    );
}

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
        .wait_for_condition(
            &name,
            REMOVED,
            "False",
            "InUse",
            "it is mounted at /mnt/data",
        )
        .await;
    assert!(condition::is_true(
        &object.status.unwrap().conditions,
        READY
    ));
    fixture.quiet().await;
    assert!(fixture.node.volume(&name).is_some());
    fixture.node.state().groups[0].volumes[0].open = false;
    let status = fixture
        .wait_for_condition(&name, REMOVED, "True", "Removed", "")
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
    fixture
        .wait_for_condition(&unused, REMOVED, "True", "Removed", "")
        .await;
    fixture
        .wait_for_condition(
            &used,
            REMOVED,
            "False",
            "NotEmpty",
            "is not empty (xfs), so it is kept",
        )
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
        .wait_for_condition(&name, REMOVED, "False", "DeletionBlocked", "is kept")
        .await;
    assert!(condition::is_true(
        &object.status.unwrap().conditions,
        READY
    ));
    assert!(fixture.is_deleted(&name).await && fixture.node.volume(&name).is_some());
    assert_eq!(fixture.node.count("lvremove"), 0);
}

#[tokio::test]
async fn vanished_lv_is_reported_and_not_recreated() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let name = fixture.create_volume("data", 8).await;
    fixture.ready(&name).await;
    let gone = fixture
        .node
        .change(|state| state.groups[0].volumes.remove(0));
    fixture
        .wait_for_condition(
            &name,
            READY,
            "False",
            "LogicalVolumeMissing",
            "not recreated",
        )
        .await;
    assert_eq!(fixture.node.count("lvcreate"), 1);
    fixture
        .node
        .change(|state| state.groups[0].volumes.push(gone));
    fixture.ready(&name).await;
}

#[tokio::test]
async fn agent_creates_only_valid_volumes_of_its_node() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture
        .create_volume_with("other", json!({"node": "elsewhere"}))
        .await;
    let small = fixture
        .create_volume_with("small", json!({"size": "1Ki"}))
        .await;
    fixture
        .wait_for_condition(
            &small,
            READY,
            "False",
            "InvalidSpec",
            "spec.size: 1 KiB is too small",
        )
        .await;
    fixture
        .change(&small, json!({"state": "AbsentIfNeverUsed"}))
        .await;
    fixture
        .wait_for_condition(&small, REMOVED, "True", "NeverCreated", "")
        .await;
    fixture.quiet().await;
    assert_eq!(fixture.node.count("lvcreate"), 0);
    assert_eq!(fixture.writes(&fixture.volume("other")), [""; 0]);
}

#[tokio::test]
async fn fifty_volumes_cost_fifty_commands_and_fifty_writes() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture
        .wait_for_report("the node is reported", |storage| storage.status.is_some())
        .await;
    let reports = fixture.node.count("fullreport");
    for number in 0..50 {
        fixture.create_volume(&format!("v{number}"), 2).await;
    }
    for number in 0..50 {
        fixture.ready(&fixture.volume(&format!("v{number}"))).await;
    }
    assert_eq!(fixture.node.count("lvcreate"), 50);
    let reports = fixture.node.count("fullreport") - reports;
    assert!(reports <= 5, "{reports} reports");
    let reports = fixture.node.count("fullreport");
    // Slows the commands down to a realistic duration.
    fixture.node.hook(|_, after| {
        if !after {
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    });
    for number in 0..50 {
        fixture
            .change(
                &fixture.volume(&format!("v{number}")),
                json!({"state": "Absent"}),
            )
            .await;
    }
    for number in 0..50 {
        fixture
            .wait_for_condition(
                &fixture.volume(&format!("v{number}")),
                REMOVED,
                "True",
                "Removed",
                "",
            )
            .await;
    }
    assert_eq!(
        (
            fixture.node.count("lvremove"),
            fixture.node.state().groups[0].volumes.len()
        ),
        (50, 0)
    );
    assert_eq!(fixture.writes(&fixture.volume("v")).len(), 100);
    let reports = fixture.node.count("fullreport") - reports;
    assert!(
        reports <= 25,
        "{reports} reports: waiting tasks share one report"
    );
}

#[tokio::test]
async fn waiting_volumes_cause_no_writes_or_commands() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    for number in 0..30 {
        fixture
            .create_volume_with(&format!("v{number}"), json!({"volumeGroup": "vg1"}))
            .await;
    }
    for number in 0..30 {
        fixture
            .wait_for_condition(
                &fixture.volume(&format!("v{number}")),
                READY,
                "False",
                "VolumeGroupMissing",
                "",
            )
            .await;
    }
    fixture.quiet().await;
    let reports = fixture.node.count("fullreport");
    fixture.node.change(|state| state.groups[0].extents = 120);
    fixture.quiet().await;
    fixture.quiet().await;
    let reports = fixture.node.count("fullreport") - reports;
    assert!((1..=3).contains(&reports), "{reports} reports");
    assert_eq!(fixture.writes(&fixture.volume("v")).len(), 30);
}

#[tokio::test]
async fn agent_account_may_write_only_reports() {
    let fixture = Fixture::new(100).await;
    let name = fixture.create_volume("data", 8).await;
    let client = fixture.agents_client().await;
    let volumes: kube::Api<crds::LogicalVolume> = kube::Api::all(client.clone());
    let object = volumes.get(&name).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"state": "Absent"}}));
    let spec = volumes
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .map(drop);
    let finalizers = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let finalizers = volumes
        .patch(&name, &PatchParams::default(), &finalizers)
        .await
        .map(drop);
    let create = volumes
        .create(&PostParams::default(), &object)
        .await
        .map(drop);
    let delete = volumes
        .delete(&name, &DeleteParams::default())
        .await
        .map(drop);
    let backends: kube::Api<crds::StorageBackend> = kube::Api::all(client.clone());
    let patch = Patch::Merge(json!({"spec": {"reserve": "1Gi"}}));
    let backend = backends
        .patch("b", &PatchParams::default(), &patch)
        .await
        .map(drop);
    let numbers = Patch::Merge(json!({"status": {"volumes": 1}}));
    let numbers = backends
        .patch_status("b", &PatchParams::default(), &numbers)
        .await
        .map(drop);
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client);
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let node = nodes
        .patch(&fixture.name, &PatchParams::default(), &label)
        .await
        .map(drop);
    for refused in [spec, finalizers, create, delete, backend, numbers, node] {
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
    }
    // The status subresource gives no access to the spec either.
    let sneak = Patch::Merge(
        json!({"spec": {"state": "Absent"}, "metadata": {"finalizers": null}, "status": {}}),
    );
    volumes
        .patch_status(&name, &PatchParams::default(), &sneak)
        .await
        .unwrap();
    let after = volumes.get(&name).await.unwrap();
    assert_eq!(
        (after.spec, after.metadata.finalizers),
        (object.spec, object.metadata.finalizers)
    );
}

#[test]
fn simulated_extent_size_matches_the_tests() {
    assert_eq!(quantity::format(EXTENT).0, "4Mi");
}
