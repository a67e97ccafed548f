//! The controller against a real API server, with its own account's rights: from claims to volumes
//! and back.

mod backends;
mod capacity;
mod crowd;
mod definitions;
mod growth;
mod kinds;
mod rules;
mod stage;
mod waiting;

use crds::logical_volume::{FilesystemType, State};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use stage::{Stage, condition, from, volume_of};

fn waits_for_consumer() -> serde_json::Value {
    json!({"volumeBindingMode": "WaitForFirstConsumer"})
}

#[tokio::test]
async fn a_claim_becomes_a_volume_with_three_writes_and_one_event() {
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage
        .class(json!({"volumeBindingMode": "WaitForFirstConsumer", "mountOptions": ["noatime"]}))
        .await;
    let claim = stage.claim("data", "1000M", Some("n1")).await;
    let name = volume_of(&claim);
    let lv = stage.agent_makes(&name).await;
    assert_eq!(
        lv.spec.size.0, "956Mi",
        "whole extents of 4 MiB, and no less than 1000 MB"
    );
    assert_eq!(
        (lv.spec.node.clone(), lv.spec.claim.uid.clone()),
        (stage.name("n1"), claim.uid().unwrap())
    );

    let volume = stage
        .wait(
            &stage.volumes(),
            &name,
            "the PersistentVolume is written",
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
    let host = format!("host-{}", stage.name("n1"));
    for part in [
        "flexlvm.dev/lvm",
        "noatime",
        "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP",
        host.as_str(),
        "956Mi",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    stage.told(&["ProvisioningSucceeded", &name]).await;
    stage.bind("data", &name).await;
    stage.quiet().await;
    let writes = stage.server.writes(&name).unwrap();
    let made: Vec<String> = writes
        .iter()
        .map(|write| format!("{} {}", write.verb, write.resource))
        .collect();
    // The third write, the agent's, is made by the test itself here.
    assert_eq!(made, ["create logicalvolumes", "create persistentvolumes"]);
    let words = stage.words().await;
    assert_eq!(words.len(), 1, "{words:?}");
}

#[tokio::test]
async fn what_can_not_be_served_is_refused_by_name_and_nothing_is_made() {
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.class(waits_for_consumer()).await;
    let ask = |extra: serde_json::Value| {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}});
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
    for (name, extra, words) in [
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
            ["selector", "leave it out"],
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
        stage.claim_of(name, ask(extra), Some("n1")).await;
        stage
            .told(&["ProvisioningFailed", words[0], words[1]])
            .await;
    }
    assert!(stage.made().await.is_empty());
    stage.quiet().await;
    // Events are named after their claims. The large one may be told of before and after the node's
    // report was seen.
    for name in ["block.", "many.", "selector.", "source.", "large."] {
        let writes = stage.server.writes(name).unwrap();
        assert!(
            (1..=2).contains(&writes.len()),
            "one Event each, and no hot loop: {writes:?}"
        );
    }
}

#[tokio::test]
async fn a_class_that_is_not_understood_is_refused_by_name() {
    for (parameters, words) in [
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
        let stage = Stage::new().await;
        stage.node("n1", 1024).await;
        stage.class(json!({"parameters": parameters})).await;
        stage.claim("data", "64Mi", Some("n1")).await;
        stage
            .told(&["ProvisioningFailed", words[0], words[1]])
            .await;
        assert!(stage.made().await.is_empty());
    }
}

#[tokio::test]
async fn csi_fstype_of_a_class_reaches_volume_and_persistent_volume() {
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    let parameters = json!({"backend": stage.namespace, "csi.storage.k8s.io/fstype": "xfs"});
    stage.class(json!({"parameters": parameters})).await;
    let name = volume_of(&stage.claim("data", "512Mi", None).await);
    let lv = stage.agent_makes(&name).await;
    assert_eq!(lv.spec.filesystem.type_, FilesystemType::Xfs);
    let volume = stage
        .wait(
            &stage.volumes(),
            &name,
            "the PersistentVolume is written",
            |_| true,
        )
        .await;
    let source = volume.spec.unwrap().flex_volume.unwrap();
    assert_eq!(source.fs_type.as_deref(), Some("xfs"));
}

