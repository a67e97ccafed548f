//! Creates the volume groups for which StorageBackends list devices, and reports the state of each
//! device.
//!
//! Each pass observes (`wanted`, `observe`), decides (`plan`) and acts (`create`). The agent never
//! changes an existing volume group, and never recreates one that existed before.

pub mod create;
pub mod intent;
mod observations;
pub mod observe;
pub mod plan;
pub mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crds::devices::{NodeDevice, reason};
use crds::node_storage::MAX_ORPHANS;
use host::lvm::Vg;
use host::{DevicePath, Error, VgName};
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::error::AgentError;
use super::lvm::state::LvmState;
use super::watches::backends::Backends;
use super::watches::folders::Folders;
use super::watches::logical_volumes::NodeVolumes;
use crate::kube::backoff::Backoff;
use observations::PendingObservations;
use observe::NodePaths;
use plan::{
    CreateGroup, DeviceState, GroupPlanInputs, ObservedGroup, ObservedPath, VolumeGroupPlan,
};
use wanted::WantedGroup;

/// Interval between two checks of the devices while a volume group waits for one: no event reports
/// that a device became blank.
const EVERY: Duration = Duration::from_secs(30);

/// Interval otherwise, to keep the reported states current.
const SELDOM: Duration = Duration::from_mins(10);

/// Delay after an event: udev creates several links for a disk.
const SETTLE: Duration = Duration::from_secs(1);

/// Minimum interval between event-driven checks when no volume group waits: each logical volume
/// appears in `/dev`, too.
const CALM: Duration = Duration::from_secs(10);

/// Creates the volume groups of this node.
pub struct VolumeGroupCreator {
    /// The API server.
    client: Client,
    /// The node's LVM.
    lvm: Arc<LvmState>,
    /// The backends that select the node.
    backends: Arc<Backends>,
    /// The volumes of this node.
    volumes: Arc<NodeVolumes>,
    /// Paths on the node.
    place: NodePaths,
    /// State of each device; `None` before the first pass.
    device_outcomes: watch::Sender<Option<Vec<NodeDevice>>>,
}

/// Returns whether a disk is part of a wanted group that is missing in the LVM report: the group
/// was created after the report.
fn is_behind(
    observed_groups: &BTreeMap<VgName, ObservedGroup>,
    found: &BTreeMap<DevicePath, ObservedPath>,
) -> bool {
    found.values().any(|found| match found {
        ObservedPath::Device(seen) => match &seen.state {
            DeviceState::PhysicalVolume(_, Some(group)) => {
                let known = observed_groups
                    .iter()
                    .find(|(name, _)| name.as_str() == group.as_str());
                known.is_some_and(|(_, observed_group)| {
                    !matches!(observed_group, ObservedGroup::Present(_))
                })
            }
            _ => false,
        },
        _ => false,
    })
}

/// What a pass depends on: the wanted groups, and the existing groups with their disks.
type ObservationInputs = (Vec<WantedGroup>, Vec<(String, Vec<String>)>);

impl VolumeGroupCreator {
    /// Returns a creator that publishes the state of each device in `device_outcomes`.
    #[must_use]
    pub fn new(
        client: &Client,
        lvm: &Arc<LvmState>,
        backends: &Arc<Backends>,
        volumes: &Arc<NodeVolumes>,
        place: NodePaths,
        device_outcomes: watch::Sender<Option<Vec<NodeDevice>>>,
    ) -> Self {
        Self {
            client: client.clone(),
            lvm: lvm.clone(),
            backends: backends.clone(),
            volumes: volumes.clone(),
            place,
            device_outcomes,
        }
    }

