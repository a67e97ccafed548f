//! The agent: one per node, carries out the LogicalVolumes of its node with the node's own LVM,
//! reports what the node has, and installs the driver.
//!
//! In reading order:
//!
//! - [`watches`]: what the agent is told of: LogicalVolumes, StorageBackends, changes on the node.
//! - [`lvm`]: what is known of the node's LVM, and its lock.
//! - [`volumes`]: what is ordered for one LogicalVolume is done with it, step by step, and reported.
//! - [`thin_pools`]: thin pools are extended as they fill up.
//! - [`volume_groups`]: volume groups are made of the devices that StorageBackends name.
//! - [`inventory`]: what the node has is published as its NodeStorage.
//! - [`driver_install`]: the driver is put where the kubelet finds it.
//! - [`orphaned_mounts`]: what the kubelet has forgotten is unmounted.
//! - [`blocking`]: work on threads that may block.

pub mod blocking;
pub mod driver_install;
pub mod inventory;
pub mod lvm;
pub mod orphaned_mounts;
pub mod thin_pools;
pub mod volume_groups;
pub mod volumes;
pub mod watches;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flexvolume::DriverName;
use host::lvm::LvmShell;
use host::{Exec, Roots, System};
use kube::Client;
use kube::runtime::reflector;
use tokio::sync::{Notify, watch};

use crate::http::Ready;
use crate::kube::queue::{self, WorkQueue};
use inventory::publish::Reporter;
use lvm::state::LvmState;
use orphaned_mounts::OrphanedMounts;
use volume_groups::VolumeGroupCreator;
use volume_groups::observe::NodePaths;
use volumes::device::{Devices, NodeDevices};
use volumes::execute::VolumeExecutor;
use volumes::reconcile::VolumeReconciler;
use watches::backends::Backends;
use watches::logical_volumes::NodeVolumes;

/// LogicalVolumes that are worked on at the same time: while LVM works for one, the API server does
/// for others.
const AT_ONCE: usize = 8;

/// Which node this is, and where things are on it.
#[derive(Clone, Debug)]
pub struct AgentSettings {
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
pub struct NodeAccess {
    /// Runs the node's programs.
    pub exec: Arc<dyn Exec>,
    /// Reads and writes its devices.
    pub devices: Arc<dyn Devices>,
    /// Its `/proc`.
    pub proc: PathBuf,
}

impl NodeAccess {
    /// From a container that shares the node's process ids.
    #[must_use]
    pub fn from_container() -> Self {
        let exec: Arc<dyn Exec> = Arc::new(LvmShell::new(System::through_nsenter()));
        Self {
            devices: Arc::new(NodeDevices::of_host(exec.clone())),
            exec,
            proc: "/proc".into(),
        }
    }

    /// What making volume groups needs to know.
    fn place(&self, settings: &AgentSettings) -> NodePaths {
        let roots = Roots {
            dev: self.proc.join("1/root/dev"),
            sys: "/sys".into(),
        };
        let (state, lvm) = (settings.state.clone(), settings.lvm.clone());
        NodePaths {
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
pub async fn run(client: Client, settings: AgentSettings, host: NodeAccess, ready: Ready) {
    let (queue, requests) = WorkQueue::channel();
    let (store, writer) = reflector::store();
    let volumes = Arc::new(NodeVolumes::new(&settings.node, store, queue));
    let (backends, backends_writer) = Backends::new(&settings.node);
    let target = settings.target(&host);
    let orphaned_mounts = settings.orphaned_mounts(&client, &host, &target);
    let place = host.place(&settings);
    let lvm = Arc::new(LvmState::new(host.exec));
    let executor = VolumeExecutor::new(lvm.clone(), host.devices.clone());
    let ((installed, driver), unmounted) = (watch::channel(None), Arc::new(Notify::new()));
    let (device_outcomes_sender, device_outcomes) = watch::channel(None);
    let maker = VolumeGroupCreator::new(
        &client,
        &lvm,
        &backends,
        &volumes,
        place,
        device_outcomes_sender,
    );
    let worker = VolumeReconciler::new(client.clone(), executor, volumes.clone());
    let deleted = Arc::new(Notify::new());
    let reporter = Reporter {
        client: client.clone(),
        lvm: lvm.clone(),
        devices: host.devices,
        volumes: volumes.clone(),
        backends: backends.clone(),
        driver,
        device_outcomes,
        deleted: deleted.clone(),
        ready,
    };
    let table = target.mounts.clone();
    let mounts_changed = || {
        worker
            .in_use()
            .iter()
            .for_each(|name| volumes.queue.enqueue(name));
        unmounted.notify_one();
    };
    tokio::join!(
        volumes.follow(&client, writer),
        // Large while they are set up, like the others in boxes.
        Box::pin(backends.run(&client, backends_writer)),
        queue::run(requests, AT_ONCE, |name| worker.work(name)),
        enqueue_on_news(&lvm, &volumes),
        lvm::watch::run(lvm.clone(), &settings.lvm),
        Box::pin(thin_pools::run(
            lvm.clone(),
            volumes.clone(),
            backends.clone()
        )),
        watches::mounts::run(&table, mounts_changed),
        driver_install::run(target, installed, unmounted.clone()),
        // Seldom awake, and large otherwise.
        Box::pin(orphaned_mounts.run()),
        Box::pin(maker.run()),
        reporter.run(),
        Box::pin(inventory::deleted::run(&client, &settings.node, &deleted)),
    );
}

impl AgentSettings {
    fn target(&self, host: &NodeAccess) -> driver_install::Target {
        driver_install::Target {
            driver: self.driver.clone(),
            plugins: self.plugins.clone(),
            state: self.state.clone(),
            mounts: host.mounts(),
            names: DriverName::with_aliases(&self.aliases),
            settings: flexvolume::DriverSettings {
                attach: self.attach,
                node: Some(self.node.clone()),
            },
        }
    }

    fn orphaned_mounts(
        &self,
        client: &Client,
        host: &NodeAccess,
        target: &driver_install::Target,
    ) -> OrphanedMounts {
        let drivers = driver_install::names(target).unwrap_or_else(|error| {
            let error = host::error::chain(&error);
            tracing::warn!(error, "nobody can tell what the driver was called before");
            target.names.clone()
        });
        OrphanedMounts {
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
async fn enqueue_on_news(lvm: &LvmState, volumes: &NodeVolumes) {
    let mut news = lvm.news();
    while news.changed().await.is_ok() {
        volumes.enqueue_all();
    }
}
