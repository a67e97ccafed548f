//! What the scheduler is told of space, on servers that have the means; and that others are left in
//! peace.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::apiserver::ApiServer;
use harness::audit::Request;
use harness::wait;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity, StorageClass};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use operator::controller::capacity::uninstall::UninstallDetector;
use serde_json::{Value, json};

use super::stage::{Controller, Stage, from, volume_of};
use super::waits_for_consumer;

/// How many claims make a crowd.
const CROWD: usize = 60;

/// Published for a class that serves no claim.
const AMPLE: &str = "1Ei";

/// The first version with `storage.k8s.io/v1` CSIStorageCapacity.
const SINCE: u32 = 24;

fn drivers(stage: &Stage) -> Api<CSIDriver> {
    Api::all(stage.client.clone())
}

fn capacities(stage: &Stage) -> Api<CSIStorageCapacity> {
    Api::namespaced(stage.client.clone(), "flexlvm-system")
}

/// What this corner's class has published: the largest claim by host.
async fn published(stage: &Stage) -> BTreeMap<String, String> {
    let all = capacities(stage)
        .list(&ListParams::default())
        .await
        .unwrap();
    let ours = all
        .items
        .into_iter()
        .filter(|capacity| capacity.storage_class_name == stage.namespace);
    ours.map(|capacity| {
        let labels = capacity.node_topology.unwrap().match_labels.unwrap();
        let largest = capacity.maximum_volume_size.unwrap().0;
        (
            labels["kubernetes.io/hostname"].replace(&format!("host-{}-", stage.namespace), ""),
            largest,
        )
    })
    .collect()
}

/// Waits until exactly this is published.
async fn publishes(stage: &Stage, expected: &[(&str, &str)]) {
    let expected = expected
        .iter()
        .map(|(host, size)| ((*host).to_owned(), (*size).to_owned()))
        .collect();
    let is = async || Ok((published(stage).await == expected).then_some(()));
    if let Err(error) = wait::until("it is published", Duration::from_secs(30), is).await {
        panic!(
            "{error}: expected {expected:?}, found {:?}",
            published(stage).await
        );
    }
}

fn group(size: &str) -> Value {
    json!([{"name": "vg0", "uuid": "u", "size": size, "extentSize": "4Mi", "usedByOthers": "0", "free": "0"}])
}

