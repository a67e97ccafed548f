//! Statuses that another client overwrites, as an agent of another node can before Kubernetes 1.30:
//! the agent corrects them, and neither gives a volume up nor loses one.

use crds::LogicalVolume;
use crds::condition::{self, READY, REMOVED};
use harness::simulated::Volume;
use harness::wait::{self, LIMIT};
use kube::api::{Patch, PatchParams};
use operator::agent::volumes::plan::Content;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// The uuid of no volume.
const NO_VOLUME: &str = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";

fn condition(type_: &str, status: &str) -> Value {
    json!({"type": type_, "status": status, "reason": "Removed", "message": "written by another agent",
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

impl Fixture {
    /// Creates a volume that a pod has used.
    async fn used_volume(&self, short: &str) -> Volume {
        let name = self.create_volume(short, 8).await;
        self.ready(&name).await;
        self.node.change_volume(&name, |volume| {
            volume.content = Content::Data("ext4".to_owned());
        });
        self.node.volume(&name).unwrap()
    }

    /// Overwrites fields in the status of a LogicalVolume.
    async fn overwrite(&self, name: &str, status: Value) -> LogicalVolume {
        let patch = Patch::Merge(json!({"status": status}));
        self.logical_volumes()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap()
    }

    /// Waits until the status has the uuid of this volume; panics if the volume is not Ready in
    /// between.
    async fn wait_for_correction(&self, volume: &Volume) {
        wait::until("the uuid is corrected", LIMIT, async || {
            let status = self.status(&volume.name).await;
            assert!(
                condition::is_true(&status.conditions, READY),
                "the agent gave the volume up: {status:#?}"
            );
            Ok((status.uuid.as_deref() == Some(&volume.uuid)).then_some(()))
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn agent_corrects_overwritten_uuid_and_volume_stays_ready() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let victim = fixture.used_volume("victim").await;
    let used = fixture.used_volume("used").await;
    let before = fixture.writes(&used.name).len();
    for (corrections, uuid) in [json!(NO_VOLUME), json!(victim.uuid), json!(null)]
        .into_iter()
        .enumerate()
    {
        fixture.overwrite(&used.name, json!({"uuid": uuid})).await;
        fixture.wait_for_correction(&used).await;
        let writes = fixture.writes(&used.name).len() - before;
        assert_eq!(writes, corrections + 1, "one write for each");
    }
    for volume in [&victim, &used] {
        let now = fixture.node.volume(&volume.name).unwrap();
        assert_eq!((&now.uuid, &now.content), (&volume.uuid, &volume.content));
    }
    assert_eq!(fixture.node.count("look"), 0, "the agent knows the volume");
}

#[tokio::test]
async fn api_server_rejects_uuid_that_lvm_can_not_have() {
    let fixture = Fixture::new(100).await;
    let name = fixture.create_volume("data", 8).await;
    let patch = Patch::Merge(json!({"status": {"uuid": "none"}}));
    let refused = fixture
        .logical_volumes()
        .patch_status(&name, &PatchParams::default(), &patch)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("status.uuid"), "{refused}");
}

#[tokio::test]
async fn agent_corrects_overwritten_conditions_and_size() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let used = fixture.used_volume("used").await;
    let removed = json!({"size": "1Gi", "conditions": [condition(READY, "False"), condition(REMOVED, "True")]});
    let is_right = async || {
        let status = fixture.status(&used.name).await;
        let is_right = condition::is_true(&status.conditions, READY)
            && condition::get(&status.conditions, REMOVED).is_none()
            && status.size.is_some_and(|size| size.0 == "32Mi");
        Ok(is_right.then_some(()))
    };
    fixture.overwrite(&used.name, removed).await;
    wait::until("the status is corrected", LIMIT, is_right)
        .await
        .unwrap();

    // Server-side apply makes another client the owner of what it adds: the agent's own apply leaves
    // that unchanged.
    let added = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
        "status": {"conditions": [condition(REMOVED, "True")]}});
    fixture
        .logical_volumes()
        .patch_status(
            &used.name,
            &PatchParams::apply("another").force(),
            &Patch::Apply(&added),
        )
        .await
        .unwrap();
    wait::until("the condition is removed", LIMIT, is_right)
        .await
        .unwrap();
    assert!(fixture.node.volume(&used.name).is_some());
}

#[tokio::test]
async fn restarted_agent_identifies_volume_by_its_tags() {
    let fixture = Fixture::new(100).await;
    let agent = fixture.agent();
    let name = fixture.create_volume("marked", 8).await;
    fixture.ready(&name).await;
    let marked = fixture.node.volume(&name).unwrap();
    let used = fixture.used_volume("used").await;
    drop(agent);
    for volume in [&marked, &used] {
        fixture
            .overwrite(&volume.name, json!({"uuid": NO_VOLUME}))
            .await;
    }
    let _agent = fixture.agent();
    fixture.wait_for_correction(&marked).await;
    // Nothing but the status shows whether LVM had wiped a volume with data.
    fixture
        .wait_for_not_ready(&used.name, "NotEmpty", "lvchange --addtag")
        .await;
    fixture.node.change_volume(&used.name, |volume| {
        volume
            .tags
            .push("flexlvm.dev/logicalvolume-uid=restored".to_owned());
    });
    fixture.ready(&used.name).await;
    fixture.wait_for_correction(&used).await;
    let now = fixture.node.volume(&used.name).unwrap();
    assert_eq!((now.uuid, now.content), (used.uuid, used.content));
}

#[tokio::test]
async fn released_lv_is_removed_whatever_uuid_the_status_has() {
    let fixture = Fixture::new(100).await;
    let agent = fixture.agent();
    let victim = fixture.used_volume("victim").await;
    let used = fixture.used_volume("used").await;
    let untagged = fixture.used_volume("untagged").await;
    drop(agent);
    fixture.node.change_volume(&untagged.name, |volume| {
        volume.tags.retain(|tag| *tag == fixture.tag("untagged"));
    });
    for volume in [&used, &untagged] {
        fixture
            .overwrite(&volume.name, json!({"uuid": victim.uuid}))
            .await;
        fixture
            .change(&volume.name, json!({"state": "Absent"}))
            .await;
    }
    let _agent = fixture.agent();
    fixture.wait_for_removed(&used.name, "Removed").await;
    assert!(fixture.node.volume(&used.name).is_none());
    // Without the tag of its object it may be another volume.
    fixture
        .wait_for_not_removed(&untagged.name, "ForeignLogicalVolume", "lvchange --addtag")
        .await;
    for kept in [&untagged, &victim] {
        assert!(fixture.node.volume(&kept.name).is_some());
    }
    assert_eq!(fixture.node.count("lvremove"), 1);
}

/// The controller deletes an object whose status reports that its logical volume is removed.
#[tokio::test]
async fn lv_of_object_that_ended_by_overwritten_status_is_reported_as_orphan() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let used = fixture.used_volume("used").await;
    let removed = json!({"conditions": [condition(REMOVED, "True")]});
    fixture.overwrite(&used.name, removed).await;
    fixture.delete_object(&used.name).await;
    let report = fixture
        .wait_for_report("the orphan is reported", |storage| {
            let status = storage.status.clone().unwrap_or_default();
            !status.orphans.is_empty()
        })
        .await;
    let orphan = report.status.unwrap().orphans.remove(0);
    assert_eq!(
        (orphan.name, orphan.claim.as_deref()),
        (used.name.clone(), Some("default/used"))
    );
    assert_eq!(
        fixture.node.volume(&used.name).unwrap().content,
        used.content
    );
    assert_eq!(fixture.node.count("lvremove"), 0);
}
