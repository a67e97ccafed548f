//! The fixture of the agent's tests: a node with simulated LVM, an agent with the rights of its own
//! account, LogicalVolumes; and the controller's part, played by the test.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use crds::condition::{self, DRIVER_INSTALLED, READY, REMOVED};
use crds::{LogicalVolume, NodeStorage};
use harness::apiserver::ApiServer;
use harness::scrape::Port;
use harness::simulated::{self, EXTENT, SimulatedNode};
use harness::site::Site;
use harness::{namespace, wait};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use operator::agent;
use operator::http::Endpoint;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, oneshot};

use crate::faults::{Faults, faulty};

/// Time limit for a wait.
pub(crate) const LIMIT: Duration = wait::LIMIT;

/// A node that belongs to one test.
pub(crate) struct Fixture {
    pub(crate) server: &'static ApiServer,
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) node: SimulatedNode,
    pub(crate) site: Site,
}

/// A running agent. Dropping it stops it like `kill -9`, without a further write.
pub(crate) struct Agent {
    /// Where it serves its metrics.
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn installed() -> &'static ApiServer {
    static DONE: OnceCell<()> = OnceCell::const_new();
    let server = ApiServer::shared().await;
    DONE.get_or_init(|| async {
        server
            .install()
            .expect("FlexLVM's configuration is applied");
    })
    .await;
    server
}

impl Fixture {
    /// Creates a node whose volume group `vg0` has `extents` extents of 4 MiB.
    pub(crate) async fn new(extents: u64) -> Self {
        let server = installed().await;
        let client = server.client();
        let name = namespace::unique("node");
        let node: Node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::all(client.clone())
            .create(&PostParams::default(), &node)
            .await
            .unwrap();
        let site = Site::new(&name, extents).unwrap();
        let node = site.node.clone();
        Self {
            server,
            client,
            name,
            node,
            site,
        }
    }

    /// Creates a client with the rights of the agents' account.
    pub(crate) async fn agents_client(&self) -> Client {
        self.server.access().agent(&self.name).await.unwrap()
    }

    /// Starts the agent.
    pub(crate) fn agent(&self) -> Agent {
        self.agent_with(Faults::default())
    }

