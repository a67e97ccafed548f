//! What a test of the controller sets up: nodes and their reports, a backend, a class, claims; and
//! the parts of everybody else, the scheduler, the controller manager and the agents, played by the
//! test.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use crds::{LogicalVolume, NodeStorage, StorageBackend};
use harness::apiserver::ApiServer;
use harness::{namespace, wait};
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use operator::controller::ControllerSettings;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, oneshot};

/// How long anything may take here before the test gives up.
const LIMIT: Duration = Duration::from_secs(120);

/// One test's own corner of the shared API server.
pub(crate) struct Stage {
    pub(crate) server: &'static ApiServer,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// The nodes of this corner that were reported.
    reported: Mutex<BTreeSet<String>>,
}

/// Reads an object from JSON.
pub(crate) fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A running controller, with the rights of its own account, in a thread of its own. Dropping it
/// ends it as `kill -9` would.
pub(crate) struct Controller {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Controller {
    /// Starts one; FlexLVM's configuration is applied already.
    pub(crate) async fn start(server: &'static ApiServer, publish_capacity: bool) -> Self {
        let (told, ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let settings = ControllerSettings {
            identity: "test".to_owned(),
            namespace: "flexlvm-system".to_owned(),
            publish_capacity,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = server.client_of("flexlvm-system", "flexlvm-controller").await.expect("a token");
                let _ = told.send(());
                tokio::select! {
                    () = operator::controller::run(client, &settings, operator::http::Ready::default()) => {}
                    _ = stopped => {}
                }
            });
        });
        ready.await.unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The one for the whole program.
    async fn shared(server: &'static ApiServer) {
        static RUNNING: OnceCell<Controller> = OnceCell::const_new();
        let start = || async {
            server
                .install()
                .expect("FlexLVM's configuration is applied");
            Self::start(server, true).await
        };
        RUNNING.get_or_init(start).await;
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Stage {
    /// A new corner: a namespace whose name also begins the names of everything that is not in it.
    pub(crate) async fn new() -> Self {
        let server = ApiServer::shared().await;
        Controller::shared(server).await;
        Self::on(server).await
    }

    /// A new corner of any server.
    pub(crate) async fn on(server: &'static ApiServer) -> Self {
        let client = server.client();
        let namespace = namespace::create(&client, "t").await.unwrap();
        Self {
            server,
            client,
            namespace,
            reported: Mutex::default(),
        }
    }

    /// A name of this corner, for what has no namespace.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    async fn create<K>(&self, value: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
    {
        Api::all(self.client.clone())
            .create(&PostParams::default(), &from(value))
            .await
            .unwrap()
    }

    /// A node whose agent reports one volume group `vg0` of so many MiB.
    pub(crate) async fn node(&self, name: &str, mebibytes: u64) {
        let name = self.silent_node(name).await;
        self.create::<NodeStorage>(json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": name}, "spec": {}})).await;
        let group = json!({"name": "vg0", "uuid": "u", "size": format!("{mebibytes}Mi"), "extentSize": "4Mi", "usedByOthers": "0", "free": "0"});
        self.report(&name, json!([group])).await;
        self.reported.lock().unwrap().insert(name);
    }

    /// A node that nobody reports; returns its whole name.
    pub(crate) async fn silent_node(&self, name: &str) -> String {
        let name = self.name(name);
        let labels =
            json!({"kubernetes.io/hostname": format!("host-{name}"), "stage": self.namespace});
        self.create::<Node>(json!({"metadata": {"name": name, "labels": labels}}))
            .await;
        name
    }

    /// What the agent of a node (by its whole name) reports.
    pub(crate) async fn report(&self, node: &str, groups: Value) {
        let ready = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "Ready", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let storages: Api<NodeStorage> = Api::all(self.client.clone());
        let patch =
            Patch::Merge(json!({"status": {"conditions": [ready], "volumeGroups": groups}}));
        storages
            .patch_status(node, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// A backend on this corner's nodes, and a class for it, both named as the corner.
    pub(crate) async fn class(&self, extra: Value) {
        self.backend("vg0").await;
        self.class_alone(extra).await;
    }

    /// A class for this corner's backend, named as the corner.
    pub(crate) async fn class_alone(&self, extra: Value) {
        let mut class = json!({"metadata": {"name": self.namespace}, "provisioner": "flexlvm.dev", "parameters": {"backend": self.namespace}});
        for (key, value) in extra.as_object().unwrap() {
            class[key] = value.clone();
        }
        self.create::<StorageClass>(class).await;
    }

    /// A backend on this corner's nodes, named as the corner. The controller has judged it when
    /// this returns, and knows of all nodes that were reported: what is asked for next can't reach
    /// it before them.
    pub(crate) async fn backend(&self, volume_group: &str) {
        self.unjudged_backend(volume_group).await;
        let backends: Api<StorageBackend> = Api::all(self.client.clone());
        let reported = self.reported.lock().unwrap().clone();
        let judged = |backend: &StorageBackend| {
            let Some(status) = &backend.status else {
                return false;
            };
            let nodes = status
                .nodes
                .as_deref()
                .and_then(|nodes| nodes.split('/').next_back()?.parse().ok());
            let says = |words: &str| {
                status
                    .conditions
                    .iter()
                    .any(|condition| condition.message.contains(words))
            };
            nodes >= Some(reported.len())
                && !reported
                    .iter()
                    .any(|node| says(&format!("{node} has no FlexLVM agent")))
        };
        self.wait(&backends, &self.namespace, "the backend is judged", judged)
            .await;
    }

    /// The same, where no controller runs.
    pub(crate) async fn unjudged_backend(&self, volume_group: &str) {
        self.create::<StorageBackend>(
            json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": self.namespace},
            "spec": {"volumeGroup": volume_group, "nodeSelector": {"matchLabels": {"stage": self.namespace}}}}),
        )
        .await;
    }

    /// Changes the spec of this corner's backend, as its admin would. The controller has judged it
    /// when this returns: a claim that is made next can't reach it before the change does.
    pub(crate) async fn change_backend(&self, spec: Value) {
        let backends: Api<StorageBackend> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"spec": spec}));
        let changed = backends
            .patch(&self.namespace, &PatchParams::default(), &patch)
            .await
            .unwrap();
        let judged = |backend: &StorageBackend| {
            backend
                .status
                .as_ref()
                .and_then(|status| status.observed_generation)
                >= changed.metadata.generation
        };
        self.wait(
            &backends,
            &self.namespace,
            "the changed backend is judged",
            judged,
        )
        .await;
    }

