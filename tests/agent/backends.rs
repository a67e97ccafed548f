//! The agent's copy of the StorageBackends, with its own account's rights.

use std::sync::Arc;
use std::time::Duration;

use crds::StorageBackend;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use operator::agent::watches::backends::{Backends, SelectedBackends};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;

use crate::stage::Stage;

/// Waits until of this test's backends exactly these select the node.
async fn select(
    selected: &mut Receiver<Option<Arc<SelectedBackends>>>,
    part: &str,
    expected: &[&str],
) {
    let is = |known: &Option<Arc<SelectedBackends>>| {
        let names = known
            .as_ref()
            .map(|all| all.iter().map(|one| one.name_any()));
        names.is_some_and(|names| {
            names
                .filter(|name| name.contains(part))
                .eq(expected.iter().copied())
        })
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), selected.wait_for(is))
        .await
        .is_ok();
    assert!(
        waited,
        "{expected:?} should be selected, and {:?} are",
        selected.borrow()
    );
}

#[tokio::test]
async fn an_agent_says_what_became_of_each_device_and_says_it_once() {
    let stage = Stage::new(100).await;
    let dev = stage.site.folder().join("proc/1/root/dev");
    std::fs::create_dir_all(&dev).unwrap();
    std::fs::write(dev.join("file"), "").unwrap();
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {"disk": &stage.name}}}));
    nodes
        .patch(&stage.name, &PatchParams::default(), &label)
        .await
        .unwrap();
    let _agent = stage.agent();
    let name = format!("{}-devices", stage.name);
    let object: StorageBackend = serde_json::from_value(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": &name},
        "spec": {"volumeGroup": "vg1", "devices": ["/dev/none", "/dev/file"], "nodeSelector": {"matchLabels": {"disk": &stage.name}}},
    }))
    .unwrap();
    let api: Api<StorageBackend> = Api::all(stage.client.clone());
    api.create(&PostParams::default(), &object).await.unwrap();
    let reasons = |storage: &crds::NodeStorage| {
        let devices = storage.status.clone().unwrap_or_default().devices;
        let line =
            |device: crds::devices::NodeDevice| (device.path, device.reason.unwrap_or_default());
        devices.into_iter().map(line).collect::<Vec<_>>()
    };
    let expected = [("/dev/none", "NotFound"), ("/dev/file", "NotABlockDevice")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
    stage
        .reports("both devices are reported", |storage| {
            reasons(storage) == expected
        })
        .await;
    stage
        .reports("the driver is installed", |storage| {
            crate::stage::holds(storage, "DriverInstalled")
        })
        .await;
    let count = || {
        stage
            .writes(&stage.name)
            .iter()
            .filter(|write| write.contains("nodestorages"))
            .count()
    };
    let before = count();
    // Its volume, and the controller's numbers, are no reason to say it again.
    stage.ready(&stage.order("data", 8).await).await;
    let numbers = Patch::Merge(json!({"status": {"volumes": 1}}));
    api.patch_status(&name, &PatchParams::default(), &numbers)
        .await
        .unwrap();
    stage.quiet().await;
    assert_eq!(count(), before);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    stage
        .reports("nothing is wanted any more", |storage| {
            reasons(storage).is_empty()
        })
        .await;
}

#[tokio::test]
async fn an_agent_knows_which_backends_select_its_node() {
    let stage = Stage::new(1).await;
    let (backends, writer) = Backends::new(&stage.name);
    let (client, followed) = (stage.agents_client().await, backends.clone());
    let follow = tokio::spawn(async move { followed.run(&client, writer).await });
    let mut selected = backends.selected();
    let api: Api<StorageBackend> = Api::all(stage.client.clone());
    let (first, second) = (format!("{}-a", stage.name), format!("{}-b", stage.name));
    for (name, disk) in [(&first, "ssd"), (&second, "hdd")] {
        let object: StorageBackend = serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": name},
            "spec": {"volumeGroup": "vg0", "nodeSelector": {"matchLabels": {"disk": disk}}},
        }))
        .unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    select(&mut selected, &stage.name, &[]).await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let label = async |value: &str| {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"disk": value}}}));
        nodes
            .patch(&stage.name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    label("ssd").await;
    select(&mut selected, &stage.name, &[&first]).await;
    label("hdd").await;
    select(&mut selected, &stage.name, &[&second]).await;
    let change = async |name: &str, spec: Value| {
        api.patch(
            name,
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": spec})),
        )
        .await
        .unwrap();
    };
    change(&first, json!({"nodeSelector": null})).await;
    select(&mut selected, &stage.name, &[&first, &second]).await;
    api.delete(&second, &DeleteParams::default()).await.unwrap();
    select(&mut selected, &stage.name, &[&first]).await;
    nodes
        .delete(&stage.name, &DeleteParams::default())
        .await
        .unwrap();
    assert!(
        tokio::time::timeout(Duration::from_secs(20), selected.wait_for(Option::is_none))
            .await
            .is_ok()
    );
    api.delete(&first, &DeleteParams::default()).await.unwrap();
    follow.abort();
}
