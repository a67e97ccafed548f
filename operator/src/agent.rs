//! The agent: one per node, carries out the LogicalVolumes of its node with the node's own LVM, reports what the node
//! has, and installs the driver.
//!
//! `reconcile` gets the name of each LogicalVolume that something happened to, has `node` do with it what `plan` says,
//! and reports. `changes` notices what others do to the volume groups, `mounts` when a volume is let go of.

pub mod changes;
pub mod device;
pub mod folders;
pub mod install;
pub mod mounts;
pub mod node;
pub mod order;
pub mod orders;
pub mod plan;
pub mod reconcile;
pub mod report;
pub mod status;
pub mod storage;

use std::path::PathBuf;
use std::sync::Arc;

use host::{Exec, System};
use kube::Client;
use kube::runtime::reflector;
use kube::runtime::watcher;
use tokio::sync::{Notify, watch};

use crate::http::Ready;
use crate::mirror;
use crate::queue::{self, Wake};
use device::{Devices, NodeDevices};
use node::Node;
use orders::Orders;
use reconcile::Worker;
use report::Reporter;

/// LogicalVolumes that are worked on at the same time: while LVM works for one, the API server does for others.
const AT_ONCE: usize = 8;

/// Which node this is, and where things are on it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the Node object.
    pub node: String,
    /// The driver's binary, to be installed.
    pub driver: PathBuf,
    /// The kubelet's `--volume-plugin-dir`.
    pub plugins: PathBuf,
    /// The node's folder `/etc/lvm`.
    pub lvm: PathBuf,
}

/// The ways to the node itself.
#[derive(Clone)]
pub struct Host {
    /// Runs the node's programs.
    pub exec: Arc<dyn Exec>,
    /// Reads and writes its devices.
    pub devices: Arc<dyn Devices>,
}

impl Host {
    /// From a container that shares the node's process ids.
    #[must_use]
    pub fn outside() -> Self {
        let exec: Arc<dyn Exec> = Arc::new(System::on_host("/proc/self/exe"));
        Self { devices: Arc::new(NodeDevices::of_host(exec.clone())), exec }
    }
}

/// Does the agent's work for ever.
pub async fn run(client: Client, settings: Settings, host: Host, ready: Ready) {
    let (wake, requests) = Wake::channel();
    let (store, writer) = reflector::store();
    let orders = Arc::new(Orders { node: settings.node.clone(), store, changed: Notify::new(), wake });
    let node = Arc::new(Node::new(host.exec, host.devices));
    let (installed, driver) = watch::channel(None);
    let worker = Worker::new(client.clone(), node.clone(), orders.clone());
    let reporter = Reporter { client: client.clone(), node: node.clone(), orders: orders.clone(), driver, ready };
    let of_this_node = format!("{}={}", crds::NODE_LABEL, crds::node_label_value(&settings.node));
    let selection = watcher::Config::default().labels(&of_this_node);
    tokio::join!(
        mirror::follow_some(&client, selection, writer, |_| true, &orders, Orders::heard),
        queue::run(requests, AT_ONCE, |name| worker.work(name)),
        wake_on_news(&node, &orders),
        changes::run(node.clone(), &settings.lvm),
        mounts::run(|| worker.in_use().iter().for_each(|name| orders.wake.now(name))),
        install::run(settings.driver, settings.plugins, installed),
        reporter.run(),
    );
}

/// Whatever is new in LVM's report may concern every volume of the node.
async fn wake_on_news(node: &Node, orders: &Orders) {
    let mut news = node.news();
    while news.changed().await.is_ok() {
        orders.wake_all();
    }
}