    /// A claim as the PersistentVolume controller hands it over; with a node, as the scheduler
    /// selected it.
    pub(crate) async fn claim(
        &self,
        name: &str,
        size: &str,
        node: Option<&str>,
    ) -> PersistentVolumeClaim {
        let spec =
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
        self.claim_of(name, spec, node).await
    }

    /// A claim as its user makes it, with a class that waits for the scheduler: no provisioner is
    /// asked yet.
    pub(crate) async fn unasked_claim(&self, name: &str, size: &str) {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "storageClassName": self.namespace});
        let claim = json!({"metadata": {"name": name}, "spec": spec});
        self.claims()
            .create(&PostParams::default(), &from(claim))
            .await
            .unwrap();
    }

    /// A claim with a spec of its own.
    pub(crate) async fn claim_of(
        &self,
        name: &str,
        mut spec: Value,
        node: Option<&str>,
    ) -> PersistentVolumeClaim {
        let mut annotations =
            json!({"volume.beta.kubernetes.io/storage-provisioner": "flexlvm.dev"});
        if let Some(node) = node {
            annotations["volume.kubernetes.io/selected-node"] = json!(self.name(node));
        }
        spec["storageClassName"] = json!(self.namespace);
        let claim = json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec});
        self.claims()
            .create(&PostParams::default(), &from(claim))
            .await
            .unwrap()
    }

    pub(crate) fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn logical_volumes(&self) -> Api<LogicalVolume> {
        Api::all(self.client.clone())
    }

    pub(crate) fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    /// This corner's LogicalVolumes.
    pub(crate) async fn made(&self) -> Vec<LogicalVolume> {
        let all = self
            .logical_volumes()
            .list(&ListParams::default())
            .await
            .unwrap();
        all.items
            .into_iter()
            .filter(|lv| lv.spec.claim.namespace == self.namespace)
            .collect()
    }

    /// Waits for an object that is as expected.
    pub(crate) async fn wait<K>(
        &self,
        api: &Api<K>,
        name: &str,
        what: &str,
        mut is: impl FnMut(&K) -> bool,
    ) -> K
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let found = wait::until(what, LIMIT, async || {
            Ok(api.get_opt(name).await?.filter(|object| is(object)))
        })
        .await;
        match found {
            Ok(object) => object,
            Err(error) => panic!(
                "{error}: {:#?}; Events: {:#?}",
                api.get_opt(name).await,
                self.words().await
            ),
        }
    }

    /// Waits until an object is gone.
    pub(crate) async fn gone<K>(&self, api: &Api<K>, name: &str)
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let gone = wait::until("it is gone", LIMIT, async || {
            Ok(api.get_opt(name).await?.is_none().then_some(()))
        })
        .await;
        assert!(
            gone.is_ok(),
            "{name} is still there: {:#?}",
            api.get_opt(name).await
        );
    }

    async fn events(&self) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        events.list(&ListParams::default()).await.unwrap().items
    }

    /// This corner's Events: `reason: message`.
    pub(crate) async fn words(&self) -> Vec<String> {
        self.events().await.into_iter().map(words_of).collect()
    }

    /// Waits until an Event has all of these words.
    pub(crate) async fn told(&self, words: &[&str]) {
        self.told_of(|_| true, words).await;
    }

    /// Waits until an Event about this claim has all of these words.
    pub(crate) async fn told_about(&self, claim: &str, words: &[&str]) {
        self.told_of(
            |event| event.involved_object.name.as_deref() == Some(claim),
            words,
        )
        .await;
    }

    async fn told_of(&self, is: impl Fn(&Event) -> bool, words: &[&str]) {
        let told = async || {
            let mut all = self.events().await.into_iter().filter(&is).map(words_of);
            Ok(all
                .any(|event| words.iter().all(|word| event.contains(word)))
                .then_some(()))
        };
        if let Err(error) = wait::until("an Event says so", LIMIT, told).await {
            panic!("{error}: {words:?} in {:#?}", self.words().await);
        }
    }

    /// Nothing happens for a moment.
    pub(crate) async fn quiet(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// The agent's part: the volume is there.
    pub(crate) async fn agent_makes(&self, name: &str) -> LogicalVolume {
        let lv = self
            .wait(
                &self.logical_volumes(),
                name,
                "the LogicalVolume is written",
                |_| true,
            )
            .await;
        self.agent_says(
            name,
            json!({"size": lv.spec.size, "uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP",
            "conditions": [condition("Ready", "True", "Ready", "Ready")]}),
        )
        .await;
        lv
    }

    /// The agent's part: anything else.
    pub(crate) async fn agent_says(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.logical_volumes()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// The PersistentVolume controller's part: binds both sides.
    pub(crate) async fn bind(&self, claim: &str, name: &str) {
        let patch = Patch::Merge(json!({"spec": {"volumeName": name}}));
        self.claims()
            .patch(claim, &PatchParams::default(), &patch)
            .await
            .unwrap();
        self.phase(name, "Bound").await;
    }

    /// The PersistentVolume controller's part: the phase.
    pub(crate) async fn phase(&self, name: &str, phase: &str) {
        let patch = Patch::Merge(json!({"status": {"phase": phase}}));
        self.volumes()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// From a claim to a bound volume; returns the volume's name.
    pub(crate) async fn bound(&self, claim: &str, size: &str, node: &str) -> String {
        let name = volume_of(&self.claim(claim, size, Some(node)).await);
        self.agent_makes(&name).await;
        self.wait(
            &self.volumes(),
            &name,
            "the PersistentVolume is written",
            |_| true,
        )
        .await;
        self.bind(claim, &name).await;
        name
    }

    /// Deletes a claim.
    pub(crate) async fn delete_claim(&self, name: &str) {
        self.claims()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        // No controller manager runs here that would take its finalizer off once no pod uses the
        // claim.
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let _ = self
            .claims()
            .patch(name, &PatchParams::default(), &patch)
            .await;
        self.gone(&self.claims(), name).await;
    }
}

fn words_of(event: Event) -> String {
    format!(
        "{}: {}",
        event.reason.unwrap_or_default(),
        event.message.unwrap_or_default()
    )
}

/// The name of a claim's volume.
pub(crate) fn volume_of(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.uid().unwrap())
}

/// A condition as an agent writes it.
pub(crate) fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}