#[tokio::test]
async fn an_order_gets_its_label_back_and_somebody_elses_volume_is_not_taken_for_ours() {
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.class(json!({})).await;
    let name = volume_of(&stage.claim("data", "64Mi", None).await);
    let written = stage
        .wait(
            &stage.logical_volumes(),
            &name,
            "the order is written",
            |_| true,
        )
        .await;
    let bare = Patch::Merge(json!({"metadata": {"labels": null}}));
    stage
        .logical_volumes()
        .patch(&name, &PatchParams::default(), &bare)
        .await
        .unwrap();
    let labels = written.labels().clone();
    stage
        .wait(
            &stage.logical_volumes(),
            &name,
            "the labels are back",
            |lv| *lv.labels() == labels,
        )
        .await;

    let foreign = from(
        json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": "64Mi"},
        "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"}}}),
    );
    stage
        .volumes()
        .create(&PostParams::default(), &foreign)
        .await
        .unwrap();
    stage.agent_makes(&name).await;
    stage
        .told(&["ProvisioningFailed", &name, "did not make"])
        .await;
}

#[tokio::test]
async fn a_full_or_vanished_selected_node_is_given_back_to_the_scheduler() {
    let stage = Stage::new().await;
    stage.node("full", 32).await;
    stage.node("roomy", 1024).await;
    stage.class(waits_for_consumer()).await;
    let is_free = |claim: &k8s_openapi::api::core::v1::PersistentVolumeClaim| {
        !claim
            .annotations()
            .contains_key("volume.kubernetes.io/selected-node")
    };
    for (name, node) in [("a", "full"), ("b", "vanished")] {
        stage.claim(name, "64Mi", Some(node)).await;
        stage
            .wait(&stage.claims(), name, "its node is taken off", is_free)
            .await;
    }
    stage.told(&["32 MiB free of 32 MiB"]).await;
    stage.told(&["vanished", "does not exist any more"]).await;
    assert!(stage.made().await.is_empty());
}

#[tokio::test]
async fn a_node_that_lost_its_space_loses_the_order() {
    let stage = Stage::new().await;
    stage.node("n1", 64).await;
    stage.class(waits_for_consumer()).await;
    let name = volume_of(&stage.claim("data", "64Mi", Some("n1")).await);
    stage
        .wait(
            &stage.logical_volumes(),
            &name,
            "the LogicalVolume is written",
            |_| true,
        )
        .await;
    let group = |other: &str| json!([{"name": "vg0", "uuid": "u", "size": "64Mi", "extentSize": "4Mi", "usedByOthers": other, "free": "0"}]);
    stage.report(&stage.name("n1"), group("64Mi")).await;
    stage
        .agent_says(&name, json!({"conditions": [condition("Ready", "False", "InsufficientSpace", "vg0 is full")]}))
        .await;
    stage.told(&["ProvisioningFailed", "vg0 is full"]).await;
    stage
        .wait(&stage.logical_volumes(), &name, "it is withdrawn", |lv| {
            lv.spec.state == State::AbsentIfNeverUsed
        })
        .await;
    stage
        .agent_says(
            &name,
            json!({"conditions": [condition("Removed", "True", "NeverCreated", "gone")]}),
        )
        .await;
    stage
        .told(&["ProvisioningFailed", "0 bytes free of 64 MiB"])
        .await;
    stage.report(&stage.name("n1"), group("0")).await;
    stage.agent_makes(&name).await;
    stage
        .wait(
            &stage.volumes(),
            &name,
            "the PersistentVolume is written",
            |_| true,
        )
        .await;
}

