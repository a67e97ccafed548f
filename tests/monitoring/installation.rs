//! FlexLVM on three nodes with one volume group each, and a Prometheus that scrapes it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crds::condition::{self, DRIVER_INSTALLED, KUBELET_READY};
use crds::{NodeStorage, StorageBackend};
use harness::apiserver::ApiServer;
use harness::prometheus::Prometheus;
use harness::scrape::Port;
use harness::site::Site;
use harness::wait::{self, LIMIT};
use k8s_openapi::ClusterResourceScope;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use operator::agent;
use operator::controller::metrics::Leader;
use operator::controller::{self, ControllerSettings};
use operator::http::Endpoint;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::lvm_faults::FaultyLvm;

/// The namespace of FlexLVM.
const NAMESPACE: &str = "flexlvm-system";

/// The backend and its class.
const BACKEND: &str = "fast";

/// The nodes.
const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// The PID of the kubelet on each node.
pub(crate) const KUBELET: u32 = 812;

/// The folder in which the kubelets look for drivers.
const PLUGINS: &str = "/plugins";

/// A running controller or agent in a thread of its own. Dropping it stops it like `kill -9`.
pub(crate) struct Role {
    /// Where it serves its metrics.
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A node and its agent.
pub(crate) struct AgentNode {
    pub(crate) site: Site,
    /// The node's LVM, as the agent reaches it.
    pub(crate) lvm: Arc<FaultyLvm>,
    /// `None` once it is stopped.
    pub(crate) agent: Option<Role>,
}

/// All of it.
pub(crate) struct Installation {
    pub(crate) client: Client,
    pub(crate) nodes: BTreeMap<&'static str, AgentNode>,
    pub(crate) controller: Option<Role>,
    pub(crate) prometheus: Prometheus,
}

impl Role {
    fn start<W, F>(endpoint: Endpoint, work: W) -> Self
    where
        W: FnOnce(Endpoint) -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let port = Port::reserve().unwrap();
        let address = port.address;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = work(endpoint.clone()) => {}
                    _ = port.serve(endpoint) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Starts a controller as the active one.
    fn controller(server: &'static ApiServer) -> Self {
        Self::start(Endpoint::of_controller(), move |endpoint| async move {
            let leader = Leader::register(&endpoint.metrics);
            let client = server.client_of(NAMESPACE, "flexlvm-controller").await;
            let settings = ControllerSettings {
                identity: "test".to_owned(),
                namespace: NAMESPACE.to_owned(),
                publish_capacity: true,
            };
            leader.elected();
            Box::pin(controller::run(
                client.expect("a token"),
                &settings,
                endpoint,
            ))
            .await;
        })
    }

