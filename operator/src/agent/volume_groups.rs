//! Makes the volume groups that StorageBackends name devices for, where they never were, and says
//! what became of each device.
//!
//! Each pass observes (`wanted`, `observe`), decides (`plan`) and acts (`create`). A volume group that
//! is there is never changed; one that was there is never made anew.

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
use host::lvm::Vg;
use host::{DevicePath, Error, VgName};
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::lvm::state::LvmState;
use super::watches::backends::Backends;
use super::watches::folders::Folders;
use super::watches::logical_volumes::NodeVolumes;
use crate::kube::backoff::Backoff;
use crate::kube::error::ApiError;
use observations::PendingObservations;
use observe::NodePaths;
use plan::{CreateGroup, DeviceState, ObservedGroup, ObservedPath, VolumeGroupPlan};
use wanted::WantedGroup;

/// While a volume group waits for a device, they are looked at so often: nobody says when one
/// becomes blank.
const EVERY: Duration = Duration::from_secs(30);

/// Otherwise so often, to say what is true.
const SELDOM: Duration = Duration::from_mins(10);

/// Udev makes several links for a disk.
const SETTLE: Duration = Duration::from_secs(1);

/// Where no volume group waits, what happens in `/dev` is no hurry: each logical volume appears
/// there.
const CALM: Duration = Duration::from_secs(10);

/// Makes volume groups.
pub struct VolumeGroupCreator {
    /// The API server.
    client: Client,
    /// The node's LVM.
    lvm: Arc<LvmState>,
    /// The backends that select the node.
    backends: Arc<Backends>,
    /// The volumes of this node.
    volumes: Arc<NodeVolumes>,
    /// Where things are on the node.
    place: NodePaths,
    /// What is said of each device; `None` while nothing is known.
    device_outcomes: watch::Sender<Option<Vec<NodeDevice>>>,
}

