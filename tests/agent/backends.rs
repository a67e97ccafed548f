//! The agent's cache of StorageBackends, with the rights of its own account.

use std::sync::Arc;

use crds::StorageBackend;
use harness::wait::LIMIT;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use operator::agent::watches::backends::{Backends, SelectedBackends};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;

use crate::fixture::Fixture;

/// Waits until the node is selected by exactly these backends of the test.
async fn select(
    selected: &mut Receiver<Option<Arc<SelectedBackends>>>,
    part: &str,
    expected: &[&str],
) {
    let waited = tokio::time::timeout(
        LIMIT,
        selected.wait_for(|known: &Option<Arc<SelectedBackends>>| {
            let names = known
                .as_ref()
                .map(|all| all.iter().map(|one| one.name_any()));
            names.is_some_and(|names| {
                names
                    .filter(|name| name.contains(part))
                    .eq(expected.iter().copied())
            })
        }),
    )
    .await
    .is_ok();
    assert!(
        waited,
        "{expected:?} should be selected, and {:?} are",
        selected.borrow()
    );
}

#[tokio::test]
async fn agent_reports_each_device_once() {
    let fixture = Fixture::new(100).await;
    let dev = fixture.site.folder().join("proc/1/root/dev");
    std::fs::create_dir_all(&dev).unwrap();
    std::fs::write(dev.join("file"), "").unwrap();
    let nodes: Api<Node> = Api::all(fixture.client.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {"disk": &fixture.name}}}));
    nodes
        .patch(&fixture.name, &PatchParams::default(), &label)
        .await
        .unwrap();
    let _agent = fixture.agent();
    let name = format!("{}-devices", fixture.name);
    let object: StorageBackend = serde_json::from_value(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": &name},
        "spec": {"volumeGroup": "vg1", "devices": ["/dev/none", "/dev/file"], "nodeSelector": {"matchLabels": {"disk": &fixture.name}}},
    }))
    .unwrap();
    let api: Api<StorageBackend> = Api::all(fixture.client.clone());
    api.create(&PostParams::default(), &object).await.unwrap();
    let reasons = |storage: &crds::NodeStorage| {
        let devices = storage.status.clone().unwrap_or_default().devices;
        let line =
            |device: crds::devices::NodeDevice| (device.path, device.reason.unwrap_or_default());
        devices.into_iter().map(line).collect::<Vec<_>>()
    };
    let expected = [("/dev/none", "NotFound"), ("/dev/file", "NotABlockDevice")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
    fixture
        .wait_for_report("both devices are reported", |storage| {
            reasons(storage) == expected
        })
        .await;
    fixture
        .wait_for_report("the driver is installed", |storage| {
            crate::fixture::is_condition_true(storage, "DriverInstalled")
        })
        .await;
    let count = || {
        fixture
            .writes(&fixture.name)
            .iter()
            .filter(|write| write.contains("nodestorages"))
            .count()
    };
    let before = count();
    // Neither its volume nor the controller's status update may cause another write.
    fixture.ready(&fixture.create_volume("data", 8).await).await;
    let numbers = Patch::Merge(json!({"status": {"volumes": 1}}));
    api.patch_status(&name, &PatchParams::default(), &numbers)
        .await
        .unwrap();
    fixture.quiet().await;
    assert_eq!(count(), before);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    fixture
        .wait_for_report("no device is configured any more", |storage| {
            reasons(storage).is_empty()
        })
        .await;
}

#[tokio::test]
async fn agent_caches_backends_that_select_its_node() {
    let fixture = Fixture::new(1).await;
    let (backends, writer) = Backends::new(&fixture.name);
    let client = fixture.agents_client().await;
    let followed = backends.clone();
    let follow = tokio::spawn(async move { followed.run(&client, writer).await });
    let mut selected = backends.selected();
    let api: Api<StorageBackend> = Api::all(fixture.client.clone());
    let first = format!("{}-a", fixture.name);
    let second = format!("{}-b", fixture.name);
    for (name, disk) in [(&first, "ssd"), (&second, "hdd")] {
        let object: StorageBackend = serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": name},
            "spec": {"volumeGroup": "vg0", "nodeSelector": {"matchLabels": {"disk": disk}}},
        }))
        .unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    select(&mut selected, &fixture.name, &[]).await;
    let nodes: Api<Node> = Api::all(fixture.client.clone());
    let label = async |value: &str| {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"disk": value}}}));
        nodes
            .patch(&fixture.name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    label("ssd").await;
    select(&mut selected, &fixture.name, &[&first]).await;
    label("hdd").await;
    select(&mut selected, &fixture.name, &[&second]).await;
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
    select(&mut selected, &fixture.name, &[&first, &second]).await;
    api.delete(&second, &DeleteParams::default()).await.unwrap();
    select(&mut selected, &fixture.name, &[&first]).await;
    nodes
        .delete(&fixture.name, &DeleteParams::default())
        .await
        .unwrap();
    assert!(
        tokio::time::timeout(LIMIT, selected.wait_for(Option::is_none))
            .await
            .is_ok()
    );
    api.delete(&first, &DeleteParams::default()).await.unwrap();
    follow.abort();
}