    /// Starts the agent of a node.
    fn agent(server: &'static ApiServer, site: &Site, lvm: Arc<FaultyLvm>) -> Self {
        let settings = site.settings();
        let host = agent::NodeAccess {
            exec: lvm,
            ..site.host()
        };
        Self::start(Endpoint::of_agent(&site.name), move |endpoint| async move {
            let client = server.access().agent(&settings.node).await;
            agent::run(client.expect("a token"), settings, host, endpoint).await;
        })
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Installation {
    /// Starts everything, with volume groups of 400 MiB. On return each kubelet has loaded the
    /// driver.
    pub(crate) async fn start(rules: &str) -> Self {
        let server = ApiServer::shared().await;
        server.install().unwrap();
        let client = server.client();
        let mut nodes = BTreeMap::new();
        for name in NODES {
            let node =
                json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
            create::<Node>(&client, node).await;
            let site = Site::new(name, 100).unwrap();
            let flag = format!("--volume-plugin-dir={PLUGINS}");
            site.start_kubelet(KUBELET, &flag).unwrap();
            let lvm = Arc::new(FaultyLvm::new(site.node.clone()));
            if name == "n1" {
                lvm.fill_pool(50);
            }
            let agent = Some(Role::agent(server, &site, lvm.clone()));
            nodes.insert(name, AgentNode { site, lvm, agent });
        }
        create_backend(&client, BACKEND, json!({"volumeGroup": "vg0"})).await;
        create_backend(
            &client,
            "thin",
            json!({"volumeGroup": "vg0", "layout": {"type": "Thin"}, "thinPool": {"name": "pool"},
                "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "n1"}}}),
        )
        .await;
        create::<StorageClass>(
            &client,
            json!({"metadata": {"name": BACKEND}, "provisioner": crds::GROUP,
                "parameters": {"backend": BACKEND}, "volumeBindingMode": "WaitForFirstConsumer"}),
        )
        .await;
        let controller = Role::controller(server);
        let agents = nodes.values().filter_map(|node| node.agent.as_ref());
        let jobs = [
            ("controller", vec![controller.address]),
            ("agent", agents.map(|agent| agent.address).collect()),
        ];
        let installation = Self {
            client,
            nodes,
            controller: Some(controller),
            prometheus: Prometheus::start(&jobs, rules).await.unwrap(),
        };
        installation.load_drivers().await;
        installation
    }

    /// Plays the kubelets: each loads the driver once it is installed.
    async fn load_drivers(&self) {
        for (name, node) in &self.nodes {
            self.wait_for_condition(name, DRIVER_INSTALLED).await;
            node.site.load_driver(KUBELET, PLUGINS).unwrap();
        }
        for name in self.nodes.keys() {
            self.wait_for_condition(name, KUBELET_READY).await;
        }
    }

    async fn wait_for_condition(&self, node: &str, type_: &str) {
        let storages: Api<NodeStorage> = Api::all(self.client.clone());
        wait::until(&format!("{type_} of {node}"), LIMIT, async || {
            let status = storages.get_opt(node).await?.and_then(|it| it.status);
            let conditions = status.unwrap_or_default().conditions;
            Ok(condition::is_true(&conditions, type_).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Creates a claim whose first pod the scheduler has placed on a node; returns the name of its
    /// volume.
    pub(crate) async fn claim(&self, name: &str, size: &str, node: &str) -> String {
        let claim = json!({
            "metadata": {"name": name, "annotations": {
                "volume.beta.kubernetes.io/storage-provisioner": crds::GROUP,
                "volume.kubernetes.io/selected-node": node,
            }},
            "spec": {"storageClassName": BACKEND, "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}}},
        });
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
        let created = self.claims().create(&PostParams::default(), &claim).await;
        format!("pvc-{}", created.unwrap().uid().unwrap())
    }

    /// Creates a claim, and binds it once its volume exists.
    pub(crate) async fn serve_claim(&self, name: &str, node: &str) {
        let volume = self.claim(name, "64Mi", node).await;
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let what = format!("the PersistentVolume of {name} is created");
        wait::until(&what, LIMIT, async || Ok(volumes.get_opt(&volume).await?))
            .await
            .unwrap();
        let bind = Patch::Merge(json!({"spec": {"volumeName": volume}}));
        self.claims()
            .patch(name, &PatchParams::default(), &bind)
            .await
            .unwrap();
        let bound = Patch::Merge(json!({"status": {"phase": "Bound"}}));
        volumes
            .patch_status(&volume, &PatchParams::default(), &bound)
            .await
            .unwrap();
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Returns a node.
    pub(crate) fn node(&mut self, name: &str) -> &mut AgentNode {
        self.nodes.get_mut(name).unwrap()
    }

    /// Stops the controller, with none to follow it.
    pub(crate) fn stop_controller(&mut self) {
        drop(self.controller.take());
    }
}

async fn create_backend(client: &Client, name: &str, spec: Value) {
    let backend = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
        "metadata": {"name": name}, "spec": spec});
    create::<StorageBackend>(client, backend).await;
}

async fn create<K>(client: &Client, object: Value) -> K
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    let object = serde_json::from_value(object).unwrap();
    Api::all(client.clone())
        .create(&PostParams::default(), &object)
        .await
        .unwrap()
}
