//! The agent: one per node; carries out the LogicalVolumes of its node with the node's LVM,
//! publishes the node's storage, and installs the driver.
//!
//! In reading order:
//!
//! - [`watches`]: watches of LogicalVolumes, StorageBackends, and folders and mounts of the node.
//! - [`lvm`]: the cached report of the node's LVM, and the lock for LVM.
//! - [`volumes`]: compares each LogicalVolume with the node, acts step by step, and reports.
//! - [`thin_pools`]: extends thin pools as they fill up.
//! - [`volume_groups`]: creates volume groups on the devices that StorageBackends list.
//! - [`adoptions`]: reports the logical volumes that Adoptions name.
//! - [`inventory`]: publishes the node's storage as its NodeStorage.
//! - [`kubelet`]: finds the node's kubelet and its plugin folder.
//! - [`driver_install`]: installs the driver into kubelet's plugin folder.
//! - [`orphaned_mounts`]: unmounts pod mounts that kubelet no longer tracks.
//! - [`metrics`]: the series that the agent exposes.
//! - [`condition`]: what the agent writes to conditions; [`error`]: what it retries.
//! - [`blocking`]: runs work on threads that may block.

pub mod adoptions;
pub mod blocking;
pub mod condition;
pub mod driver_install;
pub mod error;
pub mod inventory;
pub mod kubelet;
pub mod lvm;
pub mod metrics;
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

use crate::http::Endpoint;
use crate::kube::queue::{self, WorkQueue};
use crate::metrics::Metrics;
use driver_install::DriverInstaller;
use driver_install::outcomes::InstallOutcomes;
use inventory::disk_paths::DiskPaths;
use inventory::publish::Reporter;
use lvm::activity::LvmActivity;
use lvm::hang;
use lvm::measured::MeasuredExec;
use lvm::state::LvmState;
use orphaned_mounts::OrphanedMounts;
use volume_groups::VolumeGroupCreator;
use volume_groups::observe::NodePaths;
use volumes::device::{Devices, NodeDevices};
use volumes::execute::VolumeExecutor;
use volumes::jobs::device::{JobDevices, NodeJobDevices};
use volumes::jobs::plan::JobLimits;
use volumes::jobs::runner::JobRunner;
use volumes::reconcile::VolumeReconciler;
use watches::backends::Backends;
use watches::logical_volumes::NodeVolumes;

/// Maximum number of LogicalVolumes reconciled concurrently: while LVM works for one, the others
/// wait for the API server.
const AT_ONCE: usize = 8;

/// The node's name, its paths, and the agent's settings.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Name of the Node object.
    pub node: String,
    /// Path of the driver binary that the agent installs.
    pub driver: PathBuf,
    /// The kubelet's plugin folder, as a path on the node; `None` lets the agent find it.
    pub plugin_dir: Option<PathBuf>,
    /// The node's folder `/var/lib/flexlvm`, with the driver's settings.
    pub state: PathBuf,
    /// Whether Kubernetes attaches volumes before it mounts them.
    pub attach: bool,
    /// Additional names under which the driver is installed.
    pub aliases: Vec<DriverName>,
    /// The node's folder `/etc/lvm`.
    pub lvm: PathBuf,
    /// Interval between two scans for orphaned mounts.
    pub scan_interval: Duration,
    /// Time after which a command of LVM that has not ended makes the node not Ready.
    pub hang_limit: Duration,
}

/// Access to the node from the agent's container.
#[derive(Clone)]
pub struct NodeAccess {
    /// Runs the node's programs.
    pub exec: Arc<dyn Exec>,
    /// Reads and writes the node's block devices.
    pub devices: Arc<dyn Devices>,
    /// Opens the devices of jobs.
    pub job_devices: Arc<dyn JobDevices>,
    /// The node's `/proc`.
    pub proc: PathBuf,
}

impl NodeAccess {
    /// Returns the access from a container that shares the node's PID namespace.
    #[must_use]
    pub fn from_container() -> Self {
        let exec: Arc<dyn Exec> = Arc::new(LvmShell::new(System::through_nsenter()));
        Self {
            devices: Arc::new(NodeDevices::from_container(exec.clone())),
            exec,
            job_devices: Arc::new(NodeJobDevices {
                roots: Roots::from_container(),
            }),
            proc: "/proc".into(),
        }
    }

    /// Returns the same access, with LVM's commands measured, and recorded in `activity`.
    fn measured(self, metrics: &Metrics, activity: &LvmActivity) -> Self {
        let exec = MeasuredExec::new(self.exec, activity.clone());
        exec.register(metrics);
        Self {
            exec: Arc::new(exec),
            ..self
        }
    }

    /// Returns the paths that creating volume groups needs.
    fn place(&self, settings: &AgentSettings) -> NodePaths {
        let roots = Roots {
            dev: self.proc.join("1/root/dev"),
            sys: "/sys".into(),
        };
        NodePaths {
            exec: self.exec.clone(),
            roots,
            proc: self.proc.clone(),
            state: settings.state.clone(),
            lvm: settings.lvm.clone(),
        }
    }

    /// Returns the node's LVM, whose commands are recorded in `activity`.
    fn lvm(&self, place: &NodePaths, activity: &LvmActivity) -> Arc<LvmState> {
        let lvm = LvmState::new(self.exec.clone(), place.evidence(), activity.clone());
        Arc::new(lvm)
    }

