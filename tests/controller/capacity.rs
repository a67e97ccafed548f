//! CSIStorageCapacity objects for the scheduler, on servers that support them; on other servers, no
//! trace.

mod claims;
mod lifecycle;
mod scheduler;

use std::collections::BTreeMap;

use harness::apiserver::ApiServer;
use harness::audit::Request;
use harness::wait;
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::fixture::Fixture;

/// Number of claims created at once.
const CLAIMS: usize = 60;

/// Published for a class that serves no claim.
const AMPLE: &str = "1Ei";

/// The first version with `storage.k8s.io/v1` CSIStorageCapacity.
const SINCE: u32 = 24;

fn drivers(fixture: &Fixture) -> Api<CSIDriver> {
    Api::all(fixture.client.clone())
}

fn capacities(fixture: &Fixture) -> Api<CSIStorageCapacity> {
    Api::namespaced(fixture.client.clone(), "flexlvm-system")
}

/// Returns the published capacities of the fixture's class: the largest claim by host.
async fn published(fixture: &Fixture) -> BTreeMap<String, String> {
    let all = capacities(fixture)
        .list(&ListParams::default())
        .await
        .unwrap();
    let ours = all
        .items
        .into_iter()
        .filter(|capacity| capacity.storage_class_name == fixture.namespace);
    ours.map(|capacity| {
        let labels = capacity.node_topology.unwrap().match_labels.unwrap();
        let largest = capacity.maximum_volume_size.unwrap().0;
        (
            labels["kubernetes.io/hostname"].replace(&format!("host-{}-", fixture.namespace), ""),
            largest,
        )
    })
    .collect()
}

/// Waits until exactly these capacities are published.
async fn wait_until_published(fixture: &Fixture, expected: &[(&str, &str)]) {
    let expected = expected
        .iter()
        .map(|(host, size)| ((*host).to_owned(), (*size).to_owned()))
        .collect();
    let reached = wait::until("the capacity is published", wait::LIMIT, async || {
        Ok((published(fixture).await == expected).then_some(()))
    });
    if let Err(error) = reached.await {
        panic!(
            "{error}: expected {expected:?}, found {:?}",
            published(fixture).await
        );
    }
}

/// Returns the controller's writes to CSI objects, in order: `patch csidrivers`, …
fn writes(server: &ApiServer) -> Vec<String> {
    let writes = server
        .writes("")
        .unwrap()
        .into_iter()
        .filter(|write| write.resource.starts_with("csi"));
    writes
        .map(|Request { verb, resource, .. }| format!("{verb} {resource}"))
        .collect()
}

/// Waits until the CSIDriver enables capacity tracking.
async fn wait_for_driver(fixture: &Fixture) -> CSIDriver {
    let what = "the CSIDriver enables capacity tracking";
    fixture
        .wait(&drivers(fixture), "flexlvm.dev", what, |_| true)
        .await
}

#[tokio::test]
async fn server_without_capacity_api_gets_no_csi_objects() {
    if !ApiServer::shared().await.is_before(SINCE) {
        return;
    }
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    assert!(!name.is_empty());
    // Here the scheduler selects a node in any case, and then requests provisioning.
    fixture.unprovisioned_claim("unprovisioned", "1Ti").await;
    fixture.quiet().await;
    assert_eq!(
        fixture.event_messages().await.len(),
        1,
        "only the created volume"
    );
    assert!(writes(fixture.server).is_empty());
    assert!(
        drivers(&fixture)
            .get_opt("flexlvm.dev")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn free_space_of_each_node_is_published_and_updated() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::with_waiting_class(&[("n1", 1024), ("n2", 64)]).await;
    wait_until_published(&fixture, &[("n1", "1Gi"), ("n2", "64Mi")]).await;
    let driver = wait_for_driver(&fixture).await;
    let spec = serde_json::to_value(&driver.spec).unwrap();
    assert_eq!(spec["storageCapacity"], json!(true));
    assert_eq!(spec["attachRequired"], json!(false));
    assert_ne!(spec["preventPodSchedulingIfMissing"], json!(true));
    let owner = &driver.owner_references()[0];
    assert_eq!(owner.kind, "ClusterRole");
    assert_eq!(owner.name, "flexlvm-controller");

    fixture.bound("data", "512Mi", "n1").await;
    wait_until_published(&fixture, &[("n1", "512Mi"), ("n2", "64Mi")]).await;
    fixture.report_size("n2", "2Gi").await; // vgextend
    wait_until_published(&fixture, &[("n1", "512Mi"), ("n2", "2Gi")]).await;
    fixture.report_hang("n2").await;
    wait_until_published(&fixture, &[("n1", "512Mi")]).await;
    fixture.report_size("n2", "2Gi").await;
    wait_until_published(&fixture, &[("n1", "512Mi"), ("n2", "2Gi")]).await;
    fixture
        .change_backend(json!({"reserve": "256Mi", "volumeSize": {"maximum": "1Gi"}}))
        .await;
    wait_until_published(&fixture, &[("n1", "256Mi"), ("n2", "1792Mi")]).await;
    fixture
        .change_backend(json!({"reserve": "100%", "volumeSize": null}))
        .await;
    wait_until_published(&fixture, &[("n1", "0"), ("n2", "0")]).await;
    fixture.change_backend(json!({"reserve": null})).await;
    fixture.report(&fixture.name("n2"), json!([])).await;
    wait_until_published(&fixture, &[("n1", "512Mi")]).await;
    fixture
        .nodes()
        .delete(&fixture.name("n1"), &DeleteParams::default())
        .await
        .unwrap();
    wait_until_published(&fixture, &[]).await;
}

#[tokio::test]
async fn published_objects_are_repaired_and_removed_when_unused() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    wait_until_published(&fixture, &[("n1", "1Gi")]).await;
    let all = capacities(&fixture)
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let ours = all
        .into_iter()
        .find(|capacity| capacity.storage_class_name == fixture.namespace)
        .unwrap();
    capacities(&fixture)
        .delete(&ours.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    fixture
        .wait(
            &capacities(&fixture),
            &ours.name_any(),
            "the capacity is published again",
            |found: &CSIStorageCapacity| found.uid() != ours.uid(),
        )
        .await;
    let lie = Patch::Merge(json!({"maximumVolumeSize": "1Ti"}));
    capacities(&fixture)
        .patch(&ours.name_any(), &PatchParams::default(), &lie)
        .await
        .unwrap();
    wait_until_published(&fixture, &[("n1", "1Gi")]).await;

    fixture.delete_class().await;
    wait_until_published(&fixture, &[]).await;
    fixture
        .class_only(json!({"volumeBindingMode": "Immediate"}))
        .await;
    fixture.quiet().await;
    wait_until_published(&fixture, &[]).await;
}

#[tokio::test]
async fn many_claims_cause_few_capacity_writes() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::with_waiting_class(&[("n1", 4096)]).await;
    wait_until_published(&fixture, &[("n1", "4Gi")]).await;
    for number in 0..CLAIMS {
        fixture
            .claim(&format!("c{number}"), "32Mi", Some("n1"))
            .await;
    }
    wait_until_published(&fixture, &[("n1", "2176Mi")]).await;
    assert_eq!(fixture.own_logical_volumes().await.len(), CLAIMS);
    let written = fixture.server.writes(&fixture.namespace).unwrap();
    let written = written
        .iter()
        .filter(|write| write.resource == "csistoragecapacities")
        .count();
    // One write that created it, and one each ten seconds while the claims were served.
    assert!(
        (2..CLAIMS / 6).contains(&written),
        "{written} writes for {CLAIMS} claims"
    );
}