    /// Starts the agent with injected faults, in a thread and runtime of its own, as in its pod.
    pub(crate) fn agent_with(&self, faults: Faults) -> Agent {
        let server = self.server;
        let host = self.site.host();
        let settings = self.site.settings();
        let endpoint = Endpoint::of_agent(&self.name);
        let port = Port::reserve().unwrap();
        let address = port.address;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = server.access().agent(&settings.node).await;
                let client = client.expect("a token");
                let client = faulty(client, faults);
                tokio::select! {
                    () = agent::run(client, settings, host, endpoint.clone()) => {}
                    _ = port.serve(endpoint) => {}
                    _ = stopped => {}
                }
            });
            // A running command continues after the agent's end, as after a kill.
            runtime.shutdown_background();
        });
        Agent {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Returns the full name of a LogicalVolume and its LV for a short one.
    pub(crate) fn volume(&self, short: &str) -> String {
        format!("pvc-{}-{short}", self.name)
    }

    /// Returns the LVM tag of a LogicalVolume's LV.
    pub(crate) fn tag(&self, short: &str) -> String {
        format!("flexlvm.dev/claim-uid={}-{short}", self.name)
    }

    /// Creates a LogicalVolume of `extents` extents, as the controller does.
    pub(crate) async fn create_volume(&self, short: &str, extents: u64) -> String {
        let size = format!("{}", extents * EXTENT);
        let share = json!({"uuid": simulated::disk_of("vg0"), "size": size});
        self.create_volume_with(short, json!({"size": size, "physicalVolumes": [share]}))
            .await
    }

    pub(crate) async fn create_volume_with(&self, short: &str, changes: Value) -> String {
        let name = self.volume(short);
        let mut spec = json!({
            "node": self.name, "backend": "b", "volumeGroup": "vg0", "size": "32Mi", "storageClass": "s",
            "claim": {"namespace": "default", "name": short, "uid": format!("{}-{short}", self.name)},
            "reclaimPolicy": "Delete", "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"},
        });
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let object = json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
            "metadata": {"name": name, "labels": {"flexlvm.dev/node": self.name}, "finalizers": ["flexlvm.dev/logical-volume"]},
            "spec": spec,
        });
        let object: LogicalVolume = serde_json::from_value(object).unwrap();
        self.logical_volumes()
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        name
    }

    /// Deletes a LogicalVolume and nothing else, as a loss of the API's data does.
    pub(crate) async fn delete_object(&self, name: &str) {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let volumes = self.logical_volumes();
        volumes
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
        volumes
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Patches the spec of a LogicalVolume, as the controller does.
    pub(crate) async fn change(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.logical_volumes()
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Sets the label `disk` of the node.
    pub(crate) async fn label_node(&self, disk: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": {"disk": disk}}}));
        nodes
            .patch(&self.name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    pub(crate) fn logical_volumes(&self) -> Api<LogicalVolume> {
        Api::all(self.client.clone())
    }

    pub(crate) fn storages(&self) -> Api<NodeStorage> {
        Api::all(self.client.clone())
    }

    /// Waits until the volume is not ready for this reason, with this phrase in the message.
    pub(crate) async fn wait_for_not_ready(
        &self,
        name: &str,
        reason: &str,
        phrase: &str,
    ) -> LogicalVolume {
        self.wait_for_condition(name, READY, "False", reason, phrase)
            .await
    }

    /// Waits until the volume's removal waits for this reason, with this phrase in the message.
    pub(crate) async fn wait_for_not_removed(
        &self,
        name: &str,
        reason: &str,
        phrase: &str,
    ) -> LogicalVolume {
        self.wait_for_condition(name, REMOVED, "False", reason, phrase)
            .await
    }

    /// Waits until the volume is reported as removed.
    pub(crate) async fn wait_for_removed(&self, name: &str, reason: &str) -> LogicalVolume {
        self.wait_for_condition(name, REMOVED, "True", reason, "")
            .await
    }

    async fn wait_for_condition(
        &self,
        name: &str,
        type_: &str,
        status: &str,
        reason: &str,
        phrase: &str,
    ) -> LogicalVolume {
        let mut last = None;
        let what = format!("{name} has {type_}={status} {reason} {phrase:?}");
        let found = wait::until(&what, LIMIT, async || {
            let object = self.logical_volumes().get(name).await?;
            let conditions = object.status.clone().unwrap_or_default().conditions;
            last = Some(conditions.clone());
            let is = condition::get(&conditions, type_);
            let is = is.is_some_and(|is| {
                is.status == status && is.reason == reason && is.message.contains(phrase)
            });
            Ok(is.then_some(object))
        });
        let found = found.await;
        found.unwrap_or_else(|error| panic!("{error:#}; its conditions are {last:#?}"))
    }

    /// Waits until the volume is ready.
    pub(crate) async fn ready(&self, name: &str) -> LogicalVolume {
        self.wait_for_condition(name, READY, "True", "Ready", "")
            .await
    }

    /// Waits until the node's report satisfies `is`.
    pub(crate) async fn wait_for_report(
        &self,
        what: &str,
        is: impl Fn(&NodeStorage) -> bool,
    ) -> NodeStorage {
        let mut last = None;
        let found = wait::until(what, LIMIT, async || {
            let object = self.storages().get_opt(&self.name).await?;
            last.clone_from(&object);
            Ok(object.filter(|object| is(object)))
        });
        let found = found.await;
        found.unwrap_or_else(|error| panic!("{error:#}; the report is {last:#?}"))
    }

    /// Waits until the agent has reported its node.
    pub(crate) async fn wait_for_first_report(&self) -> NodeStorage {
        self.wait_for_report("the node is reported", |storage| storage.status.is_some())
            .await
    }

    /// Waits until the agent has installed the driver.
    pub(crate) async fn wait_for_driver(&self) -> NodeStorage {
        self.wait_for_report("the driver is installed", |storage| {
            is_condition_true(storage, DRIVER_INSTALLED)
        })
        .await
    }

    /// Returns the number of the agent's writes to its report.
    pub(crate) fn report_writes(&self) -> usize {
        let writes = self.writes(&self.name);
        let reports = writes.iter().filter(|write| write.contains("nodestorages"));
        reports.count()
    }

    /// Returns the agents' accepted writes to objects whose name contains `part`, as `verb
    /// resource`.
    pub(crate) fn writes(&self, part: &str) -> Vec<String> {
        let writes = self
            .server
            .writes(part)
            .unwrap()
            .into_iter()
            .filter(|write| write.account == "flexlvm-agent");
        writes
            .map(|write| format!("{} {}", write.verb, write.resource))
            .collect()
    }

    /// Waits long enough for an agent to do something that it should not.
    pub(crate) async fn quiet(&self) {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    /// Returns the status of a LogicalVolume.
    pub(crate) async fn status(&self, name: &str) -> crds::LogicalVolumeStatus {
        self.logical_volumes()
            .get(name)
            .await
            .unwrap()
            .status
            .unwrap_or_default()
    }

    pub(crate) async fn is_deleted(&self, name: &str) -> bool {
        self.logical_volumes()
            .get(name)
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    }
}

/// Returns the volume groups of a report.
pub(crate) fn groups(storage: &NodeStorage) -> Vec<crds::node_storage::VolumeGroup> {
    storage.status.clone().unwrap_or_default().volume_groups
}

/// Returns true if a condition of a report is `True`.
pub(crate) fn is_condition_true(storage: &NodeStorage, type_: &str) -> bool {
    condition::is_true(
        &storage.status.clone().unwrap_or_default().conditions,
        type_,
    )
}