    /// Returns what carries out the LogicalVolumes in `volumes`.
    fn executor(&self, lvm: &Arc<LvmState>, volumes: &Arc<NodeVolumes>) -> VolumeExecutor {
        let queue = volumes.queue.clone();
        let jobs = JobRunner::new(self.job_devices.clone(), queue, JobLimits::default());
        VolumeExecutor::new(
            lvm.clone(),
            self.devices.clone(),
            volumes.clone(),
            Arc::new(jobs),
        )
    }

    /// Returns the path of the mount table of the node's PID 1.
    fn mounts(&self) -> PathBuf {
        self.proc.join("1/mountinfo")
    }
}

/// Runs all tasks of the agent; never returns.
pub async fn run(client: Client, settings: AgentSettings, host: NodeAccess, endpoint: Endpoint) {
    let activity = LvmActivity::default();
    let host = host.measured(&endpoint.metrics, &activity);
    let (queue, requests) = WorkQueue::channel();
    let (store, writer) = reflector::store();
    let volumes = Arc::new(NodeVolumes::new(&settings.node, store, queue));
    let (backends, backends_writer) = Backends::new(&settings.node);
    let installer = settings.driver_installer(&host);
    let orphaned_mounts = settings.orphaned_mounts(&client, &host, &installer.names);
    let place = host.place(&settings);
    let lvm = host.lvm(&place, &activity);
    let executor = host.executor(&lvm, &volumes);
    let (outcomes, installation) = InstallOutcomes::channel();
    let unmounted = Arc::new(Notify::new());
    let (sender, device_outcomes) = watch::channel(None);
    let creator = VolumeGroupCreator::new(&client, &lvm, &backends, &volumes, place, sender);
    let reconciler = VolumeReconciler::new(client.clone(), executor, volumes.clone());
    let deleted = Arc::new(Notify::new());
    let reporter = Reporter {
        client: client.clone(),
        lvm: lvm.clone(),
        devices: host.devices.clone(),
        disk_paths: DiskPaths::default(),
        volumes: volumes.clone(),
        backends: backends.clone(),
        installation,
        device_outcomes,
        deleted: deleted.clone(),
        ready: endpoint.ready,
    };
    metrics::register(&endpoint.metrics, &reporter);
    let table = installer.mounts.clone();
    tokio::join!(
        volumes.follow(&client, writer),
        // Boxed, like the others below, because the future is large while the watches start.
        Box::pin(backends.run(&client, backends_writer)),
        Box::pin(reconcile_volumes(&reconciler, &volumes, requests)),
        Box::pin(adoptions::run(&client, &lvm, &volumes)),
        enqueue_on_news(&lvm, &volumes),
        lvm::watch::run(lvm.clone(), &settings.lvm),
        hang::run(activity, host.exec, volumes.clone(), settings.hang_limit),
        volumes::device_check::run(lvm.clone(), host.devices, volumes.clone()),
        Box::pin(thin_pools::run(
            lvm.clone(),
            volumes.clone(),
            backends.clone()
        )),
        watches::mounts::run(&table, || {
            reconciler.enqueue_waiting();
            unmounted.notify_one();
        }),
        Box::pin(installer.run(outcomes, unmounted.clone())),
        Box::pin(orphaned_mounts.run()),
        Box::pin(creator.run()),
        reporter.run(),
        Box::pin(inventory::deleted::run(&client, &settings.node, &deleted)),
    );
}

impl AgentSettings {
    fn driver_installer(&self, host: &NodeAccess) -> DriverInstaller {
        DriverInstaller {
            driver: self.driver.clone(),
            plugin_dir: self.plugin_dir.clone(),
            proc: host.proc.clone(),
            state: self.state.clone(),
            mounts: host.mounts(),
            names: DriverName::with_aliases(&self.aliases),
            settings: flexvolume::DriverSettings {
                attach: self.attach,
                node: Some(self.node.clone()),
            },
            exec: host.exec.clone(),
        }
    }

    fn orphaned_mounts(
        &self,
        client: &Client,
        host: &NodeAccess,
        current: &[DriverName],
    ) -> OrphanedMounts {
        let drivers = driver_install::names(&self.state, current).unwrap_or_else(|error| {
            let error = host::error::chain(&error);
            tracing::warn!(error, "can't read the former names of the driver: its mounts under these names are not cleaned up");
            current.to_vec()
        });
        OrphanedMounts {
            client: client.clone(),
            node: self.node.clone(),
            drivers,
            exec: host.exec.clone(),
            proc: host.proc.clone(),
            every: self.scan_interval,
        }
    }
}

/// Reconciles the volumes that are enqueued.
async fn reconcile_volumes(
    reconciler: &VolumeReconciler,
    volumes: &NodeVolumes,
    requests: queue::Requests,
) {
    let statistics = volumes.queue.statistics();
    queue::run(requests, statistics, AT_ONCE, |name| {
        reconciler.reconcile(name)
    })
    .await;
}

/// Requeues all volumes of the node after each change in LVM's report.
async fn enqueue_on_news(lvm: &LvmState, volumes: &NodeVolumes) {
    let mut changes = lvm.changes();
    while changes.changed().await.is_ok() {
        volumes.enqueue_all();
    }
}