#[tokio::test]
async fn a_claim_deleted_while_its_volume_is_made_leaves_nothing() {
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.class(waits_for_consumer()).await;
    let name = volume_of(&stage.claim("data", "64Mi", Some("n1")).await);
    stage
        .wait(
            &stage.logical_volumes(),
            &name,
            "the LogicalVolume is written",
            |_| true,
        )
        .await;
    stage.delete_claim("data").await;
    stage
        .wait(&stage.logical_volumes(), &name, "it is withdrawn", |lv| {
            lv.spec.state == State::AbsentIfNeverUsed
        })
        .await;
    stage
        .agent_says(
            &name,
            json!({"conditions": [condition("Removed", "True", "Removed", "gone")]}),
        )
        .await;
    stage.gone(&stage.logical_volumes(), &name).await;
    assert!(stage.volumes().get_opt(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn a_released_volume_is_removed_once_nobody_has_it_open() {
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.class(waits_for_consumer()).await;
    let name = stage.bound("data", "64Mi", "n1").await;
    stage.delete_claim("data").await;
    stage.quiet().await;
    let lv = stage.logical_volumes().get(&name).await.unwrap();
    assert_eq!(
        lv.spec.state,
        State::Present,
        "nothing happens before the volume is released"
    );
    stage.phase(&name, "Released").await;
    stage
        .wait(&stage.logical_volumes(), &name, "it is retired", |lv| {
            lv.spec.state == State::Absent
        })
        .await;
    stage
        .agent_says(
            &name,
            json!({"conditions": [condition("Removed", "False", "InUse", "open by 1")]}),
        )
        .await;
    stage.quiet().await;
    assert!(stage.volumes().get_opt(&name).await.unwrap().is_some());
    stage
        .agent_says(
            &name,
            json!({"conditions": [condition("Removed", "True", "Removed", "gone")]}),
        )
        .await;
    stage.gone(&stage.logical_volumes(), &name).await;
    // The API server's own protection of volumes is the controller manager's to lift.
    let unprotect = async || {
        let volume = stage.volumes().get_opt(&name).await?;
        let ours = volume.is_some_and(|volume| {
            volume
                .finalizers()
                .iter()
                .any(|f| f.starts_with("external-provisioner"))
        });
        Ok((!ours).then_some(()))
    };
    harness::wait::until(
        "our finalizer is off",
        std::time::Duration::from_secs(10),
        unprotect,
    )
    .await
    .unwrap();
    let _ = stage
        .volumes()
        .patch(
            &name,
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"finalizers": null}})),
        )
        .await;
    stage.gone(&stage.volumes(), &name).await;
}

#[tokio::test]
async fn deleting_the_logicalvolume_object_removes_nothing() {
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.class(waits_for_consumer()).await;
    let name = stage.bound("data", "64Mi", "n1").await;
    stage
        .logical_volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    stage.quiet().await;
    let lv = stage.logical_volumes().get(&name).await.unwrap();
    assert!(lv.metadata.deletion_timestamp.is_some());
    assert_eq!(lv.spec.state, State::Present);
}

#[tokio::test]
async fn a_volume_switched_to_retain_is_kept_without_its_persistent_volume() {
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.class(waits_for_consumer()).await;
    let name = stage.bound("data", "64Mi", "n1").await;
    let patch = Patch::Merge(json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}}));
    stage
        .volumes()
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let free = |volume: &k8s_openapi::api::core::v1::PersistentVolume| {
        !volume
            .finalizers()
            .iter()
            .any(|f| f.starts_with("external-"))
    };
    stage
        .wait(&stage.volumes(), &name, "our finalizer is off", free)
        .await;
    stage.delete_claim("data").await;
    stage.phase(&name, "Released").await;
    stage
        .volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let _ = stage
        .volumes()
        .patch(
            &name,
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"finalizers": null}})),
        )
        .await;
    stage.gone(&stage.volumes(), &name).await;
    stage.quiet().await;
    assert_eq!(
        stage.logical_volumes().get(&name).await.unwrap().spec.state,
        State::Present
    );
}

