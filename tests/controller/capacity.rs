//! CSIStorageCapacity objects for the scheduler, on servers that support them; on other servers, no
//! trace.

use std::collections::BTreeMap;

use harness::apiserver::ApiServer;
use harness::audit::Request;
use harness::wait;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity, StorageClass};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use operator::controller::capacity::uninstall::UninstallDetector;
use serde_json::{Value, json};

use super::fixture::{Controller, Fixture, from, volume_of};
use super::waits_for_consumer;

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
    let is = async || Ok((published(fixture).await == expected).then_some(()));
    if let Err(error) = wait::until("the capacity is published", wait::LIMIT, is).await {
        panic!(
            "{error}: expected {expected:?}, found {:?}",
            published(fixture).await
        );
    }
}

fn group(size: &str) -> Value {
    json!([{"name": "vg0", "uuid": "u", "size": size, "extentSize": "4Mi", "usedByOthers": "0", "free": "0"}])
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

#[tokio::test]
async fn server_without_capacity_api_gets_no_csi_objects() {
    if !ApiServer::shared().await.is_before(SINCE) {
        return;
    }
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.class(waits_for_consumer()).await;
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
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.node("n2", 64).await;
    fixture.class(waits_for_consumer()).await;
    wait_until_published(&fixture, &[("n1", "1Gi"), ("n2", "64Mi")]).await;
    let driver = fixture
        .wait(
            &drivers(&fixture),
            "flexlvm.dev",
            "the CSIDriver enables capacity tracking",
            |_| true,
        )
        .await;
    let spec = serde_json::to_value(&driver.spec).unwrap();
    assert_eq!(
        (&spec["storageCapacity"], &spec["attachRequired"]),
        (&json!(true), &json!(false))
    );
    assert_ne!(spec["preventPodSchedulingIfMissing"], json!(true));
    let owner = &driver.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str()),
        ("ClusterRole", "flexlvm-controller")
    );

    fixture.bound("data", "512Mi", "n1").await;
    wait_until_published(&fixture, &[("n1", "512Mi"), ("n2", "64Mi")]).await;
    fixture.report(&fixture.name("n2"), group("2Gi")).await; // vgextend
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
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(fixture.client.clone());
    nodes
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
    let fixture = Fixture::new().await;
    fixture.node("n1", 1024).await;
    fixture.class(waits_for_consumer()).await;
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

    let classes: Api<StorageClass> = Api::all(fixture.client.clone());
    classes
        .delete(&fixture.namespace, &DeleteParams::default())
        .await
        .unwrap();
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
    let fixture = Fixture::new().await;
    fixture.node("n1", 4096).await;
    fixture.class(waits_for_consumer()).await;
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

/// A separate server, since concurrent tests on a shared one would write too: two nodes and a
/// class, without a controller.
struct OwnServer {
    server: &'static ApiServer,
    fixture: Fixture,
}

impl OwnServer {
    async fn new() -> Self {
        let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await.unwrap()));
        server.install().unwrap();
        let fixture = Fixture::on(server).await;
        fixture.node("n1", 1024).await;
        fixture.node("n2", 64).await;
        fixture.backend_without_controller("vg0").await;
        fixture.class_only(waits_for_consumer()).await;
        Self { server, fixture }
    }

    fn written(&self) -> Vec<String> {
        writes(self.server)
    }

    /// Starts a controller without published objects and checks the order of its writes.
    async fn publishing(&self) -> Controller {
        let before = self.written().len();
        let running = Controller::start(self.server, true).await;
        self.fixture
            .wait(
                &drivers(&self.fixture),
                "flexlvm.dev",
                "the CSIDriver enables capacity tracking",
                |_| true,
            )
            .await;
        let order = [
            "patch csistoragecapacities",
            "patch csistoragecapacities",
            "patch csidrivers",
        ];
        assert_eq!(self.written()[before..], order);
        running
    }

    /// Waits until all objects are withdrawn and checks the order.
    ///
    /// `before` is the number of earlier writes.
    async fn wait_until_withdrawn(&self, before: usize) {
        self.fixture
            .gone(&drivers(&self.fixture), "flexlvm.dev")
            .await;
        wait_until_published(&self.fixture, &[]).await;
        assert_eq!(
            self.written()[before..],
            ["delete csidrivers", "deletecollection csistoragecapacities"]
        );
    }

    /// Returns the uninstall detector of a controller that starts now.
    async fn uninstall_detector(&self) -> UninstallDetector {
        let client = self
            .server
            .client_of("flexlvm-system", "flexlvm-controller")
            .await
            .unwrap();
        UninstallDetector::find(&client, "flexlvm-system").await
    }
}

