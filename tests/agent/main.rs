//! The agent against a real API server, with its own account's rights and simulated LVM: orders
//! become volumes, and go; whatever happens in between.

mod backends;
mod faults;
mod reports;
mod stage;
mod trouble;

use std::time::Duration;

use crds::condition::{self, READY, REMOVED};
use crds::quantity;
use harness::simulated::{EXTENT, Volume};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use operator::agent::volumes::plan::Content;
use serde_json::json;

use stage::{Stage, groups};

#[tokio::test]
async fn an_order_becomes_a_volume_with_one_command_and_one_write() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    stage
        .reports("the node is reported", |storage| storage.status.is_some())
        .await;
    let reports = stage.node.count("fullreport");
    let name = stage.order("data", 8).await;
    let object = stage.ready(&name).await;
    let volume = stage.node.volume(&name).unwrap();
    assert_eq!(volume.extents, 8);
    let key = host::Key::new("00000000000000000000000000000000")
        .unwrap()
        .digest();
    assert_eq!(
        volume.tags,
        [
            stage.tag("data"),
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
        (stage.node.count("lvcreate"), stage.node.count("look")),
        (1, 0)
    );
    assert_eq!(
        stage.node.count("fullreport"),
        reports,
        "the report before is enough"
    );
    stage.quiet().await;
    assert_eq!(stage.writes(&name), ["patch logicalvolumes/status"]);
}

#[tokio::test]
async fn a_volume_that_is_somebody_elses_is_left_alone() {
    let stage = Stage::new(100).await;
    let name = stage.volume("data");
    let foreign = Volume {
        name: name.clone(),
        uuid: "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP".to_owned(),
        extents: 20,
        tags: vec!["mine".to_owned()],
        open: false,
        content: Content::Data("ext4".to_owned()),
    };
    stage
        .node
        .change(|state| state.groups[0].volumes.push(foreign));
    let _agent = stage.agent();
    stage.order("data", 8).await;
    stage
        .says(
            &name,
            READY,
            "False",
            "ForeignLogicalVolume",
            &format!("lacks the tag {}", stage.tag("data")),
        )
        .await;
    stage
        .change(&name, json!({"state": "AbsentIfNeverUsed"}))
        .await;
    stage.says(&name, REMOVED, "True", "NeverCreated", "").await;
    stage.change(&name, json!({"state": "Absent"})).await;
    stage.quiet().await;
    let volume = stage.node.volume(&name).unwrap();
    assert_eq!(
        (volume.extents, volume.content),
        (20, Content::Data("ext4".to_owned()))
    );
    assert!(
        !stage
            .node
            .state()
            .verbs
            .iter()
            .any(|verb| verb.starts_with("lv") || verb == "mark")
    );
}

#[tokio::test]
async fn an_order_waits_for_its_volume_group() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let name = stage.order_on("data", json!({"volumeGroup": "vg1"})).await;
    let words = format!("there is no volume group vg1 on {}", stage.name);
    stage
        .says(&name, READY, "False", "VolumeGroupMissing", &words)
        .await;
    stage.node.add_group("vg1", 100);
    stage.node.change(|state| state.groups[1].exported = true);
    stage
        .says(
            &name,
            READY,
            "False",
            "VolumeGroupUnusable",
            "it is exported; vgimport brings it back",
        )
        .await;
    let report = stage
        .reports("vg1 is there", |storage| groups(storage).len() == 2)
        .await;
    assert_eq!(
        groups(&report)[1].unusable_reason.as_deref(),
        Some("it is exported; vgimport brings it back")
    );
    stage.node.change(|state| state.groups[1].exported = false);
    stage.ready(&name).await;
}

#[tokio::test]
async fn what_does_not_fit_says_so_with_numbers_and_is_made_when_it_does() {
    let stage = Stage::new(10).await;
    let _agent = stage.agent();
    let name = stage.order("data", 12).await;
    let words = format!(
        "no space in volume group vg0 on {}: 40 MiB free, 48 MiB wanted",
        stage.name
    );
    stage
        .says(&name, READY, "False", "InsufficientSpace", &words)
        .await;
    stage.node.change(|state| state.groups[0].extents = 20);
    stage.ready(&name).await;

    stage.change(&name, json!({"size": "100Mi"})).await;
    let object = stage
        .says(
            &name,
            READY,
            "False",
            "InsufficientSpace",
            "32 MiB free, 52 MiB more wanted",
        )
        .await;
    assert_eq!(
        object.status.unwrap().size.unwrap().0,
        "48Mi",
        "the volume is as usable as before"
    );
    stage.node.change(|state| state.groups[0].extents = 200);
    let object = stage.ready(&name).await;
    assert_eq!(
        (
            object.status.unwrap().size.unwrap().0.as_str(),
            stage.node.count("lvextend")
        ),
        ("100Mi", 1)
    );
}

#[tokio::test]
async fn a_released_volume_is_removed_once_nobody_has_it_open() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let name = stage.order("data", 8).await;
    stage.ready(&name).await;
    // Mounted behind our back, and LVM's report is out of date: LVM itself refuses.
    stage.node.state().groups[0].volumes[0].open = true;
    stage.node.state().groups[0].volumes[0].content = Content::Data("ext4".to_owned());
    stage.change(&name, json!({"state": "Absent"})).await;
    let object = stage
        .says(
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
    stage.quiet().await;
    assert!(stage.node.volume(&name).is_some());
    stage.node.state().groups[0].volumes[0].open = false;
    let status = stage
        .says(&name, REMOVED, "True", "Removed", "")
        .await
        .status
        .unwrap();
    assert_eq!(
        (stage.node.volume(&name).is_none(), status.size),
        (true, None)
    );
    assert_eq!(stage.node.count("look"), 0);
}

