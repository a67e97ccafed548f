//! The agent: one per node, carries out the LogicalVolumes of its node with the node's own LVM,
//! reports what the node has, and installs the driver.
//!
//! `reconcile` gets the name of each LogicalVolume that something happened to, has `node` do with
//! it what `plan` says, and reports. `backends` knows which StorageBackends select the node,
//! `groups` makes their volume groups. `changes` notices what others do to the volume groups,
//! `pools` when a thin pool fills up, `mounts` when a volume is let go of; `forgotten` lets go of
//! what the kubelet has forgotten.

pub mod backends;
pub mod backup;
pub mod blocking;
pub mod cache_paths;
pub mod changes;
pub mod device;
pub mod folders;
pub mod forgotten;
pub mod groups;
pub mod install;
pub mod mounts;
pub mod node;
pub mod order;
pub mod orders;
pub mod plan;
pub mod pools;
pub mod presence;
pub mod reconcile;
pub mod report;
pub mod status;
pub mod storage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flexvolume::DriverName;
use host::lvm::InARow;
use host::{Exec, Roots, System};
use kube::runtime::{reflector, watcher};
use kube::{Api, Client};
use tokio::sync::{Notify, watch};

use crate::http::Ready;
use crate::mirror;
use crate::queue::{self, Wake};
use backends::Backends;
use device::{Devices, NodeDevices};
use forgotten::Forgotten;
use groups::Maker;
use groups::look::Place;
use node::Node;
use orders::Orders;
use reconcile::Worker;
use report::Reporter;

/// LogicalVolumes that are worked on at the same time: while LVM works for one, the API server does
/// for others.
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
    /// The node's folder `/var/lib/flexlvm`, with the driver's settings.
    pub state: PathBuf,
    /// Whether Kubernetes is to attach volumes before it mounts them.
    pub attach: bool,
    /// Further names of the driver.
    pub aliases: Vec<DriverName>,
    /// The node's folder `/etc/lvm`.
    pub lvm: PathBuf,
    /// The time between two looks for forgotten mounts.
    pub look_every: Duration,
}

/// The ways to the node itself.
#[derive(Clone)]
pub struct Host {
    /// Runs the node's programs.
    pub exec: Arc<dyn Exec>,
    /// Reads and writes its devices.
    pub devices: Arc<dyn Devices>,
    /// Its `/proc`.
    pub proc: PathBuf,
}

impl Host {
    /// From a container that shares the node's process ids.
    #[must_use]
    pub fn outside() -> Self {
        let exec: Arc<dyn Exec> = Arc::new(InARow::new(System::on_host()));
        Self {
            devices: Arc::new(NodeDevices::of_host(exec.clone())),
            exec,
            proc: "/proc".into(),
        }
    }

    /// What making volume groups needs to know.
    fn place(&self, settings: &Settings) -> Place {
        let roots = Roots {
            dev: self.proc.join("1/root/dev"),
            sys: "/sys".into(),
        };
        let (state, lvm) = (settings.state.clone(), settings.lvm.clone());
        Place {
            exec: self.exec.clone(),
            roots,
            proc: self.proc.clone(),
            state,
            lvm,
        }
    }

    /// The mount table of its first process.
    fn mounts(&self) -> PathBuf {
        self.proc.join("1/mountinfo")
    }
}

/// Does the agent's work for ever.
pub async fn run(client: Client, settings: Settings, host: Host, ready: Ready) {
    let (wake, requests) = Wake::channel();
    let (store, writer) = reflector::store();
    let orders = Arc::new(Orders {
        node: settings.node.clone(),
        store,
        changed: Notify::new(),
        wake,
    });
    let (backends, backends_writer) = Backends::new(&settings.node);
    let target = settings.target(&host);
    let (forgotten, place) = (
        settings.forgotten(&client, &host, &target),
        host.place(&settings),
    );
    let node = Arc::new(Node::new(host.exec, host.devices));
    let ((installed, driver), unmounted) = (watch::channel(None), Arc::new(Notify::new()));
    let (said, devices) = watch::channel(None);
    let maker = Maker::new(&client, &node, &backends, &orders, place, said);
    let worker = Worker::new(client.clone(), node.clone(), orders.clone());
    let deleted = Arc::new(Notify::new());
    let reporter = Reporter {
        client: client.clone(),
        node: node.clone(),
        orders: orders.clone(),
        backends: backends.clone(),
        driver,
        devices,
        deleted: deleted.clone(),
        ready,
    };
    let of_this_node = format!(
        "{}={}",
        crds::NODE_LABEL,
        crds::node_label_value(&settings.node)
    );
    let selection = watcher::Config::default().labels(&of_this_node);
    let table = target.mounts.clone();
    let mounts_changed = || {
        worker
            .in_use()
            .iter()
            .for_each(|name| orders.wake.now(name));
        unmounted.notify_one();
    };
    tokio::join!(
        mirror::follow_some(
            Api::all(client.clone()),
            selection,
            writer,
            |_| true,
            &orders,
            Orders::heard
        ),
        // Large while they are set up, like the others in boxes.
        Box::pin(backends.run(&client, backends_writer)),
        queue::run(requests, AT_ONCE, |name| worker.work(name)),
        wake_on_news(&node, &orders),
        changes::run(node.clone(), &settings.lvm),
        Box::pin(pools::run(node.clone(), orders.clone(), backends.clone())),
        mounts::run(&table, mounts_changed),
        install::run(target, installed, unmounted.clone()),
        // Seldom awake, and large otherwise.
        Box::pin(forgotten.run()),
        Box::pin(maker.run()),
        reporter.run(),
        Box::pin(presence::run(&client, &settings.node, &deleted)),
    );
}

impl Settings {
    fn target(&self, host: &Host) -> install::Target {
        install::Target {
            driver: self.driver.clone(),
            plugins: self.plugins.clone(),
            state: self.state.clone(),
            mounts: host.mounts(),
            names: DriverName::with_aliases(&self.aliases),
            settings: flexvolume::Settings {
                attach: self.attach,
                node: Some(self.node.clone()),
            },
        }
    }

    fn forgotten(&self, client: &Client, host: &Host, target: &install::Target) -> Forgotten {
        let drivers = install::names(target).unwrap_or_else(|error| {
            let error = host::error::chain(&error);
            tracing::warn!(error, "nobody can tell what the driver was called before");
            target.names.clone()
        });
        Forgotten {
            client: client.clone(),
            node: self.node.clone(),
            drivers,
            exec: host.exec.clone(),
            proc: host.proc.clone(),
            every: self.look_every,
        }
    }
}

/// Whatever is new in LVM's report may concern every volume of the node.
async fn wake_on_news(node: &Node, orders: &Orders) {
    let mut news = node.news();
    while news.changed().await.is_ok() {
        orders.wake_all();
    }
}