#[tokio::test]
async fn capacity_is_published_and_withdrawn_in_order_and_kept_on_restart() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let alone = OwnServer::new().await;
    // The admin switches it off.
    drop(alone.publishing().await);
    let before = alone.written().len();
    let running = Controller::start(alone.server, false).await;
    alone.wait_until_withdrawn(before).await;
    drop(running);

    // A restart: neither the old nor the new controller writes.
    drop(alone.publishing().await);
    let home = alone.uninstall_detector().await;
    let before = alone.written().len();
    home.clean_up().await;
    let running = Controller::start(alone.server, true).await;
    alone.fixture.quiet().await;
    alone.fixture.quiet().await;
    assert_eq!(alone.written()[before..], [""; 0]);

    // Deletion of its Deployment.
    drop(running);
    alone
        .server
        .kubectl(&[
            "delete",
            "-n",
            "flexlvm-system",
            "deployment",
            "flexlvm-controller",
        ])
        .unwrap();
    home.clean_up().await;
    alone.wait_until_withdrawn(before).await;

    // Deletion of its namespace. The new controller finds no Deployment, which proves nothing.
    drop(alone.publishing().await);
    let home = alone.uninstall_detector().await;
    let before = alone.written().len();
    home.clean_up().await;
    assert_eq!(alone.written()[before..], [""; 0]);
    let namespaces: Api<Namespace> = Api::all(alone.fixture.client.clone());
    namespaces
        .delete("flexlvm-system", &DeleteParams::default())
        .await
        .unwrap();
    home.clean_up().await;
    alone.wait_until_withdrawn(before).await;
}

#[tokio::test]
async fn claim_on_last_space_is_served_while_node_is_published_as_full() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.class(waits_for_consumer()).await;
    wait_until_published(&fixture, &[("n1", "64Mi")]).await;
    let name = volume_of(&fixture.claim("data", "64Mi", Some("n1")).await);
    fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "its space is reserved",
            |_| true,
        )
        .await;
    wait_until_published(&fixture, &[("n1", "0")]).await;
    // A scheduler that restarts now finds the node full. The claim keeps its node and is served
    // without the scheduler, which does not check capacity for a bound claim.
    fixture.agent_creates(&name).await;
    fixture
        .wait(
            &fixture.volumes(),
            &name,
            "the PersistentVolume is created",
            |_| true,
        )
        .await;
    let claim = fixture.claims().get("data").await.unwrap();
    assert_eq!(
        claim.annotations()["volume.kubernetes.io/selected-node"],
        fixture.name("n1")
    );
}

#[tokio::test]
async fn claim_too_large_for_any_node_gets_event_without_node() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.class(waits_for_consumer()).await;
    wait_until_published(&fixture, &[("n1", "64Mi")]).await;
    fixture
        .wait(
            &drivers(&fixture),
            "flexlvm.dev",
            "the CSIDriver enables capacity tracking",
            |_| true,
        )
        .await;
    fixture.unprovisioned_claim("small", "32Mi").await;
    fixture.unprovisioned_claim("large", "1Gi").await;
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "1 GiB",
            "no node can provide",
            "64 MiB free of 64 MiB",
        ])
        .await;
    fixture.quiet().await;
    assert_eq!(
        fixture.event_messages().await.len(),
        1,
        "the small one waits for its pod"
    );
    assert!(fixture.own_logical_volumes().await.is_empty());
}

#[tokio::test]
async fn claim_of_invalid_class_gets_event_without_node() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.unprovisioned_claim("data", "32Mi").await;
    let parameters = json!({"backend": fixture.namespace, "speed": "high"});
    fixture
        .class(json!({"volumeBindingMode": "WaitForFirstConsumer", "parameters": parameters}))
        .await;
    fixture
        .wait_for_event(&["ProvisioningFailed", "unknown parameter \"speed\""])
        .await;
    wait_until_published(&fixture, &[("n1", AMPLE)]).await;
    // Parameters of a class are immutable; its admin replaces it.
    let classes: Api<StorageClass> = Api::all(fixture.client.clone());
    classes
        .delete(&fixture.namespace, &DeleteParams::default())
        .await
        .unwrap();
    fixture.class_only(waits_for_consumer()).await;
    wait_until_published(&fixture, &[("n1", "64Mi")]).await;
}