    /// Creates groups whenever devices or backends change; never returns.
    pub async fn run(self) {
        // A group with volumes must not be taken for new, so the volumes must be known first.
        let _ = self.volumes.store.wait_until_ready().await;
        let mut report = self.lvm.report();
        let mut selected = self.backends.selected();
        let backoff = Backoff::default();
        let mut pending = PendingObservations::new();
        let mut last_inputs: Option<ObservationInputs> = None;
        let mut folders = None;
        let mut last = Instant::now();
        let mut due = last;
        loop {
            let inputs = self.inputs();
            if inputs != last_inputs || Instant::now() >= due {
                let wanted = inputs
                    .as_ref()
                    .map(|(wanted, _)| wanted.as_slice())
                    .unwrap_or_default();
                if last_inputs.as_ref().map(|(wanted, _)| wanted.as_slice()) != Some(wanted) {
                    folders = (!wanted.is_empty()).then(|| Folders::watch(self.folders(wanted)));
                }
                let wait = self
                    .reconcile(inputs.as_ref(), &backoff, &mut pending)
                    .await;
                last = Instant::now();
                due = last + wait;
                last_inputs = inputs;
                folders.as_ref().inspect(|folders| folders.renew());
            }
            tokio::select! {
                Ok(()) = report.changed() => {}
                Ok(()) = selected.changed() => {}
                () = changed(folders.as_ref()) => {
                    let calm = if due - last < SELDOM { SETTLE } else { CALM };
                    due = due.min((last + calm).max(Instant::now() + SETTLE));
                }
                () = sleep_until(due) => {}
            }
        }
    }

    /// Returns the wanted groups and LVM's groups; `None` while either is unknown or the last
    /// report failed.
    fn inputs(&self) -> Option<ObservationInputs> {
        let selected = self.backends.selected().borrow().clone()?;
        let report = self.lvm.report().borrow().clone();
        let groups = report.groups.filter(|_| report.failure.is_none())?;
        let groups = groups
            .iter()
            .map(|vg: &Vg| {
                (
                    vg.name.clone(),
                    vg.pvs.iter().map(|pv| pv.name.clone()).collect(),
                )
            })
            .collect();
        Some((wanted::wanted(&selected), groups))
    }

    /// Runs one pass; returns the time until the next.
    async fn reconcile(
        &self,
        inputs: Option<&ObservationInputs>,
        backoff: &Backoff<()>,
        pending: &mut PendingObservations,
    ) -> Duration {
        let Some((wanted, groups)) = inputs else {
            return SELDOM;
        };
        let done = match self.observe(wanted, groups, pending).await {
            Ok((mut plan, wait)) => {
                let made = self.act(&mut plan).await;
                self.publish_outcomes(plan.devices);
                made.map(|()| wait).map_err(AgentError::Node)
            }
            Err(failure) => {
                self.publish_failure(wanted, &host::error::chain(&failure));
                Err(failure)
            }
        };
        done.inspect(|_| backoff.succeeded(&()))
            .unwrap_or_else(|failure| {
                let (_, wait) = backoff.failed(&());
                tracing::warn!(
                    error = host::error::chain(&failure),
                    "can't create volume groups; retrying"
                );
                wait.min(SELDOM)
            })
    }

    /// Observes and plans; returns the plan and the time until the next pass.
    async fn observe(
        &self,
        wanted: &[WantedGroup],
        groups: &[(String, Vec<String>)],
        pending: &mut PendingObservations,
    ) -> Result<(VolumeGroupPlan, Duration), AgentError> {
        let intents = self.intents(wanted)?;
        let mut observed_groups: BTreeMap<_, _> = wanted
            .iter()
            .map(|one| (one.group.clone(), self.observed_group(&one.group, groups)))
            .collect();
        self.remove_completed_intents(&observed_groups, &intents)?;
        let found = self
            .observe_devices(wanted, &observed_groups, pending)
            .await?;
        if is_behind(&observed_groups, &found) {
            // The refreshed report triggers the next pass.
            self.lvm.refresh().await?;
        }
        let mut planned = plan::plan(GroupPlanInputs {
            wanted,
            observed_groups: &observed_groups,
            found: &found,
            intents: &intents,
        });
        if !planned.create.is_empty() {
            self.check_node_storage(&mut observed_groups).await?;
            planned = plan::plan(GroupPlanInputs {
                wanted,
                observed_groups: &observed_groups,
                found: &found,
                intents: &intents,
            });
        }
        let all_present = observed_groups
            .values()
            .all(|observed_group| matches!(observed_group, ObservedGroup::Present(_)));
        Ok((planned, if all_present { SELDOM } else { EVERY }))
    }

