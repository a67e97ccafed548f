//! Writes this node's NodeStorage when it has changed: at once what the controller's placement
//! depends on, free space with a delay.
//!
//! Never waits for LVM or its lock: the NodeStorage is where admins and the controller find that LVM
//! hangs.

use std::sync::Arc;
use std::time::Duration;

use crds::devices::NodeDevice;
use crds::{LogicalVolume, NodeStorage, NodeStorageStatus};
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::build::{self, ReportInputs};
use super::disk_paths::DiskPaths;
use super::{cache_disks, metadata_area};
use crate::agent::driver_install::outcomes::InstallConditions;
use crate::agent::lvm::hang::LvmHang;
use crate::agent::lvm::report::LvmReport;
use crate::agent::lvm::rollback;
use crate::agent::lvm::state::LvmState;
use crate::agent::volume_groups;
use crate::agent::volumes::device::Devices;
use crate::agent::volumes::spec::VolumeSpec;
use crate::agent::watches::backends::Backends;
use crate::agent::watches::logical_volumes::NodeVolumes;
use crate::http::Ready;
use crate::kube::backoff::Backoff;
use crate::kube::error::ApiError;
use crate::kube::names;

/// Free space is written when it has not changed for this long …
const QUIET: Duration = Duration::from_secs(10);

/// … or was outdated for this long.
const LONGEST_WRONG: Duration = Duration::from_mins(1);

/// Interval of a full write: the Node may have been replaced by another one, and the controller
/// places nothing on a node whose agent is silent.
const RENEW: Duration = Duration::from_mins(5);

/// Publishes the node's inventory.
pub struct Reporter {
    /// Client with the rights of the agent's service account.
    pub client: Client,
    /// The node's LVM.
    pub lvm: Arc<LvmState>,
    /// The node's block devices.
    pub devices: Arc<dyn Devices>,
    /// The LogicalVolumes of this node.
    pub volumes: Arc<NodeVolumes>,
    /// Stable paths of the node's disks.
    pub disk_paths: DiskPaths,
    /// The StorageBackends, which list cache disks by path.
    pub backends: Arc<Backends>,
    /// Whether the driver is installed, and loaded by the kubelet.
    pub installation: InstallConditions,
    /// State of the devices that StorageBackends list for volume groups.
    pub device_outcomes: watch::Receiver<Option<Vec<NodeDevice>>>,
    /// Notified when the NodeStorage is deleted.
    pub deleted: Arc<Notify>,
    /// Set once the first inventory is written, also if that only reports that LVM fails or hangs.
    ///
    /// Otherwise a node with a defective disk would stop the update of all other agents.
    pub ready: Ready,
}

/// What the agent observes of LVM.
#[derive(Clone, Debug)]
struct ObservedLvm {
    report: LvmReport,
    hang: Option<LvmHang>,
}

/// The last written status, and when to write it again.
struct Written {
    status: NodeStorageStatus,
    renew_at: Instant,
    /// Since when the written free space is outdated, and when to write it.
    wrong: Option<(Instant, Instant)>,
}

impl Reporter {
    /// Publishes changes; never returns.
    pub async fn run(mut self) {
        // Without all specs the space of their volumes would count as used by others.
        let _ = self.volumes.store.wait_until_ready().await;
        let mut report = self.lvm.report();
        let mut hang = self.lvm.activity().hang();
        let mut written = None;
        let mut backends = self.backends.selected();
        let backoff = Backoff::default();
        loop {
            let known = ObservedLvm {
                report: report.borrow_and_update().clone(),
                hang: hang.borrow_and_update().clone(),
            };
            let next = match self.step(known, &mut written).await {
                Ok(next) => {
                    backoff.succeeded(&());
                    next
                }
                Err(error) => {
                    let (_, wait) = backoff.failed(&());
                    tracing::warn!(
                        error = host::error::chain(&error),
                        "can't write this node's NodeStorage; retrying"
                    );
                    Instant::now() + wait
                }
            };
            tokio::select! {
                Ok(()) = report.changed() => {}
                Ok(()) = hang.changed() => {}
                Ok(()) = self.installation.driver.changed() => {}
                Ok(()) = self.installation.kubelet.changed() => {}
                Ok(()) = backends.changed() => {}
                Ok(()) = self.device_outcomes.changed() => {}
                () = self.volumes.changed.notified() => {}
                () = self.deleted.notified() => written = None,
                () = sleep_until(next) => {}
            }
        }
    }