/// The controller's writes to what is published, in order: `patch csidrivers`, …
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
async fn a_server_without_capacities_is_left_in_peace() {
    if !ApiServer::shared().await.is_before(SINCE) {
        return;
    }
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.class(waits_for_consumer()).await;
    let name = stage.bound("data", "64Mi", "n1").await;
    assert!(!name.is_empty());
    // Here the scheduler selects a node all the same, and then somebody asks.
    stage.unasked_claim("unasked", "1Ti").await;
    stage.quiet().await;
    assert_eq!(
        stage.words().await.len(),
        1,
        "nothing but the volume that was made"
    );
    assert!(writes(stage.server).is_empty());
    assert!(
        drivers(&stage)
            .get_opt("flexlvm.dev")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn the_room_of_each_node_is_published_and_followed() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.node("n2", 64).await;
    stage.class(waits_for_consumer()).await;
    publishes(&stage, &[("n1", "1Gi"), ("n2", "64Mi")]).await;
    let driver = stage
        .wait(
            &drivers(&stage),
            "flexlvm.dev",
            "the scheduler is told to heed it",
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

    stage.bound("data", "512Mi", "n1").await;
    publishes(&stage, &[("n1", "512Mi"), ("n2", "64Mi")]).await;
    stage.report(&stage.name("n2"), group("2Gi")).await; // vgextend
    publishes(&stage, &[("n1", "512Mi"), ("n2", "2Gi")]).await;
    stage
        .change_backend(json!({"reserve": "256Mi", "volumeSize": {"maximum": "1Gi"}}))
        .await;
    publishes(&stage, &[("n1", "256Mi"), ("n2", "1792Mi")]).await;
    stage
        .change_backend(json!({"reserve": "100%", "volumeSize": null}))
        .await;
    publishes(&stage, &[("n1", "0"), ("n2", "0")]).await;
    stage.change_backend(json!({"reserve": null})).await;
    stage.report(&stage.name("n2"), json!([])).await;
    publishes(&stage, &[("n1", "512Mi")]).await;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(stage.client.clone());
    nodes
        .delete(&stage.name("n1"), &DeleteParams::default())
        .await
        .unwrap();
    publishes(&stage, &[]).await;
}

#[tokio::test]
async fn what_somebody_deletes_or_changes_is_mended_and_what_nobody_needs_goes() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let stage = Stage::new().await;
    stage.node("n1", 1024).await;
    stage.class(waits_for_consumer()).await;
    publishes(&stage, &[("n1", "1Gi")]).await;
    let all = capacities(&stage)
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let ours = all
        .into_iter()
        .find(|capacity| capacity.storage_class_name == stage.namespace)
        .unwrap();
    capacities(&stage)
        .delete(&ours.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    let anew = |found: &CSIStorageCapacity| found.uid() != ours.uid();
    stage
        .wait(
            &capacities(&stage),
            &ours.name_any(),
            "it is published again",
            anew,
        )
        .await;
    let lie = Patch::Merge(json!({"maximumVolumeSize": "1Ti"}));
    capacities(&stage)
        .patch(&ours.name_any(), &PatchParams::default(), &lie)
        .await
        .unwrap();
    publishes(&stage, &[("n1", "1Gi")]).await;

    let classes: Api<StorageClass> = Api::all(stage.client.clone());
    classes
        .delete(&stage.namespace, &DeleteParams::default())
        .await
        .unwrap();
    publishes(&stage, &[]).await;
    stage
        .class_alone(json!({"volumeBindingMode": "Immediate"}))
        .await;
    stage.quiet().await;
    publishes(&stage, &[]).await;
}

#[tokio::test]
async fn a_crowd_of_claims_costs_few_writes() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let stage = Stage::new().await;
    stage.node("n1", 4096).await;
    stage.class(waits_for_consumer()).await;
    publishes(&stage, &[("n1", "4Gi")]).await;
    for number in 0..CROWD {
        stage.claim(&format!("c{number}"), "32Mi", Some("n1")).await;
    }
    publishes(&stage, &[("n1", "2176Mi")]).await;
    assert_eq!(stage.made().await.len(), CROWD);
    let written = stage.server.writes(&stage.namespace).unwrap();
    let written = written
        .iter()
        .filter(|write| write.resource == "csistoragecapacities")
        .count();
    // One that made it, and one each ten seconds while the crowd was served.
    assert!(
        (2..CROWD / 6).contains(&written),
        "{written} writes for {CROWD} claims"
    );
}

/// A server of its own, since whatever else runs on one would write too: two nodes and a class, and
/// no controller yet.
struct Alone {
    server: &'static ApiServer,
    stage: Stage,
}

impl Alone {
    async fn new() -> Self {
        let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await.unwrap()));
        server.install().unwrap();
        let stage = Stage::on(server).await;
        stage.node("n1", 1024).await;
        stage.node("n2", 64).await;
        stage.unjudged_backend("vg0").await;
        stage.class_alone(waits_for_consumer()).await;
        Self { server, stage }
    }

    fn written(&self) -> Vec<String> {
        writes(self.server)
    }

    /// A controller that finds nothing published, and publishes in order.
    async fn publishing(&self) -> Controller {
        let before = self.written().len();
        let running = Controller::start(self.server, true).await;
        self.stage
            .wait(
                &drivers(&self.stage),
                "flexlvm.dev",
                "the scheduler is told to heed it",
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

    /// Waits until everything is taken back, and looks in which order; `before` is how much was
    /// written before that.
    async fn withdrawn(&self, before: usize) {
        self.stage.gone(&drivers(&self.stage), "flexlvm.dev").await;
        publishes(&self.stage, &[]).await;
        assert_eq!(
            self.written()[before..],
            ["delete csidrivers", "deletecollection csistoragecapacities"]
        );
    }

    /// What a controller knows of where it lives, when it starts now.
    async fn home(&self) -> UninstallDetector {
        let client = self
            .server
            .client_of("flexlvm-system", "flexlvm-controller")
            .await
            .unwrap();
        UninstallDetector::find(&client, "flexlvm-system").await
    }
}

#[tokio::test]
async fn it_is_published_and_withdrawn_in_order_and_survives_a_restart() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let alone = Alone::new().await;
    // It is switched off.
    drop(alone.publishing().await);
    let before = alone.written().len();
    let running = Controller::start(alone.server, false).await;
    alone.withdrawn(before).await;
    drop(running);

    // It is restarted: nothing is written, neither by the one that goes nor by the one that comes.
    drop(alone.publishing().await);
    let home = alone.home().await;
    let before = alone.written().len();
    home.clean_up().await;
    let running = Controller::start(alone.server, true).await;
    alone.stage.quiet().await;
    alone.stage.quiet().await;
    assert_eq!(alone.written()[before..], [""; 0]);

    // Its Deployment is deleted.
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
    alone.withdrawn(before).await;

    // Its namespace is being deleted. The one that comes finds no Deployment, and that says
    // nothing.
    drop(alone.publishing().await);
    let home = alone.home().await;
    let before = alone.written().len();
    home.clean_up().await;
    assert_eq!(alone.written()[before..], [""; 0]);
    let namespaces: Api<Namespace> = Api::all(alone.stage.client.clone());
    namespaces
        .delete("flexlvm-system", &DeleteParams::default())
        .await
        .unwrap();
    home.clean_up().await;
    alone.withdrawn(before).await;
}