#[tokio::test]
async fn class_without_backend_gets_ample_capacity_after_grace_period() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::new().await;
    fixture.node("n1", 64).await;
    fixture.class_only(waits_for_consumer()).await;
    wait::until("the capacity is published", wait::LIMIT, async || {
        let found = published(&fixture).await;
        Ok(found.values().any(|size| size == AMPLE).then_some(()))
    })
    .await
    .unwrap();
    fixture.backend("vg0").await;
    wait_until_published(&fixture, &[("n1", "64Mi")]).await;
}

/// Creates a node that the scheduler may select, without a kubelet.
async fn allocatable(fixture: &Fixture, node: &str) {
    let nodes: Api<Node> = Api::all(fixture.client.clone());
    // The API server taints each new node as not ready.
    let untainted = Patch::Merge(json!({"spec": {"taints": null}}));
    nodes
        .patch(&fixture.name(node), &PatchParams::default(), &untainted)
        .await
        .unwrap();
    let resources = json!({"cpu": "4", "memory": "4Gi", "pods": "10"});
    let status = Patch::Merge(json!({"status": {"capacity": resources, "allocatable": resources}}));
    nodes
        .patch_status(&fixture.name(node), &PatchParams::default(), &status)
        .await
        .unwrap();
}

/// Creates a pod that uses the claim `data`.
async fn pod(fixture: &Fixture, name: &str) {
    let accounts: Api<ServiceAccount> = Api::namespaced(fixture.client.clone(), &fixture.namespace);
    let account = from(json!({"metadata": {"name": "default"}}));
    let _ = accounts.create(&PostParams::default(), &account).await;
    let pods: Api<Pod> = Api::namespaced(fixture.client.clone(), &fixture.namespace);
    let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
    let spec = json!({"automountServiceAccountToken": false, "volumes": [volume],
        "containers": [{"name": "app", "image": "app"}]});
    let pod = from(json!({"metadata": {"name": name}, "spec": spec}));
    pods.create(&PostParams::default(), &pod).await.unwrap();
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "the steps of one test")]
async fn scheduler_reports_failed_provisioning_for_invalid_class() {
    let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await.unwrap()));
    server.install().unwrap();
    let fixture = Fixture::on(server).await;
    fixture.node("n1", 1024).await;
    allocatable(&fixture, "n1").await;
    fixture.backend_without_controller("vg0").await;
    let parameters = json!({"backend": fixture.namespace, "speed": "high"});
    fixture
        .class_only(json!({"volumeBindingMode": "WaitForFirstConsumer", "parameters": parameters}))
        .await;
    let _controller = Controller::start(server, true).await;
    let has_capacities = server.kubernetes().minor_version().unwrap() >= SINCE;
    if has_capacities {
        wait_until_published(&fixture, &[("n1", AMPLE)]).await;
        fixture
            .wait(
                &drivers(&fixture),
                "flexlvm.dev",
                "the scheduler respects the capacities",
                |_| true,
            )
            .await;
    }
    let _scheduler = server.start_scheduler().unwrap();
    // The PersistentVolume controller has done its part: the claim has a provisioner annotation.
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    pod(&fixture, "app").await;
    fixture
        .wait_for_event_about(
            "app",
            &["FailedScheduling", "provisioning failed for PVC \"data\""],
        )
        .await;
    fixture
        .wait_for_event_about(
            "data",
            &["ProvisioningFailed", "unknown parameter \"speed\""],
        )
        .await;
    let phrases = fixture.event_messages().await;
    assert!(
        !phrases
            .iter()
            .any(|phrases| phrases.contains("free storage")),
        "{phrases:?}"
    );
    // The scheduler selects a node again, which stays for now: no loop between two writers.
    let is_selected = |claim: &PersistentVolumeClaim| {
        claim
            .annotations()
            .contains_key("volume.kubernetes.io/selected-node")
    };
    fixture
        .wait(
            &fixture.claims(),
            "data",
            "a node is selected again",
            is_selected,
        )
        .await;
    for _ in 0..3 {
        fixture.quiet().await;
    }
    assert!(is_selected(&fixture.claims().get("data").await.unwrap()));

    let classes: Api<StorageClass> = Api::all(fixture.client.clone());
    classes
        .delete(&fixture.namespace, &DeleteParams::default())
        .await
        .unwrap();
    fixture.class_only(waits_for_consumer()).await;
    let lv = fixture.agent_creates(&name).await;
    assert_eq!(lv.spec.node, fixture.name("n1"));
}