    /// Writes what is due now; returns the time of the next step.
    async fn step(
        &mut self,
        observed: ObservedLvm,
        written: &mut Option<Written>,
    ) -> Result<Instant, ApiError> {
        let now = Instant::now();
        let ObservedLvm { report, hang } = &observed;
        if report.groups.is_none() && report.failure.is_none() && hang.is_none() {
            return Ok(now + RENEW);
        }
        let Some(last) = written.as_mut().filter(|last| now < last.renew_at) else {
            *written = Some(self.write_all(&observed).await?);
            self.ready.set(true);
            return Ok(now + RENEW);
        };
        let new = self.build(&last.status, &observed);
        let due = last.due(&new, now);
        if due > now {
            return Ok(due.min(last.renew_at));
        }
        let next = last.renew_at;
        match self.write(&new).await {
            Ok(()) => {
                *last = Written {
                    status: new,
                    renew_at: next,
                    wrong: None,
                }
            }
            Err(error) => {
                // The object may be deleted: the next write is a full one.
                *written = None;
                return Err(error);
            }
        }
        Ok(next)
    }

    fn build(&mut self, old: &NodeStorageStatus, observed: &ObservedLvm) -> NodeStorageStatus {
        let ObservedLvm { report, hang } = observed;
        let objects: Vec<_> = self.volumes.all().collect();
        let specs: Vec<_> = objects.iter().filter_map(|object| read(object)).collect();
        let driver = self.installation.driver.borrow();
        let kubelet = self.installation.kubelet.borrow();
        let backends = self
            .backends
            .selected()
            .borrow()
            .clone()
            .unwrap_or_default();
        let groups = report
            .groups
            .as_deref()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let cache_paths = cache_disks::find(&backends, groups, |path| self.devices.number_at(path));
        let stable_paths = self.disk_paths.find(groups, &*self.devices);
        let missing = rollback::by_objects(groups, objects.iter().map(Arc::as_ref));
        let inputs = ReportInputs {
            report,
            missing: &missing,
            specs: &specs,
            driver: driver.as_ref(),
            kubelet: kubelet.as_ref(),
            hang: hang.as_ref(),
            cache_paths: &cache_paths,
            stable_paths,
        };
        let mut status = build::build(old, inputs, &Time(Timestamp::now()));
        metadata_area::note(&mut status, &self.lvm.statistics().statistics);
        volume_groups::note(&mut status, old, self.device_outcomes.borrow().as_deref());
        status
    }

    /// Writes the object with its owner reference, and its status.
    async fn write_all(&mut self, observed: &ObservedLvm) -> Result<Written, ApiError> {
        let nodes: Api<KubernetesNode> = Api::all(self.client.clone());
        let node = nodes.get(&self.volumes.node).await.map_err(ApiError::of(
            "get",
            "Node",
            &self.volumes.node,
        ))?;
        self.volumes.set_node_uid(node.uid());
        let object = json!({
            "apiVersion": NodeStorage::api_version(&()),
            "kind": NodeStorage::kind(&()),
            "metadata": {
                "name": self.volumes.node,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": self.volumes.node, "uid": node.uid()}],
            },
            "spec": {},
        });
        let params = PatchParams::apply(names::AGENT).force();
        let written = self
            .api()
            .patch(&self.volumes.node, &params, &Patch::Apply(&object))
            .await;
        let object = written.map_err(ApiError::of("write", "NodeStorage", &self.volumes.node))?;
        // udev may have created a link of a disk after the last search.
        self.disk_paths = DiskPaths::default();
        let mut status = self.build(&object.status.unwrap_or_default(), observed);
        status.renewed_at = Some(Time(Timestamp::now()));
        self.write(&status).await?;
        Ok(Written {
            status,
            renew_at: Instant::now() + RENEW,
            wrong: None,
        })
    }

    async fn write(&self, status: &NodeStorageStatus) -> Result<(), ApiError> {
        let object = json!({
            "apiVersion": NodeStorage::api_version(&()),
            "kind": NodeStorage::kind(&()),
            "metadata": {"name": self.volumes.node},
            "status": status,
        });
        let params = PatchParams::apply(names::AGENT).force();
        let written = self
            .api()
            .patch_status(&self.volumes.node, &params, &Patch::Apply(&object))
            .await;
        written.map(drop).map_err(ApiError::of(
            "update the status of",
            "NodeStorage",
            &self.volumes.node,
        ))
    }

    fn api(&self) -> Api<NodeStorage> {
        Api::all(self.client.clone())
    }
}

impl Written {
    /// Returns when `new` has to be written.
    fn due(&mut self, new: &NodeStorageStatus, now: Instant) -> Instant {
        if build::differ(&self.status, new) {
            return now;
        }
        if *new == self.status {
            self.wrong = None;
            return self.renew_at;
        }
        let (since, until) = self.wrong.unwrap_or((now, now + QUIET));
        if now >= until {
            return now;
        }
        let until = (now + QUIET).min(since + LONGEST_WRONG);
        self.wrong = Some((since, until));
        until
    }
}

fn read(object: &LogicalVolume) -> Option<VolumeSpec> {
    VolumeSpec::read(object, &object.status.clone().unwrap_or_default()).ok()
}
