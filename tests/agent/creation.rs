//! LogicalVolumes to LVs: created, grown, or reported as impossible.

use std::sync::mpsc;

use crds::quantity;
use harness::simulated::{EXTENT, Volume};
use harness::wait;
use host::Error;
use operator::agent::volumes::plan::Content;
use serde_json::json;

use crate::fixture::{Fixture, LIMIT, groups};

#[tokio::test]
async fn agent_creates_lv_with_one_command_and_one_write() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture.wait_for_first_report().await;
    // Before the first volume, no tag shows that the agent allocates in the group.
    let first = fixture.create_volume("first", 1).await;
    fixture.ready(&first).await;
    let [reports, created] = ["fullreport", "lvcreate"].map(|verb| fixture.node.count(verb));
    let name = fixture.create_volume("data", 8).await;
    let object = fixture.ready(&name).await;
    let volume = fixture.node.volume(&name).unwrap();
    assert_eq!(volume.extents, 8);
    let key = host::Key::new("00000000000000000000000000000000")
        .unwrap()
        .digest();
    let uid = object.metadata.uid.unwrap();
    assert_eq!(
        volume.tags,
        [
            fixture.tag("data"),
            format!("flexlvm.dev/logicalvolume-uid={uid}"),
            "flexlvm.dev/claim=default/data".to_owned(),
            key.tag(),
            "flexlvm.dev/volume=backend=b:class=s:fs=ext4:size=33554432".to_owned(),
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
        (created + 1, 0)
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
async fn agent_creates_next_lv_while_it_zeroes_the_last() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture.wait_for_first_report().await;
    let (gate, opened) = mpsc::channel::<()>();
    fixture.node.hook(move |run, after| {
        if run == "mark" && !after {
            let _ = opened.recv();
        }
        Ok(())
    });
    let first = fixture.create_volume("first", 8).await;
    wait::until("the first LV exists", LIMIT, async || {
        Ok(fixture.node.volume(&first))
    })
    .await
    .unwrap();
    let second = fixture.create_volume("second", 8).await;
    wait::until("the second LV exists", LIMIT, async || {
        Ok(fixture.node.volume(&second))
    })
    .await
    .unwrap();
    let zeroed = fixture.node.volume(&first).unwrap();
    assert_ne!(zeroed.content, Content::Unformatted, "it has no marker yet");
    drop(gate);
    for name in [first, second] {
        fixture.ready(&name).await;
        let volume = fixture.node.volume(&name).unwrap();
        assert_eq!(volume.content, Content::Unformatted);
    }
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
        lagging: None,
        suspended: false,
    };
    fixture
        .node
        .change(|state| state.groups[0].volumes.push(foreign));
    let _agent = fixture.agent();
    fixture.create_volume("data", 8).await;
    fixture
        .wait_for_not_ready(
            &name,
            "ForeignLogicalVolume",
            &format!("lacks the tag {}", fixture.tag("data")),
        )
        .await;
    fixture
        .change(&name, json!({"state": "AbsentIfNeverUsed"}))
        .await;
    fixture.wait_for_removed(&name, "NeverCreated").await;
    fixture.change(&name, json!({"state": "Absent"})).await;
    fixture.quiet().await;
    let volume = fixture.node.volume(&name).unwrap();
    assert_eq!(
        (volume.extents, volume.content),
        (20, Content::Data("ext4".to_owned()))
    );
    for verb in &fixture.node.state().verbs {
        assert!(!verb.starts_with("lv") && verb != "mark", "{verb}");
    }
}

