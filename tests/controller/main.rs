//! The controller against a real API server, with the rights of its own account: from claims to
//! volumes and back.

mod backends;
mod capacity;
mod definitions;
mod fixture;
mod growth;
mod kinds;
mod many_claims;
mod rules;
mod waiting;

use crds::logical_volume::{FilesystemType, State};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use fixture::{Fixture, condition, from, volume_of};

fn waits_for_consumer() -> serde_json::Value {
    json!({"volumeBindingMode": "WaitForFirstConsumer"})
}

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

    let volume = fixture
        .wait(
            &fixture.volumes(),
            &name,
            "the PersistentVolume is created",
            |_| true,
        )
        .await;
    assert_eq!(
        volume
            .finalizers()
            .iter()
            .filter(|f| f.starts_with("external-provisioner"))
            .count(),
        1
    );
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
    let made: Vec<String> = writes
        .iter()
        .map(|write| format!("{} {}", write.verb, write.resource))
        .collect();
    // The third write, the agent's, is part of the test here.
    assert_eq!(made, ["create logicalvolumes", "create persistentvolumes"]);
    let phrases = fixture.event_messages().await;
    assert_eq!(phrases.len(), 1, "{phrases:?}");
}

#[tokio::test]
async fn unsupported_claims_are_rejected_with_field_and_create_nothing() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.class(waits_for_consumer()).await;
    let ask = |extra: serde_json::Value| {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}});
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
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
        fixture.claim_of(name, ask(extra), Some("n1")).await;
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
async fn csi_fstype_of_class_reaches_volume_and_persistent_volume() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    let parameters = json!({"backend": fixture.namespace, "csi.storage.k8s.io/fstype": "xfs"});
    fixture.class(json!({"parameters": parameters})).await;
    let name = volume_of(&fixture.claim("data", "512Mi", None).await);
    let lv = fixture.agent_creates(&name).await;
    assert_eq!(lv.spec.filesystem.type_, FilesystemType::Xfs);
    let volume = fixture
        .wait(
            &fixture.volumes(),
            &name,
            "the PersistentVolume is created",
            |_| true,
        )
        .await;
    let source = volume.spec.unwrap().flex_volume.unwrap();
    assert_eq!(source.fs_type.as_deref(), Some("xfs"));
}

#[tokio::test]
async fn labels_are_restored_and_foreign_persistent_volume_is_not_adopted() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.class(json!({})).await;
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    let written = fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "the LogicalVolume is created",
            |_| true,
        )
        .await;
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

#[tokio::test]
async fn claim_on_full_or_vanished_node_is_returned_to_scheduler() {
    let fixture = Fixture::new().await;
    fixture.node("full", 32).await;
    fixture.node("roomy", 1024).await;
    fixture.class(waits_for_consumer()).await;
    for (name, node) in [("a", "full"), ("b", "vanished")] {
        fixture.claim(name, "64Mi", Some(node)).await;
        fixture
            .wait(
                &fixture.claims(),
                name,
                "its selected node is removed",
                |claim: &k8s_openapi::api::core::v1::PersistentVolumeClaim| {
                    !claim
                        .annotations()
                        .contains_key("volume.kubernetes.io/selected-node")
                },
            )
            .await;
    }
    fixture.wait_for_event(&["32 MiB free of 32 MiB"]).await;
    fixture
        .wait_for_event(&["vanished", "no longer exists"])
        .await;
    assert!(fixture.own_logical_volumes().await.is_empty());
}

#[tokio::test]
async fn volume_on_node_without_space_is_withdrawn() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.class(waits_for_consumer()).await;
    let name = volume_of(&fixture.claim("data", "64Mi", Some("n1")).await);
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "the LogicalVolume is created",
            |_| true,
        )
        .await;
    let group = |other: &str| json!([{"name": "vg0", "uuid": "u", "size": "64Mi", "extentSize": "4Mi", "usedByOthers": other, "free": "0"}]);
    fixture.report(&fixture.name("n1"), group("64Mi")).await;
    fixture
        .agent_writes_status(&name, json!({"conditions": [condition("Ready", "False", "InsufficientSpace", "vg0 is full")]}))
        .await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "vg0 is full"])
        .await;
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "its removal is requested",
            |lv| lv.spec.state == State::AbsentIfNeverUsed,
        )
        .await;
    fixture
        .agent_writes_status(
            &name,
            json!({"conditions": [condition("Removed", "True", "NeverCreated", "gone")]}),
        )
        .await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "0 bytes free of 64 MiB"])
        .await;
    fixture.report(&fixture.name("n1"), group("0")).await;
    fixture.agent_creates(&name).await;
    fixture
        .wait(
            &fixture.volumes(),
            &name,
            "the PersistentVolume is created",
            |_| true,
        )
        .await;
}

