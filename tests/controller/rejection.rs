//! Claims that are not served: unsupported ones, invalid classes, nodes without space.

use crds::logical_volume::State;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::fixture::{Fixture, condition, vg0, volume_of};

#[tokio::test]
async fn unsupported_claims_are_rejected_with_field_and_create_nothing() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    for (name, extra, phrases) in [
        (
            "block",
            json!({"volumeMode": "Block"}),
            ["volumeMode", "Block"],
        ),
        (
            "many",
            json!({"accessModes": ["ReadWriteMany"]}),
            ["accessModes", "ReadWriteMany"],
        ),
        (
            "selector",
            json!({"selector": {"matchLabels": {"a": "b"}}}),
            ["selector", "remove it"],
        ),
        (
            "source",
            json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "old"}}),
            ["dataSource", "old"],
        ),
        (
            "large",
            json!({"resources": {"requests": {"storage": "1Ti"}}}),
            ["1 TiB", "1 GiB free of 1 GiB"],
        ),
    ] {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}});
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        fixture.claim_of(name, spec, Some("n1")).await;
        fixture
            .wait_for_event(&["ProvisioningFailed", phrases[0], phrases[1]])
            .await;
    }
    assert!(fixture.own_logical_volumes().await.is_empty());
    fixture.quiet().await;
    // Events are named after their claims. The large one may be reported before and after the
    // controller observes the node's report.
    for name in ["block.", "many.", "selector.", "source.", "large."] {
        let writes = fixture.server.writes(name).unwrap();
        assert!(
            (1..=2).contains(&writes.len()),
            "one Event each, and no hot loop: {writes:?}"
        );
    }
}

#[tokio::test]
async fn node_whose_group_allows_no_more_logical_volumes_gets_no_volume() {
    let fixture = Fixture::with_immediate_class(&[("n1", 1024)]).await;
    let mut full = vg0("1Gi");
    full[0]["logicalVolumeLimit"] = json!({"maximum": 6, "remaining": 0});
    fixture.report(&fixture.name("n1"), full.clone()).await;
    fixture
        .wait(
            &fixture.backends(),
            &fixture.namespace,
            "the backend reports the limit",
            |backend| {
                let status = backend.status.clone().unwrap_or_default();
                let mut conditions = status.conditions.iter();
                conditions.any(|condition| condition.message.contains("has 6 of 6 logical volumes"))
            },
        )
        .await;
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    fixture
        .wait_for_event(&["ProvisioningFailed", "(max_lv)", "vgchange --logicalvolume"])
        .await;
    assert!(fixture.own_logical_volumes().await.is_empty());
    full[0]["logicalVolumeLimit"]["remaining"] = json!(1);
    fixture.report(&fixture.name("n1"), full).await;
    fixture.wait_for_logical_volume(&name).await;
}

#[tokio::test]
async fn invalid_class_parameters_are_rejected_by_name() {
    for (parameters, phrases) in [
        (
            json!({"backend": "B", "fstype": "xfs"}),
            ["\"fstype\"", "fsType"],
        ),
        (
            json!({"backend": "B", "fsType": "ext4", "csi.storage.k8s.io/fstype": "xfs"}),
            ["csi.storage.k8s.io/fstype \"xfs\"", "fsType \"ext4\""],
        ),
        (json!({"fsType": "ext4"}), ["backend", "missing"]),
        (
            json!({"backend": "nowhere"}),
            ["StorageBackend nowhere", "does not exist"],
        ),
        (
            json!({"backend": "B", "mkfsOptions": "-J device=/dev/sda"}),
            ["mkfsOptions", "-J"],
        ),
    ] {
        let fixture = Fixture::new().await;
        fixture.node("n1", 1024).await;
        fixture.class(json!({"parameters": parameters})).await;
        fixture.claim("data", "64Mi", Some("n1")).await;
        fixture
            .wait_for_event(&["ProvisioningFailed", phrases[0], phrases[1]])
            .await;
        assert!(fixture.own_logical_volumes().await.is_empty());
    }
}

#[tokio::test]
async fn claim_on_full_or_vanished_node_is_returned_to_scheduler() {
    let fixture = Fixture::with_waiting_class(&[("full", 32), ("roomy", 1024)]).await;
    for (name, node) in [("a", "full"), ("b", "vanished")] {
        fixture.claim(name, "64Mi", Some(node)).await;
        fixture.wait_until_deselected(name).await;
    }
    fixture.wait_for_event(&["32 MiB free of 32 MiB"]).await;
    fixture
        .wait_for_event(&["vanished", "no longer exists"])
        .await;
    assert!(fixture.own_logical_volumes().await.is_empty());
}