    /// Creates the planned groups. On failure, sets reason and message of the group's devices.
    async fn act(&self, plan: &mut VolumeGroupPlan) -> Result<(), Error> {
        let mut failed = Ok(());
        for group in std::mem::take(&mut plan.create) {
            tracing::info!(group = %group.group, devices = ?create::paths(&group), "creating a volume group");
            if let Err(error) = self.create(group.clone()).await {
                let message = format!(
                    "volume group {} could not be created: {}",
                    group.group,
                    host::error::chain(&error)
                );
                for device in plan.devices.iter_mut().filter(|device| {
                    device.volume_group == group.group.as_str()
                        && device.reason.as_deref() == Some(reason::CREATING)
                }) {
                    device.reason = Some(reason::CREATE_FAILED.to_owned());
                    device.message = Some(message.clone());
                }
                failed = Err(error);
            }
        }
        failed
    }

    async fn create(&self, group: CreateGroup) -> Result<(), Error> {
        let place = self.place.clone();
        self.lvm
            .change_groups(move || create::create(&place, &group))
            .await
    }

    fn publish_outcomes(&self, devices: Vec<NodeDevice>) {
        self.device_outcomes.send_if_modified(|device_outcomes| {
            let is_changed = device_outcomes.as_ref() != Some(&devices);
            *device_outcomes = Some(devices);
            is_changed
        });
    }

    /// Reports that the observation failed; keeps the last state of devices that are in their
    /// group.
    fn publish_failure(&self, wanted: &[WantedGroup], why: &str) {
        let device_outcomes = self.device_outcomes.borrow().clone().unwrap_or_default();
        let mut devices = Vec::new();
        for WantedGroup {
            group,
            devices: paths,
            ..
        } in wanted
        {
            for path in paths {
                let last = device_outcomes.iter().find(|one| {
                    one.in_volume_group
                        && one.volume_group == group.as_str()
                        && one.path == path.as_str()
                });
                devices.push(last.cloned().unwrap_or_else(|| NodeDevice {
                    volume_group: group.to_string(),
                    path: path.to_string(),
                    in_volume_group: false,
                    reason: Some(reason::CREATE_FAILED.to_owned()),
                    message: Some(format!("can't create the volume group: {why}")),
                }));
            }
        }
        self.publish_outcomes(devices);
    }

    /// Returns the folders in which the devices appear.
    fn folders(&self, wanted: &[WantedGroup]) -> Vec<PathBuf> {
        let folders: BTreeSet<_> = wanted
            .iter()
            .flat_map(|one| &one.devices)
            .filter_map(|path| {
                let path = self.place.roots.dev.join(path.below_dev());
                path.parent().map(PathBuf::from)
            })
            .collect();
        folders.into_iter().collect()
    }
}

/// Returns after an event in the folders; never if there are none.
async fn changed(folders: Option<&Folders>) {
    match folders {
        Some(folders) => folders.changed().await,
        None => std::future::pending().await,
    }
}

/// Writes devices, missing groups and their orphans into the status.
///
/// A group is missing if the previous status lists it and LVM no longer does. Its disks may come
/// back, so the controller must go on to place no claim whose data is on them.
pub fn note(
    status: &mut crds::NodeStorageStatus,
    old: &crds::NodeStorageStatus,
    devices: Option<&[NodeDevice]>,
) {
    if let Some(devices) = devices {
        status.devices = devices.to_vec();
    }
    let known = old
        .volume_groups
        .iter()
        .map(|group| &group.name)
        .chain(&old.missing_volume_groups);
    let missing: BTreeSet<_> = known
        .filter(|name| {
            status
                .volume_groups
                .iter()
                .all(|group| group.name != **name)
        })
        .cloned()
        .collect();
    for orphan in &old.orphans {
        let is_listed = status
            .orphans
            .iter()
            .any(|listed| listed.claim_uid == orphan.claim_uid);
        if missing.contains(&orphan.volume_group) && !is_listed {
            status.orphans.push(orphan.clone());
            if let Some(audit) = &mut status.audit {
                audit.orphaned = audit.orphaned.saturating_add(1);
            }
        }
    }
    status.orphans.truncate(MAX_ORPHANS);
    status.missing_volume_groups = missing.into_iter().collect();
}

#[cfg(test)]
mod tests;