#[tokio::test]
async fn claim_deleted_during_creation_leaves_nothing() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.class(waits_for_consumer()).await;
    let name = volume_of(&fixture.claim("data", "64Mi", Some("n1")).await);
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "the LogicalVolume is created",
            |_| true,
        )
        .await;
    fixture.delete_claim("data").await;
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "its removal is requested",
            |lv| lv.spec.state == State::AbsentIfNeverUsed,
        )
        .await;
    fixture
        .agent_writes_status(
            &name,
            json!({"conditions": [condition("Removed", "True", "Removed", "gone")]}),
        )
        .await;
    fixture.gone(&fixture.logical_volumes(), &name).await;
    assert!(fixture.volumes().get_opt(&name).await.unwrap().is_none());
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "the steps of one test")]
async fn released_volume_is_removed_once_not_in_use() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.class(waits_for_consumer()).await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    fixture.delete_claim("data").await;
    fixture.quiet().await;
    let lv = fixture.logical_volumes().get(&name).await.unwrap();
    assert_eq!(
        lv.spec.state,
        State::Present,
        "no write before the volume is released"
    );
    fixture.phase(&name, "Released").await;
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "its deletion is requested",
            |lv| lv.spec.state == State::Absent,
        )
        .await;
    fixture
        .agent_writes_status(
            &name,
            json!({"conditions": [condition("Removed", "False", "InUse", "open by 1")]}),
        )
        .await;
    fixture.quiet().await;
    assert!(fixture.volumes().get_opt(&name).await.unwrap().is_some());
    fixture
        .agent_writes_status(
            &name,
            json!({"conditions": [condition("Removed", "True", "Removed", "gone")]}),
        )
        .await;
    fixture.gone(&fixture.logical_volumes(), &name).await;
    // Kubernetes' own protection finalizer is removed by the controller manager, played by the
    // test.
    harness::wait::until(
        "FlexLVM's finalizer is removed",
        harness::wait::LIMIT,
        async || {
            let volume = fixture.volumes().get_opt(&name).await?;
            let ours = volume.is_some_and(|volume| {
                volume
                    .finalizers()
                    .iter()
                    .any(|f| f.starts_with("external-provisioner"))
            });
            Ok((!ours).then_some(()))
        },
    )
    .await
    .unwrap();
    let _ = fixture
        .volumes()
        .patch(
            &name,
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"finalizers": null}})),
        )
        .await;
    fixture.gone(&fixture.volumes(), &name).await;
}

#[tokio::test]
async fn deleting_logical_volume_object_removes_nothing() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.class(waits_for_consumer()).await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    fixture
        .logical_volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    fixture.quiet().await;
    let lv = fixture.logical_volumes().get(&name).await.unwrap();
    assert!(lv.metadata.deletion_timestamp.is_some());
    assert_eq!(lv.spec.state, State::Present);
}

#[tokio::test]
async fn volume_switched_to_retain_outlives_its_persistent_volume() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.class(waits_for_consumer()).await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    let patch = Patch::Merge(json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}}));
    fixture
        .volumes()
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    fixture
        .wait(
            &fixture.volumes(),
            &name,
            "FlexLVM's finalizer is removed",
            |volume: &k8s_openapi::api::core::v1::PersistentVolume| {
                !volume
                    .finalizers()
                    .iter()
                    .any(|f| f.starts_with("external-"))
            },
        )
        .await;
    fixture.delete_claim("data").await;
    fixture.phase(&name, "Released").await;
    fixture
        .volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let _ = fixture
        .volumes()
        .patch(
            &name,
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"finalizers": null}})),
        )
        .await;
    fixture.gone(&fixture.volumes(), &name).await;
    fixture.quiet().await;
    assert_eq!(
        fixture
            .logical_volumes()
            .get(&name)
            .await
            .unwrap()
            .spec
            .state,
        State::Present
    );
}