#[tokio::test]
async fn a_volume_that_was_not_to_be_used_is_removed_only_if_it_was_not() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let (unused, used) = (stage.order("unused", 8).await, stage.order("used", 8).await);
    stage.ready(&unused).await;
    stage.ready(&used).await;
    stage.node.change_volume(&used, |volume| {
        volume.content = Content::Data("xfs".to_owned())
    });
    for name in [&unused, &used] {
        stage
            .change(name, json!({"state": "AbsentIfNeverUsed"}))
            .await;
    }
    stage.says(&unused, REMOVED, "True", "Removed", "").await;
    stage
        .says(
            &used,
            REMOVED,
            "False",
            "NotEmpty",
            "is not empty (xfs), so it is kept",
        )
        .await;
    assert_eq!(
        (
            stage.node.volume(&unused).is_none(),
            stage.node.volume(&used).is_some()
        ),
        (true, true)
    );
}

#[tokio::test]
async fn deleting_the_object_removes_nothing() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let name = stage.order("data", 8).await;
    stage.ready(&name).await;
    stage
        .logical_volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let object = stage
        .says(&name, REMOVED, "False", "DeletionBlocked", "is kept")
        .await;
    assert!(condition::is_true(
        &object.status.unwrap().conditions,
        READY
    ));
    assert!(stage.is_deleted(&name).await && stage.node.volume(&name).is_some());
    assert_eq!(stage.node.count("lvremove"), 0);
}

#[tokio::test]
async fn a_volume_that_vanished_is_missed_and_not_made_anew() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let name = stage.order("data", 8).await;
    stage.ready(&name).await;
    let gone = stage.node.change(|state| state.groups[0].volumes.remove(0));
    stage
        .says(
            &name,
            READY,
            "False",
            "LogicalVolumeMissing",
            "not made anew",
        )
        .await;
    assert_eq!(stage.node.count("lvcreate"), 1);
    stage
        .node
        .change(|state| state.groups[0].volumes.push(gone));
    stage.ready(&name).await;
}

#[tokio::test]
async fn only_orders_for_this_node_that_can_be_carried_out_are() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    stage.order_on("other", json!({"node": "elsewhere"})).await;
    let small = stage.order_on("small", json!({"size": "1Ki"})).await;
    stage
        .says(
            &small,
            READY,
            "False",
            "InvalidSpec",
            "spec.size: 1 KiB is too small",
        )
        .await;
    stage
        .change(&small, json!({"state": "AbsentIfNeverUsed"}))
        .await;
    stage
        .says(&small, REMOVED, "True", "NeverCreated", "")
        .await;
    stage.quiet().await;
    assert_eq!(stage.node.count("lvcreate"), 0);
    assert_eq!(stage.writes(&stage.volume("other")), [""; 0]);
}

#[tokio::test]
async fn fifty_orders_cost_fifty_commands_and_fifty_writes() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    stage
        .reports("the node is reported", |storage| storage.status.is_some())
        .await;
    let reports = stage.node.count("fullreport");
    for number in 0..50 {
        stage.order(&format!("v{number}"), 2).await;
    }
    for number in 0..50 {
        stage.ready(&stage.volume(&format!("v{number}"))).await;
    }
    assert_eq!(stage.node.count("lvcreate"), 50);
    let reports = stage.node.count("fullreport") - reports;
    assert!(reports <= 5, "{reports} reports");
    let reports = stage.node.count("fullreport");
    // Real commands take their time.
    stage.node.hook(|_, after| {
        if !after {
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    });
    for number in 0..50 {
        stage
            .change(
                &stage.volume(&format!("v{number}")),
                json!({"state": "Absent"}),
            )
            .await;
    }
    for number in 0..50 {
        stage
            .says(
                &stage.volume(&format!("v{number}")),
                REMOVED,
                "True",
                "Removed",
                "",
            )
            .await;
    }
    assert_eq!(
        (
            stage.node.count("lvremove"),
            stage.node.state().groups[0].volumes.len()
        ),
        (50, 0)
    );
    assert_eq!(stage.writes(&stage.volume("v")).len(), 100);
    let reports = stage.node.count("fullreport") - reports;
    assert!(
        reports <= 25,
        "{reports} reports: those who wait for one share it"
    );
}

#[tokio::test]
async fn those_who_wait_cost_nothing() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    for number in 0..30 {
        stage
            .order_on(&format!("v{number}"), json!({"volumeGroup": "vg1"}))
            .await;
    }
    for number in 0..30 {
        stage
            .says(
                &stage.volume(&format!("v{number}")),
                READY,
                "False",
                "VolumeGroupMissing",
                "",
            )
            .await;
    }
    stage.quiet().await;
    let reports = stage.node.count("fullreport");
    stage.node.change(|state| state.groups[0].extents = 120);
    stage.quiet().await;
    stage.quiet().await;
    let reports = stage.node.count("fullreport") - reports;
    assert!((1..=3).contains(&reports), "{reports} reports");
    assert_eq!(stage.writes(&stage.volume("v")).len(), 30);
}

#[tokio::test]
async fn an_agent_may_write_reports_and_nothing_else() {
    let stage = Stage::new(100).await;
    let name = stage.order("data", 8).await;
    let client = stage.agents_client().await;
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
        .patch(&stage.name, &PatchParams::default(), &label)
        .await
        .map(drop);
    for refused in [spec, finalizers, create, delete, backend, numbers, node] {
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
    }
    // Through the status alone the spec can't be reached either.
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
fn the_simulated_extents_are_as_large_as_the_tests_say() {
    assert_eq!(quantity::format(EXTENT).0, "4Mi");
}