#[tokio::test]
async fn volume_on_node_without_space_is_withdrawn() {
    let fixture = Fixture::with_waiting_class(&[("n1", 64)]).await;
    let name = volume_of(&fixture.claim("data", "64Mi", Some("n1")).await);
    fixture.wait_for_logical_volume(&name).await;
    let mut full = vg0("64Mi");
    full[0]["usedByOthers"] = json!("64Mi");
    fixture.report(&fixture.name("n1"), full).await;
    fixture
        .agent_reports(
            &name,
            condition("Ready", "False", "InsufficientSpace", "vg0 is full"),
        )
        .await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "vg0 is full"])
        .await;
    fixture
        .wait_for_state(&name, State::AbsentIfNeverUsed)
        .await;
    fixture
        .agent_reports(&name, condition("Removed", "True", "NeverCreated", "gone"))
        .await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "0 bytes free of 64 MiB"])
        .await;
    fixture.report_size("n1", "64Mi").await;
    fixture.agent_creates(&name).await;
    fixture.wait_for_persistent_volume(&name).await;
}

#[tokio::test]
async fn volume_that_its_node_can_not_create_is_placed_on_another_one() {
    let fixture = Fixture::with_immediate_class(&[("n1", 1024), ("n2", 512)]).await;
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    let lv = fixture.wait_for_logical_volume(&name).await;
    assert_eq!(lv.spec.node, fixture.name("n1"));
    let words =
        "lvcreate failed: Maximum number of logical volumes (6) reached in volume group vg0";
    fixture
        .agent_reports(&name, condition("Ready", "False", "CreateFailed", words))
        .await;
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "can't create the volume on node",
            "n1",
        ])
        .await;
    fixture
        .wait_for_state(&name, State::AbsentIfNeverUsed)
        .await;
    fixture
        .agent_reports(&name, condition("Removed", "True", "NeverCreated", "gone"))
        .await;
    let n2 = fixture.name("n2");
    let what = "the volume is placed on the other node";
    fixture
        .wait(&fixture.logical_volumes(), &name, what, |lv| {
            lv.spec.node == n2
        })
        .await;
}

#[tokio::test]
async fn claim_with_data_on_a_node_gets_no_second_volume() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024), ("n2", 512)]).await;
    let claim = fixture.claim("data", "64Mi", None).await;
    let name = volume_of(&claim);
    let uid = name.trim_start_matches("pvc-");
    let orphan = json!({"claimUid": uid, "claim": "shop/data", "volumeGroup": "vg0", "name": name});
    fixture.report_orphans("n1", json!([orphan])).await;
    let selected = json!({"metadata": {"annotations":
        {"volume.kubernetes.io/selected-node": fixture.name("n2")}}});
    fixture
        .claims()
        .patch("data", &PatchParams::default(), &Patch::Merge(selected))
        .await
        .unwrap();
    let path = format!("logical volume vg0/{name} on node {}", fixture.name("n1"));
    fixture
        .wait_for_event(&["ProvisioningFailed", &path, "lvchange --deltag"])
        .await;
    fixture.wait_until_deselected("data").await;
    assert!(fixture.own_logical_volumes().await.is_empty());
}

#[tokio::test]
async fn claim_with_data_that_a_report_omits_gets_no_second_volume() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024), ("n2", 512)]).await;
    let claim = fixture.claim("omitted", "64Mi", None).await;
    let name = volume_of(&claim);
    let uid = name.trim_start_matches("pvc-");
    fixture.report_further_orphans("n1", &["a", uid]).await;
    let selected = json!({"metadata": {"annotations":
        {"volume.kubernetes.io/selected-node": fixture.name("n2")}}});
    fixture
        .claims()
        .patch("omitted", &PatchParams::default(), &Patch::Merge(selected))
        .await
        .unwrap();
    let found = format!("a logical volume on node {} carries", fixture.name("n1"));
    let search = format!("lvs -S lv_tags=flexlvm.dev/claim-uid={uid}");
    fixture
        .wait_for_event(&["ProvisioningFailed", &found, &search])
        .await;
    fixture.wait_until_deselected("omitted").await;
    assert!(fixture.own_logical_volumes().await.is_empty());
}