/// What can go wrong in a pass.
#[derive(Debug, thiserror::Error)]
enum VolumeGroupError {
    #[error(transparent)]
    Node(#[from] Error),
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Whether a disk is part of a wanted group that is not known: somebody has made it since LVM was
/// asked for everything.
fn is_behind(
    observed_groups: &BTreeMap<VgName, ObservedGroup>,
    found: &BTreeMap<DevicePath, ObservedPath>,
) -> bool {
    let is_there = |name: &str| {
        let known = observed_groups
            .iter()
            .find(|(group, _)| group.as_str() == name);
        known.is_none_or(|(_, observed_group)| matches!(observed_group, ObservedGroup::Present(_)))
    };
    found.values().any(|found| match found {
        ObservedPath::Device(seen) => match &seen.state {
            DeviceState::PhysicalVolume(_, Some(group)) => !is_there(group),
            _ => false,
        },
        _ => false,
    })
}

/// What decides whether devices have to be looked at again: the groups and their disks.
type ObservationInputs = (Vec<WantedGroup>, Vec<(String, Vec<String>)>);

impl VolumeGroupCreator {
    /// One that says in `device_outcomes` what becomes of each device.
    #[must_use]
    pub fn new(
        client: &Client,
        lvm: &Arc<LvmState>,
        backends: &Arc<Backends>,
        volumes: &Arc<NodeVolumes>,
        place: NodePaths,
        device_outcomes: watch::Sender<Option<Vec<NodeDevice>>>,
    ) -> Self {
        let (client, lvm) = (client.clone(), lvm.clone());
        Self {
            client,
            lvm,
            backends: backends.clone(),
            volumes: volumes.clone(),
            place,
            device_outcomes,
        }
    }

    /// Makes them, for ever.
    pub async fn run(self) {
        // Which groups volumes lie in has to be known before one is called new.
        let _ = self.volumes.store.wait_until_ready().await;
        let (mut report, mut selected) = (self.lvm.report(), self.backends.selected());
        let (backoff, mut hanging) = (Backoff::default(), PendingObservations::new());
        let mut asked: Option<ObservationInputs> = None;
        let (mut folders, mut last, mut due) = (None, Instant::now(), Instant::now());
        loop {
            let question = self.question();
            if question != asked || Instant::now() >= due {
                let wanted = question
                    .as_ref()
                    .map(|(wanted, _)| wanted.as_slice())
                    .unwrap_or_default();
                if asked.as_ref().map(|(wanted, _)| wanted.as_slice()) != Some(wanted) {
                    folders = (!wanted.is_empty()).then(|| Folders::watch(self.folders(wanted)));
                }
                let wait = self.pass(question.as_ref(), &backoff, &mut hanging).await;
                last = Instant::now();
                due = last + wait;
                asked = question;
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

    /// What is wanted, and what LVM has; nothing as long as either is not known. A report that
    /// failed says nothing.
    fn question(&self) -> Option<ObservationInputs> {
        let selected = self.backends.selected().borrow().clone()?;
        let report = self.lvm.report().borrow().clone();
        let groups = report.groups.filter(|_| report.failure.is_none())?;
        let of = |vg: &Vg| {
            (
                vg.name.clone(),
                vg.pvs.iter().map(|pv| pv.name.clone()).collect(),
            )
        };
        Some((wanted::wanted(&selected), groups.iter().map(of).collect()))
    }

    /// One pass; returns when the next is due.
    async fn pass(
        &self,
        question: Option<&ObservationInputs>,
        backoff: &Backoff<()>,
        hanging: &mut PendingObservations,
    ) -> Duration {
        let Some((wanted, groups)) = question else {
            return SELDOM;
        };
        let done = match self.observe(wanted, groups, hanging).await {
            Ok((mut plan, wait)) => {
                let made = self.act(&mut plan).await;
                self.publish_outcomes(plan.devices);
                made.map(|()| wait).map_err(VolumeGroupError::Node)
            }
            Err(failure) => {
                self.log_failure(wanted, &host::error::chain(&failure));
                Err(failure)
            }
        };
        done.inspect(|_| backoff.succeeded(&()))
            .unwrap_or_else(|failure| {
                let (_, wait) = backoff.failed(&());
                tracing::warn!(
                    error = host::error::chain(&failure),
                    "volume groups can't be made, for now"
                );
                wait.min(SELDOM)
            })
    }

    /// Looks, and plans; returns when to look again, if all goes well.
    async fn observe(
        &self,
        wanted: &[WantedGroup],
        groups: &[(String, Vec<String>)],
        hanging: &mut PendingObservations,
    ) -> Result<(VolumeGroupPlan, Duration), VolumeGroupError> {
        let intents = self.intents(wanted)?;
        let mut observed_groups: BTreeMap<_, _> = wanted
            .iter()
            .map(|one| (one.group.clone(), self.observed_group(&one.group, groups)))
            .collect();
        self.forget_done(&observed_groups, &intents)?;
        let found = self.look(wanted, &observed_groups, hanging).await?;
        let plan = |observed_groups: &BTreeMap<_, _>| {
            plan::plan(plan::GroupFacts {
                wanted,
                observed_groups,
                found: &found,
                intents: &intents,
            })
        };
        if is_behind(&observed_groups, &found) {
            // Heard of, it brings the next pass.
            self.lvm.refresh().await?;
        }
        let mut planned = plan(&observed_groups);
        if !planned.make.is_empty() {
            self.ask_report(&mut observed_groups).await?;
            planned = plan(&observed_groups);
        }
        let all_there = observed_groups
            .values()
            .all(|observed_group| matches!(observed_group, ObservedGroup::Present(_)));
        Ok((planned, if all_there { SELDOM } else { EVERY }))
    }

    /// Makes what is planned. Of the devices of a group that could not be made that is said.
    async fn act(&self, plan: &mut VolumeGroupPlan) -> Result<(), Error> {
        let mut failed = Ok(());
        for make in std::mem::take(&mut plan.make) {
            tracing::info!(group = %make.group, devices = ?create::paths(&make), "making a volume group");
            if let Err(error) = self.make(make.clone()).await {
                let words = format!(
                    "volume group {} could not be made: {}",
                    make.group,
                    host::error::chain(&error)
                );
                let is_part = |device: &&mut NodeDevice| {
                    device.volume_group == make.group.as_str()
                        && device.reason.as_deref() == Some(reason::CREATING)
                };
                for device in plan.devices.iter_mut().filter(is_part) {
                    device.reason = Some(reason::CREATE_FAILED.to_owned());
                    device.message = Some(words.clone());
                }
                failed = Err(error);
            }
        }
        failed
    }

    async fn make(&self, make: CreateGroup) -> Result<(), Error> {
        let place = self.place.clone();
        self.lvm
            .change_groups(move || create::create(&place, &make))
            .await
    }

    fn publish_outcomes(&self, devices: Vec<NodeDevice>) {
        self.device_outcomes.send_if_modified(|device_outcomes| {
            let is_news = device_outcomes.as_ref() != Some(&devices);
            *device_outcomes = Some(devices);
            is_news
        });
    }

    /// Says that nothing could be found out; what was known of a device that is taken stays.
    fn log_failure(&self, wanted: &[WantedGroup], why: &str) {
        let device_outcomes = self.device_outcomes.borrow().clone().unwrap_or_default();
        let word = |group: &VgName, path: &DevicePath| {
            let is_it = |one: &&NodeDevice| {
                one.in_volume_group
                    && one.volume_group == group.as_str()
                    && one.path == path.as_str()
            };
            device_outcomes
                .iter()
                .find(is_it)
                .cloned()
                .unwrap_or_else(|| NodeDevice {
                    volume_group: group.to_string(),
                    path: path.to_string(),
                    in_volume_group: false,
                    reason: Some(reason::CREATE_FAILED.to_owned()),
                    message: Some(format!("nothing is made of it, for now: {why}")),
                })
        };
        let of = |one: &WantedGroup| {
            one.devices
                .iter()
                .map(|path| word(&one.group, path))
                .collect::<Vec<_>>()
        };
        self.publish_outcomes(wanted.iter().flat_map(of).collect());
    }

    /// Where the devices appear.
    fn folders(&self, wanted: &[WantedGroup]) -> Vec<PathBuf> {
        let folder = |path: &DevicePath| {
            let below = path.as_str().trim_start_matches("/dev/");
            self.place.roots.dev.join(below).parent().map(PathBuf::from)
        };
        let folders: BTreeSet<_> = wanted
            .iter()
            .flat_map(|one| &one.devices)
            .filter_map(folder)
            .collect();
        folders.into_iter().collect()
    }
}

/// Returns when something has happened in the folders, if there are any.
async fn changed(folders: Option<&Folders>) {
    match folders {
        Some(folders) => folders.changed().await,
        None => std::future::pending().await,
    }
}

/// The report's part: the devices, and the groups that are gone since the report of before.
pub fn note(
    status: &mut crds::NodeStorageStatus,
    old: &crds::NodeStorageStatus,
    devices: Option<&[NodeDevice]>,
) {
    if let Some(devices) = devices {
        status.devices = devices.to_vec();
    }
    let is_there = |name: &String| status.volume_groups.iter().any(|group| group.name == *name);
    let known = old
        .volume_groups
        .iter()
        .map(|group| &group.name)
        .chain(&old.missing_volume_groups);
    let missing: BTreeSet<_> = known.filter(|name| !is_there(name)).cloned().collect();
    status.missing_volume_groups = missing.into_iter().collect();
}

#[cfg(test)]
mod tests;
