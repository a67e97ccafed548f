//! The fixture of the controller's tests: nodes and their reports, a backend, a class, claims; and
//! the parts of the scheduler, the controller manager and the agents, played by the test.

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

/// Time limit for a wait.
const LIMIT: Duration = wait::LIMIT;

/// One test's own objects on the shared API server.
pub(crate) struct Fixture {
    pub(crate) server: &'static ApiServer,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// The reported nodes of this fixture.
    reported: Mutex<BTreeSet<String>>,
}

/// Deserializes an object from JSON.
pub(crate) fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A running controller in a thread of its own, with the rights of its own account. Dropping it
/// stops it like `kill -9`.
pub(crate) struct Controller {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Controller {
    /// Starts a controller; FlexLVM's configuration must have been applied.
    pub(crate) async fn start(server: &'static ApiServer, publish_capacity: bool) -> Self {
        let (started, ready) = oneshot::channel();
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
                let _ = started.send(());
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

    /// Starts the controller that all tests of the program share, once.
    async fn shared(server: &'static ApiServer) {
        static RUNNING: OnceCell<Controller> = OnceCell::const_new();
        RUNNING
            .get_or_init(|| async {
                server
                    .install()
                    .expect("FlexLVM's configuration is applied");
                Self::start(server, true).await
            })
            .await;
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

impl Fixture {
    /// Creates a fixture: a namespace whose name is also the prefix of all cluster-scoped objects.
    pub(crate) async fn new() -> Self {
        let server = ApiServer::shared().await;
        Controller::shared(server).await;
        Self::on(server).await
    }

    /// Creates a fixture on any server.
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

    /// Returns a unique name for a cluster-scoped object.
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

    /// Creates a node whose agent reports one volume group `vg0` of `mebibytes` MiB.
    pub(crate) async fn node(&self, name: &str, mebibytes: u64) {
        let name = self.unreported_node(name).await;
        self.create::<NodeStorage>(json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": name}, "spec": {}})).await;
        let group = json!({"name": "vg0", "uuid": "u", "size": format!("{mebibytes}Mi"), "extentSize": "4Mi", "usedByOthers": "0", "free": "0"});
        self.report(&name, json!([group])).await;
        self.reported.lock().unwrap().insert(name);
    }

    /// Creates a node without a report; returns its full name.
    pub(crate) async fn unreported_node(&self, name: &str) -> String {
        let name = self.name(name);
        let labels =
            json!({"kubernetes.io/hostname": format!("host-{name}"), "fixture": self.namespace});
        self.create::<Node>(json!({"metadata": {"name": name, "labels": labels}}))
            .await;
        name
    }

    /// Writes the report of a node's agent; `node` is the full name.
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

    /// Creates a backend on the fixture's nodes and a class for it, both named after the namespace.
    pub(crate) async fn class(&self, extra: Value) {
        self.backend("vg0").await;
        self.class_only(extra).await;
    }

    /// Creates a class for the fixture's backend, named after the namespace.
    pub(crate) async fn class_only(&self, extra: Value) {
        let mut class = json!({"metadata": {"name": self.namespace}, "provisioner": "flexlvm.dev", "parameters": {"backend": self.namespace}});
        for (key, value) in extra.as_object().unwrap() {
            class[key] = value.clone();
        }
        self.create::<StorageClass>(class).await;
    }

    /// Creates a backend on the fixture's nodes, named after the namespace.
    ///
    /// On return the controller has written its status and observed all reported nodes, so it
    /// observes later objects after them.
    pub(crate) async fn backend(&self, volume_group: &str) {
        self.backend_without_controller(volume_group).await;
        let backends: Api<StorageBackend> = Api::all(self.client.clone());
        let reported = self.reported.lock().unwrap().clone();
        self.wait(
            &backends,
            &self.namespace,
            "the backend's status is written",
            |backend: &StorageBackend| {
                let Some(status) = &backend.status else {
                    return false;
                };
                let nodes = status
                    .nodes
                    .as_deref()
                    .and_then(|nodes| nodes.split('/').next_back()?.parse().ok());
                let has = |phrases: &str| {
                    status
                        .conditions
                        .iter()
                        .any(|condition| condition.message.contains(phrases))
                };
                nodes >= Some(reported.len())
                    && !reported
                        .iter()
                        .any(|node| has(&format!("{node} has no FlexLVM agent")))
            },
        )
        .await;
    }

    /// Like [`Self::backend`], where no controller runs.
    pub(crate) async fn backend_without_controller(&self, volume_group: &str) {
        self.create::<StorageBackend>(
            json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": self.namespace},
            "spec": {"volumeGroup": volume_group, "nodeSelector": {"matchLabels": {"fixture": self.namespace}}}}),
        )
        .await;
    }

    /// Patches the spec of the fixture's backend, as an admin would.
    ///
    /// On return the controller has written the new status, so it observes later claims after the
    /// change.
    pub(crate) async fn change_backend(&self, spec: Value) {
        let backends: Api<StorageBackend> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"spec": spec}));
        let changed = backends
            .patch(&self.namespace, &PatchParams::default(), &patch)
            .await
            .unwrap();
        self.wait(
            &backends,
            &self.namespace,
            "the changed backend's status is written",
            |backend: &StorageBackend| {
                backend
                    .status
                    .as_ref()
                    .and_then(|status| status.observed_generation)
                    >= changed.metadata.generation
            },
        )
        .await;
    }

