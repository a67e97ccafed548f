//! From a claim to its volume, and what the controller repairs on the way.

use crds::logical_volume::FilesystemType;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::fixture::{Fixture, from, provisioner_finalizers, volume_of};

#[tokio::test]
async fn claim_is_provisioned_with_three_writes_and_one_event() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture
        .class(json!({"volumeBindingMode": "WaitForFirstConsumer", "mountOptions": ["noatime"]}))
        .await;
    let claim = fixture.claim("data", "1000M", Some("n1")).await;
    let name = volume_of(&claim);
    let lv = fixture.agent_creates(&name).await;
    assert_eq!(
        lv.spec.size.0, "956Mi",
        "whole extents of 4 MiB, and no less than 1000 MB"
    );
    assert_eq!(
        (lv.spec.node.clone(), lv.spec.claim.uid.clone()),
        (fixture.name("n1"), claim.uid().unwrap())
    );

    let volume = fixture.wait_for_persistent_volume(&name).await;
    assert_eq!(provisioner_finalizers(&volume), 1);
    let text = serde_json::to_string(&volume.spec).unwrap();
    let host = format!("host-{}", fixture.name("n1"));
    for part in [
        "flexlvm.dev/lvm",
        "noatime",
        "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP",
        host.as_str(),
        "956Mi",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    fixture
        .wait_for_event(&["ProvisioningSucceeded", &name])
        .await;
    fixture.bind("data", &name).await;
    fixture.quiet().await;
    let writes = fixture.server.writes(&name).unwrap();
    let written: Vec<String> = writes
        .iter()
        .map(|write| format!("{} {}", write.verb, write.resource))
        .collect();
    // The third write, the agent's, is part of the test here.
    assert_eq!(
        written,
        ["create logicalvolumes", "create persistentvolumes"]
    );
    let events = fixture.event_messages().await;
    assert_eq!(events.len(), 1, "{events:?}");
}

#[tokio::test]
async fn csi_fstype_of_class_reaches_volume_and_persistent_volume() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    let parameters = json!({"backend": fixture.namespace, "csi.storage.k8s.io/fstype": "xfs"});
    fixture.class(json!({"parameters": parameters})).await;
    let name = volume_of(&fixture.claim("data", "512Mi", None).await);
    let lv = fixture.agent_creates(&name).await;
    assert_eq!(lv.spec.filesystem.type_, FilesystemType::Xfs);
    let volume = fixture.wait_for_persistent_volume(&name).await;
    let source = volume.spec.unwrap().flex_volume.unwrap();
    assert_eq!(source.fs_type.as_deref(), Some("xfs"));
}

#[tokio::test]
async fn labels_are_restored_and_foreign_persistent_volume_is_not_adopted() {
    let fixture = Fixture::with_immediate_class(&[("n1", 1024)]).await;
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    let written = fixture.wait_for_logical_volume(&name).await;
    let bare = Patch::Merge(json!({"metadata": {"labels": null}}));
    fixture
        .logical_volumes()
        .patch(&name, &PatchParams::default(), &bare)
        .await
        .unwrap();
    let labels = written.labels().clone();
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "the labels are restored",
            |lv| *lv.labels() == labels,
        )
        .await;

    let foreign = from(
        json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": "64Mi"},
        "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"}}}),
    );
    fixture
        .volumes()
        .create(&PostParams::default(), &foreign)
        .await
        .unwrap();
    fixture.agent_creates(&name).await;
    fixture
        .wait_for_event(&["ProvisioningFailed", &name, "did not create it"])
        .await;
}
