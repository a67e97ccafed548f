//! The fixture of the controller's tests: nodes and their reports, a backend, a class, claims; and
//! the parts of the scheduler, the controller manager and the agents, played by the test.

mod claims;
mod controller;
mod events;
mod roles;
mod storage;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use crds::{LogicalVolume, StorageBackend};
use harness::apiserver::ApiServer;
use harness::{namespace, wait};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use claims::{has_selected_node, provisioner_finalizers, volume_of};
pub(crate) use controller::Controller;
pub(crate) use roles::condition;
pub(crate) use storage::{disk, vg0, vg0_of_disks};

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

/// Returns the fields of a class whose claims wait for the scheduler.
pub(crate) fn waits_for_consumer() -> Value {
    json!({"volumeBindingMode": "WaitForFirstConsumer"})
}

impl Fixture {
    /// Creates a fixture: a namespace whose name is also the prefix of all cluster-scoped objects.
    pub(crate) async fn new() -> Self {
        let server = ApiServer::shared().await;
        Controller::shared(server).await;
        Self::on(server).await
    }

    /// Creates a fixture with reported nodes, each with the size of its volume group in MiB, and a
    /// class whose claims wait for the scheduler.
    pub(crate) async fn with_waiting_class(nodes: &[(&str, u64)]) -> Self {
        Self::with_class(nodes, waits_for_consumer()).await
    }

    /// Like [`Self::with_waiting_class`], with a class whose claims are provisioned at once.
    pub(crate) async fn with_immediate_class(nodes: &[(&str, u64)]) -> Self {
        Self::with_class(nodes, json!({})).await
    }

    async fn with_class(nodes: &[(&str, u64)], class: Value) -> Self {
        let fixture = Self::new().await;
        for (node, mebibytes) in nodes {
            fixture.node(node, *mebibytes).await;
        }
        fixture.class(class).await;
        fixture
    }

    /// Creates a fixture on a server of its own with FlexLVM's configuration, without a controller.
    pub(crate) async fn on_own_server() -> Self {
        let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await.unwrap()));
        server.install().unwrap();
        Self::on(server).await
    }

    /// Creates a fixture on any server.
    async fn on(server: &'static ApiServer) -> Self {
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

    pub(crate) fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn logical_volumes(&self) -> Api<LogicalVolume> {
        Api::all(self.client.clone())
    }

    pub(crate) fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    pub(crate) fn backends(&self) -> Api<StorageBackend> {
        Api::all(self.client.clone())
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
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

    /// Waits long enough for the controller to do something that it should not.
    pub(crate) async fn quiet(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