#[tokio::test]
async fn a_claim_on_the_last_space_is_served_though_its_node_is_published_as_full() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let stage = Stage::new().await;
    stage.node("n1", 64).await;
    stage.class(waits_for_consumer()).await;
    publishes(&stage, &[("n1", "64Mi")]).await;
    let name = volume_of(&stage.claim("data", "64Mi", Some("n1")).await);
    stage
        .wait(
            &stage.logical_volumes(),
            &name,
            "its space is promised",
            |_| true,
        )
        .await;
    publishes(&stage, &[("n1", "0")]).await;
    // Whoever looks again now, a scheduler that was restarted, finds the node full. The claim keeps
    // its node, is served without the scheduler's help, and a bound claim is not asked for
    // capacity.
    stage.agent_makes(&name).await;
    stage
        .wait(
            &stage.volumes(),
            &name,
            "the PersistentVolume is written",
            |_| true,
        )
        .await;
    let claim = stage.claims().get("data").await.unwrap();
    assert_eq!(
        claim.annotations()["volume.kubernetes.io/selected-node"],
        stage.name("n1")
    );
}

#[tokio::test]
async fn a_claim_that_no_node_has_room_for_says_so_without_a_node() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let stage = Stage::new().await;
    stage.node("n1", 64).await;
    stage.class(waits_for_consumer()).await;
    publishes(&stage, &[("n1", "64Mi")]).await;
    stage
        .wait(
            &drivers(&stage),
            "flexlvm.dev",
            "the scheduler is told to heed it",
            |_| true,
        )
        .await;
    stage.unasked_claim("small", "32Mi").await;
    stage.unasked_claim("large", "1Gi").await;
    stage
        .told(&[
            "ProvisioningFailed",
            "1 GiB",
            "no node can provide",
            "64 MiB free of 64 MiB",
        ])
        .await;
    stage.quiet().await;
    assert_eq!(
        stage.words().await.len(),
        1,
        "the small one waits for its pod"
    );
    assert!(stage.made().await.is_empty());
}

#[tokio::test]
async fn a_claim_whose_class_is_not_understood_says_so_without_a_node() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let stage = Stage::new().await;
    stage.node("n1", 64).await;
    stage.unasked_claim("data", "32Mi").await;
    let parameters = json!({"backend": stage.namespace, "speed": "high"});
    stage
        .class(json!({"volumeBindingMode": "WaitForFirstConsumer", "parameters": parameters}))
        .await;
    stage
        .told(&["ProvisioningFailed", "unknown parameter \"speed\""])
        .await;
    publishes(&stage, &[("n1", AMPLE)]).await;
    // Parameters of a class can't be changed; its admin replaces it.
    let classes: Api<StorageClass> = Api::all(stage.client.clone());
    classes
        .delete(&stage.namespace, &DeleteParams::default())
        .await
        .unwrap();
    stage.class_alone(waits_for_consumer()).await;
    publishes(&stage, &[("n1", "64Mi")]).await;
}