#[tokio::test]
async fn volume_waits_for_its_volume_group() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let name = fixture
        .create_volume_with("data", json!({"volumeGroup": "vg1"}))
        .await;
    let message = format!("{} has no volume group vg1", fixture.name);
    fixture
        .wait_for_not_ready(&name, "VolumeGroupMissing", &message)
        .await;
    fixture.node.add_group("vg1", 100);
    fixture.node.change(|state| state.groups[1].exported = true);
    fixture
        .wait_for_not_ready(
            &name,
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
    let message = format!(
        "no space in volume group vg0 on {}: 40 MiB free, 48 MiB needed",
        fixture.name
    );
    fixture
        .wait_for_not_ready(&name, "InsufficientSpace", &message)
        .await;
    fixture.node.change(|state| state.groups[0].extents = 20);
    fixture.ready(&name).await;

    fixture.change(&name, json!({"size": "100Mi"})).await;
    let object = fixture
        .wait_for_not_ready(
            &name,
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

/// The API's data is lost, and the object restored without a status: its uid is a new one.
#[tokio::test]
async fn restored_object_takes_its_volume_over() {
    let fixture = Fixture::new(100).await;
    let agent = fixture.agent();
    let name = fixture.create_volume("data", 8).await;
    let uuid = fixture.ready(&name).await.status.unwrap().uuid;
    drop(agent);
    let ext4 = Content::Data("ext4".to_owned());
    fixture
        .node
        .change_volume(&name, |volume| volume.content = ext4.clone());
    fixture.delete_object(&name).await;
    fixture.create_volume("data", 8).await;

    let _agent = fixture.agent();
    assert_eq!(fixture.ready(&name).await.status.unwrap().uuid, uuid);
    assert_eq!(fixture.node.volume(&name).unwrap().content, ext4);
    assert_eq!(fixture.node.count("mark"), 1, "at its creation");
}

/// With the same object, the volume's data can be a former tenant's: LVM was interrupted.
#[tokio::test]
async fn unfinished_volume_with_data_waits_for_its_admin() {
    let fixture = Fixture::new(100).await;
    let agent = fixture.agent();
    fixture.wait_for_first_report().await;
    fixture.node.hook(|verb, _| match verb {
        "mark" => Err(Error::failed("the disk is slow")),
        _ => Ok(()),
    });
    let name = fixture.create_volume("data", 8).await;
    fixture
        .wait_for_not_ready(&name, "LvmFailed", "the disk is slow")
        .await;
    drop(agent);
    fixture.node.unhook();
    let ext4 = Content::Data("ext4".to_owned());
    fixture
        .node
        .change_volume(&name, |volume| volume.content = ext4.clone());
    let _agent = fixture.agent();
    let status = fixture
        .wait_for_not_ready(&name, "NotEmpty", "lvchange --addtag")
        .await
        .status
        .unwrap();
    assert_eq!(status.uuid, None);
    fixture.node.change_volume(&name, |volume| {
        volume
            .tags
            .push("flexlvm.dev/logicalvolume-uid=restored".to_owned());
    });
    fixture.ready(&name).await;
    assert_eq!(fixture.node.volume(&name).unwrap().content, ext4);
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
        .wait_for_not_ready(&name, "LogicalVolumeMissing", "not recreated")
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
        .wait_for_not_ready(&small, "InvalidSpec", "spec.size: 1 KiB is too small")
        .await;
    fixture
        .change(&small, json!({"state": "AbsentIfNeverUsed"}))
        .await;
    fixture.wait_for_removed(&small, "NeverCreated").await;
    fixture.quiet().await;
    assert_eq!(fixture.node.count("lvcreate"), 0);
    assert_eq!(fixture.writes(&fixture.volume("other")), [""; 0]);
}

#[test]
fn simulated_extent_size_matches_the_tests() {
    assert_eq!(quantity::format(EXTENT).0, "4Mi");
}

#[tokio::test]
async fn tag_of_lv_names_the_claim_that_holds_it() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let name = fixture.create_volume("data", 8).await;
    fixture.ready(&name).await;
    let claim = json!({"namespace": "shop", "name": "restored", "uid": "2"});
    fixture.change(&name, json!({"currentClaim": claim})).await;
    let tags = wait::until("the tag is changed", LIMIT, async || {
        let tags = fixture.node.volume(&name).unwrap().tags;
        let is_changed = tags.contains(&"flexlvm.dev/claim=shop/restored".to_owned());
        Ok(is_changed.then_some(tags))
    });
    let tags = tags.await.unwrap();
    let names: Vec<_> = tags
        .iter()
        .filter(|tag| tag.starts_with("flexlvm.dev/claim="))
        .collect();
    assert_eq!(names, ["flexlvm.dev/claim=shop/restored"]);
    assert!(tags.contains(&fixture.tag("data")));
    fixture.ready(&name).await;
    assert_eq!(fixture.node.count("lvchange"), 1);
}