    /// Creates a claim in the state in which the PersistentVolume controller requests provisioning;
    /// with a node, as the scheduler selected it.
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

    /// Creates a claim as a tenant does, with a class that waits for the scheduler: no provisioner
    /// is requested yet.
    pub(crate) async fn unprovisioned_claim(&self, name: &str, size: &str) {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "storageClassName": self.namespace});
        let claim = json!({"metadata": {"name": name}, "spec": spec});
        self.claims()
            .create(&PostParams::default(), &from(claim))
            .await
            .unwrap();
    }

    /// Creates a claim with any spec.
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

    /// Returns the fixture's LogicalVolumes.
    pub(crate) async fn own_logical_volumes(&self) -> Vec<LogicalVolume> {
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

    /// Waits for an object that satisfies `is`.
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
                self.event_messages().await
            ),
        }
    }

    /// Waits until an object is gone.
    pub(crate) async fn gone<K>(&self, api: &Api<K>, name: &str)
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let gone = wait::until("the object is gone", LIMIT, async || {
            Ok(api.get_opt(name).await?.is_none().then_some(()))
        })
        .await;
        assert!(
            gone.is_ok(),
            "{name} still exists: {:#?}",
            api.get_opt(name).await
        );
    }

    async fn events(&self) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        events.list(&ListParams::default()).await.unwrap().items
    }

    /// Returns the fixture's Events as `reason: message`.
    pub(crate) async fn event_messages(&self) -> Vec<String> {
        self.events().await.into_iter().map(event_message).collect()
    }

    /// Waits for an Event that contains all of these phrases.
    pub(crate) async fn wait_for_event(&self, phrases: &[&str]) {
        self.wait_for_matching_event(|_| true, phrases).await;
    }

    /// Waits for an Event about this claim that contains all of these phrases.
    pub(crate) async fn wait_for_event_about(&self, claim: &str, phrases: &[&str]) {
        self.wait_for_matching_event(
            |event| event.involved_object.name.as_deref() == Some(claim),
            phrases,
        )
        .await;
    }

    async fn wait_for_matching_event(&self, is: impl Fn(&Event) -> bool, phrases: &[&str]) {
        if let Err(error) = wait::until("an Event has all phrases", LIMIT, async || {
            let mut all = self
                .events()
                .await
                .into_iter()
                .filter(&is)
                .map(event_message);
            Ok(all
                .any(|event| phrases.iter().all(|word| event.contains(word)))
                .then_some(()))
        })
        .await
        {
            panic!("{error}: {phrases:?} in {:#?}", self.event_messages().await);
        }
    }

    /// Waits long enough for the controller to do something that it should not.
    pub(crate) async fn quiet(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// Plays the agent: reports the volume as created.
    pub(crate) async fn agent_creates(&self, name: &str) -> LogicalVolume {
        let lv = self
            .wait(
                &self.logical_volumes(),
                name,
                "the LogicalVolume is created",
                |_| true,
            )
            .await;
        self.agent_writes_status(
            name,
            json!({"size": lv.spec.size, "uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP",
            "conditions": [condition("Ready", "True", "Ready", "Ready")]}),
        )
        .await;
        lv
    }

    /// Plays the agent: patches the status of a LogicalVolume.
    pub(crate) async fn agent_writes_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.logical_volumes()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Plays the PersistentVolume controller: binds claim and volume.
    pub(crate) async fn bind(&self, claim: &str, name: &str) {
        let patch = Patch::Merge(json!({"spec": {"volumeName": name}}));
        self.claims()
            .patch(claim, &PatchParams::default(), &patch)
            .await
            .unwrap();
        self.phase(name, "Bound").await;
    }

    /// Plays the PersistentVolume controller: sets the phase of a volume.
    pub(crate) async fn phase(&self, name: &str, phase: &str) {
        let patch = Patch::Merge(json!({"status": {"phase": phase}}));
        self.volumes()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Creates a claim and binds it to its new volume; returns the volume's name.
    pub(crate) async fn bound(&self, claim: &str, size: &str, node: &str) -> String {
        let name = volume_of(&self.claim(claim, size, Some(node)).await);
        self.agent_creates(&name).await;
        self.wait(
            &self.volumes(),
            &name,
            "the PersistentVolume is created",
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
        // No controller manager runs here that would remove its finalizer once no pod uses the
        // claim.
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let _ = self
            .claims()
            .patch(name, &PatchParams::default(), &patch)
            .await;
        self.gone(&self.claims(), name).await;
    }
}

fn event_message(event: Event) -> String {
    format!(
        "{}: {}",
        event.reason.unwrap_or_default(),
        event.message.unwrap_or_default()
    )
}

/// Returns the name of a claim's volume.
pub(crate) fn volume_of(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.uid().unwrap())
}

/// Returns a condition as an agent writes it.
pub(crate) fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}
