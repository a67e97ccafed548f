//! The agent's cache of StorageBackends, with the rights of its own account.

use std::sync::Arc;

use crds::{NodeStorage, StorageBackend};
use harness::wait::LIMIT;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use operator::agent::watches::backends::{Backends, SelectedBackends};
use serde_json::json;
use tokio::sync::watch::Receiver;

use crate::fixture::Fixture;

/// Waits until the node is selected by exactly these backends of the test.
async fn wait_for_selection(
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

/// Returns a backend on the nodes with this value of the label `disk`.
fn backend_on(name: &str, volume_group: &str, disk: &str) -> StorageBackend {
    serde_json::from_value(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": name},
        "spec": {"volumeGroup": volume_group, "nodeSelector": {"matchLabels": {"disk": disk}}},
    }))
    .unwrap()
}

/// Returns the reported devices, each with its reason.
fn device_reasons(storage: &NodeStorage) -> Vec<String> {
    let devices = storage.status.iter().flat_map(|status| &status.devices);
    devices
        .map(|device| {
            let reason = device.reason.as_deref().unwrap_or_default();
            format!("{}: {reason}", device.path)
        })
        .collect()
}

#[tokio::test]
async fn agent_reports_each_device_once() {
    let fixture = Fixture::new(100).await;
    let dev = fixture.site.folder().join("proc/1/root/dev");
    std::fs::create_dir_all(&dev).unwrap();
    std::fs::write(dev.join("file"), "").unwrap();
    fixture.label_node(&fixture.name).await;
    let _agent = fixture.agent();
    let name = format!("{}-devices", fixture.name);
    let api: Api<StorageBackend> = Api::all(fixture.client.clone());
    let devices = ["/dev/none", "/dev/file"];
    let mut backend = backend_on(&name, "vg1", &fixture.name);
    backend.spec.devices = devices.map(str::to_owned).into();
    api.create(&PostParams::default(), &backend).await.unwrap();
    let expected = ["/dev/none: NotFound", "/dev/file: NotABlockDevice"];
    fixture
        .wait_for_report("both devices are reported", |storage| {
            device_reasons(storage) == expected
        })
        .await;
    fixture.wait_for_driver().await;
    let before = fixture.report_writes();
    // Neither its volume nor the controller's status update may cause another write.
    fixture.ready(&fixture.create_volume("data", 8).await).await;
    let numbers = Patch::Merge(json!({"status": {"volumes": 1}}));
    api.patch_status(&name, &PatchParams::default(), &numbers)
        .await
        .unwrap();
    fixture.quiet().await;
    assert_eq!(fixture.report_writes(), before);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    fixture
        .wait_for_report("no device is configured any more", |storage| {
            device_reasons(storage).is_empty()
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
        let backend = backend_on(name, "vg0", disk);
        api.create(&PostParams::default(), &backend).await.unwrap();
    }
    wait_for_selection(&mut selected, &fixture.name, &[]).await;
    fixture.label_node("ssd").await;
    wait_for_selection(&mut selected, &fixture.name, &[&first]).await;
    fixture.label_node("hdd").await;
    wait_for_selection(&mut selected, &fixture.name, &[&second]).await;
    let patch = Patch::Merge(json!({"spec": {"nodeSelector": null}}));
    api.patch(&first, &PatchParams::default(), &patch)
        .await
        .unwrap();
    wait_for_selection(&mut selected, &fixture.name, &[&first, &second]).await;
    api.delete(&second, &DeleteParams::default()).await.unwrap();
    wait_for_selection(&mut selected, &fixture.name, &[&first]).await;
    let nodes: Api<Node> = Api::all(fixture.client.clone());
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