#[tokio::test]
async fn growth_is_reserved_with_space_and_rejected_with_numbers_without() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 128).await;
    fixture
        .class(json!({"volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true}))
        .await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    // The API server accepts growth only of bound claims.
    let bound = Patch::Merge(json!({"status": {"phase": "Bound"}}));
    fixture
        .claims()
        .patch_status("data", &PatchParams::default(), &bound)
        .await
        .unwrap();
    let raise = async |size: &str| {
        let patch = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
        fixture
            .claims()
            .patch("data", &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    raise("100Mi").await;
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "its size is raised",
            |lv| lv.spec.size.0 == "100Mi",
        )
        .await;
    raise("1Gi").await;
    fixture
        .wait_for_event(&[
            "VolumeResizeFailed",
            "can't grow to 1 GiB",
            "28 MiB free of 128 MiB",
        ])
        .await;
    let group = json!([{"name": "vg0", "uuid": "u", "size": "2Gi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0"}]);
    fixture.report(&fixture.name("n1"), group).await;
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "its size is raised further",
            |lv| lv.spec.size.0 == "1Gi",
        )
        .await;
}

#[tokio::test]
async fn backend_reports_ready_nodes_and_reasons_of_others() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 128).await;
    fixture.node("n2", 128).await;
    fixture.report(&fixture.name("n2"), json!([])).await;
    fixture.backend("vg0").await;
    let backends: kube::Api<crds::StorageBackend> = kube::Api::all(fixture.client.clone());
    let nodes = |count: &'static str| {
        move |backend: &crds::StorageBackend| {
            backend
                .status
                .as_ref()
                .is_some_and(|status| status.nodes.as_deref() == Some(count))
        }
    };
    let backend = fixture
        .wait(
            &backends,
            &fixture.namespace,
            "its status is written",
            nodes("1/2"),
        )
        .await;
    let ready = &backend.status.unwrap().conditions[0];
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "SomeNodesUnready")
    );
    assert_eq!(
        ready.message,
        format!("{} has no volume group vg0", fixture.name("n2"))
    );
    let group = json!([{"name": "vg0", "uuid": "u", "size": "128Mi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0"}]);
    fixture.report(&fixture.name("n2"), group).await;
    let backend = fixture
        .wait(
            &backends,
            &fixture.namespace,
            "both nodes are ready",
            nodes("2/2"),
        )
        .await;
    assert_eq!(backend.status.unwrap().conditions[0].status, "True");
}

#[tokio::test]
async fn api_server_rejects_invalid_backends() {
    let fixture = Fixture::new().await;
    let backends: kube::Api<crds::StorageBackend> = kube::Api::all(fixture.client.clone());
    for spec in [
        json!({"volumeGroup": "../x"}),
        json!({"volumeGroup": "-rf"}),
        json!({"volumeGroup": ""}),
        json!({"volumeGroup": ".."}),
        json!({"volumeGroup": "x".repeat(128)}),
        json!({"volumeGroup": "a\nb"}),
        json!({}),
        json!({"volumeGroup": "vg0", "layout": {"type": "Imaginary"}}),
        json!({"volumeGroup": "vg0", "layout": {"type": "Striped", "stripes": 1}}),
        json!({"volumeGroup": "vg0", "layout": {"type": "RAID1", "copies": 11}}),
        json!({"volumeGroup": "vg0", "nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Almost"}]}}),
    ] {
        let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": fixture.name("bad")}, "spec": spec});
        let request = http::Request::post("/apis/flexlvm.dev/v1alpha1/storagebackends")
            .header("content-type", "application/json");
        let answer = fixture
            .client
            .request_text(request.body(object.to_string().into_bytes()).unwrap())
            .await;
        assert!(answer.is_err(), "accepted: {object}");
    }
    for name in [".a", "...", "vg.0", "a-b", "_x"] {
        let good = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": fixture.name("good")}, "spec": {"volumeGroup": name}});
        backends
            .create(
                &PostParams {
                    dry_run: true,
                    ..PostParams::default()
                },
                &from(good),
            )
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn lease_has_one_holder_until_released() {
    let fixture = Fixture::new().await;
    let election = |who: &str| {
        operator::kube::lease::Election::new(
            fixture.client.clone(),
            &fixture.namespace,
            "leader",
            who,
        )
    };
    let first = election("first");
    let second = election("second");
    first.acquire().await;
    let waiting = tokio::time::timeout(std::time::Duration::from_secs(4), second.acquire()).await;
    assert!(waiting.is_err(), "both hold the lease");
    first.release().await;
    tokio::time::timeout(harness::wait::LIMIT, second.acquire())
        .await
        .expect("the lease is free");
}

#[tokio::test]
async fn controller_account_may_not_write_agent_status() {
    let fixture = Fixture::new().await;
    let client = fixture
        .server
        .client_of("flexlvm-system", "flexlvm-controller")
        .await
        .unwrap();
    let lvs: kube::Api<crds::LogicalVolume> = kube::Api::all(client.clone());
    let refused = lvs
        .patch_status(
            "pvc-x",
            &PatchParams::default(),
            &Patch::Merge(json!({"status": {}})),
        )
        .await
        .unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client);
    let refused = nodes
        .delete("n", &DeleteParams::default())
        .await
        .unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
}