#[tokio::test]
async fn a_class_without_its_backend_gets_ample_capacity_after_a_grace_period() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let stage = Stage::new().await;
    stage.node("n1", 64).await;
    stage.class_alone(waits_for_consumer()).await;
    let ample = async || {
        let found = published(&stage).await;
        Ok(found.values().any(|size| size == AMPLE).then_some(()))
    };
    wait::until("it is published", Duration::from_secs(30), ample)
        .await
        .unwrap();
    stage.backend("vg0").await;
    publishes(&stage, &[("n1", "64Mi")]).await;
}

/// Makes a node that the scheduler may select, without a kubelet.
async fn allocatable(stage: &Stage, node: &str) {
    let nodes: Api<Node> = Api::all(stage.client.clone());
    // The API server taints each new node as not ready.
    let untainted = Patch::Merge(json!({"spec": {"taints": null}}));
    nodes
        .patch(&stage.name(node), &PatchParams::default(), &untainted)
        .await
        .unwrap();
    let room = json!({"cpu": "4", "memory": "4Gi", "pods": "10"});
    let status = Patch::Merge(json!({"status": {"capacity": room, "allocatable": room}}));
    nodes
        .patch_status(&stage.name(node), &PatchParams::default(), &status)
        .await
        .unwrap();
}

/// Creates a pod that uses the claim `data`.
async fn pod(stage: &Stage, name: &str) {
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let account = from(json!({"metadata": {"name": "default"}}));
    let _ = accounts.create(&PostParams::default(), &account).await;
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
    let spec = json!({"automountServiceAccountToken": false, "volumes": [volume],
        "containers": [{"name": "app", "image": "app"}]});
    let pod = from(json!({"metadata": {"name": name}, "spec": spec}));
    pods.create(&PostParams::default(), &pod).await.unwrap();
}

#[tokio::test]
async fn the_scheduler_reports_failed_provisioning_for_a_class_with_a_fault() {
    let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await.unwrap()));
    server.install().unwrap();
    let stage = Stage::on(server).await;
    stage.node("n1", 1024).await;
    allocatable(&stage, "n1").await;
    stage.unjudged_backend("vg0").await;
    let parameters = json!({"backend": stage.namespace, "speed": "high"});
    stage
        .class_alone(json!({"volumeBindingMode": "WaitForFirstConsumer", "parameters": parameters}))
        .await;
    let _controller = Controller::start(server, true).await;
    let has_capacities = server.kubernetes().minor_version().unwrap() >= SINCE;
    if has_capacities {
        publishes(&stage, &[("n1", AMPLE)]).await;
        stage
            .wait(
                &drivers(&stage),
                "flexlvm.dev",
                "the scheduler heeds the capacities",
                |_| true,
            )
            .await;
    }
    let _scheduler = server.start_scheduler().unwrap();
    // The PersistentVolume controller's part is done: the claim names its provisioner.
    let name = volume_of(&stage.claim("data", "64Mi", None).await);
    pod(&stage, "app").await;
    stage
        .told_about(
            "app",
            &["FailedScheduling", "provisioning failed for PVC \"data\""],
        )
        .await;
    stage
        .told_about(
            "data",
            &["ProvisioningFailed", "unknown parameter \"speed\""],
        )
        .await;
    let words = stage.words().await;
    assert!(
        !words.iter().any(|words| words.contains("free storage")),
        "{words:?}"
    );
    // The scheduler selects a node again, which stays for now: no loop of two writers.
    let is_selected = |claim: &PersistentVolumeClaim| {
        claim
            .annotations()
            .contains_key("volume.kubernetes.io/selected-node")
    };
    stage
        .wait(
            &stage.claims(),
            "data",
            "a node is selected again",
            is_selected,
        )
        .await;
    for _ in 0..3 {
        stage.quiet().await;
    }
    assert!(is_selected(&stage.claims().get("data").await.unwrap()));

    let classes: Api<StorageClass> = Api::all(stage.client.clone());
    classes
        .delete(&stage.namespace, &DeleteParams::default())
        .await
        .unwrap();
    stage.class_alone(waits_for_consumer()).await;
    let lv = stage.agent_makes(&name).await;
    assert_eq!(lv.spec.node, stage.name("n1"));
}