#[tokio::test]
async fn growth_is_promised_when_there_is_room_and_refused_with_numbers_when_not() {
    let stage = Stage::new().await;
    stage.node("n1", 128).await;
    stage
        .class(json!({"volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true}))
        .await;
    let name = stage.bound("data", "64Mi", "n1").await;
    // The API server lets only bound claims grow.
    let bound = Patch::Merge(json!({"status": {"phase": "Bound"}}));
    stage
        .claims()
        .patch_status("data", &PatchParams::default(), &bound)
        .await
        .unwrap();
    let raise = async |size: &str| {
        let patch = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
        stage
            .claims()
            .patch("data", &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    raise("100Mi").await;
    stage
        .wait(&stage.logical_volumes(), &name, "it is to grow", |lv| {
            lv.spec.size.0 == "100Mi"
        })
        .await;
    raise("1Gi").await;
    stage
        .told(&[
            "VolumeResizeFailed",
            "can't grow to 1 GiB",
            "28 MiB free of 128 MiB",
        ])
        .await;
    let group = json!([{"name": "vg0", "uuid": "u", "size": "2Gi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0"}]);
    stage.report(&stage.name("n1"), group).await;
    stage
        .wait(
            &stage.logical_volumes(),
            &name,
            "it is to grow further",
            |lv| lv.spec.size.0 == "1Gi",
        )
        .await;
}

#[tokio::test]
async fn a_backend_says_which_nodes_serve_it_and_why_the_others_do_not() {
    let stage = Stage::new().await;
    stage.node("n1", 128).await;
    stage.node("n2", 128).await;
    stage.report(&stage.name("n2"), json!([])).await;
    stage.backend("vg0").await;
    let backends: kube::Api<crds::StorageBackend> = kube::Api::all(stage.client.clone());
    let nodes = |count: &'static str| {
        move |backend: &crds::StorageBackend| {
            backend
                .status
                .as_ref()
                .is_some_and(|status| status.nodes.as_deref() == Some(count))
        }
    };
    let backend = stage
        .wait(&backends, &stage.namespace, "it is judged", nodes("1/2"))
        .await;
    let ready = &backend.status.unwrap().conditions[0];
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "SomeNodesUnready")
    );
    assert_eq!(
        ready.message,
        format!("node {} has no volume group vg0", stage.name("n2"))
    );
    let group = json!([{"name": "vg0", "uuid": "u", "size": "128Mi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0"}]);
    stage.report(&stage.name("n2"), group).await;
    let backend = stage
        .wait(&backends, &stage.namespace, "it is ready", nodes("2/2"))
        .await;
    assert_eq!(backend.status.unwrap().conditions[0].status, "True");
}

#[tokio::test]
async fn the_api_server_refuses_impossible_backends() {
    let stage = Stage::new().await;
    let backends: kube::Api<crds::StorageBackend> = kube::Api::all(stage.client.clone());
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
        let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": stage.name("bad")}, "spec": spec});
        let request = http::Request::post("/apis/flexlvm.dev/v1alpha1/storagebackends")
            .header("content-type", "application/json");
        let answer = stage
            .client
            .request_text(request.body(object.to_string().into_bytes()).unwrap())
            .await;
        assert!(answer.is_err(), "accepted: {object}");
    }
    for name in [".a", "...", "vg.0", "a-b", "_x"] {
        let good = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": stage.name("good")}, "spec": {"volumeGroup": name}});
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
async fn of_two_claimants_one_holds_the_lease_until_it_gives_it_back() {
    let stage = Stage::new().await;
    let election = |who: &str| {
        operator::kube::lease::Election::new(stage.client.clone(), &stage.namespace, "leader", who)
    };
    let (first, second) = (election("first"), election("second"));
    first.acquire().await;
    let waiting = tokio::time::timeout(std::time::Duration::from_secs(4), second.acquire()).await;
    assert!(waiting.is_err(), "both hold the lease");
    first.release().await;
    tokio::time::timeout(std::time::Duration::from_secs(4), second.acquire())
        .await
        .expect("the lease is free");
}

#[tokio::test]
async fn the_controller_may_not_write_what_is_the_agents() {
    let stage = Stage::new().await;
    let client = stage
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
