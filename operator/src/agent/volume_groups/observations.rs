//! Observes the wanted volume groups and their devices: from LVM, recorded intents, the API and the
//! devices themselves.

use host::DevNum;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crds::condition::{self, REMOVED};
use crds::{LogicalVolume, NodeStorage};
use host::lvm::{Lvm, backup};
use host::{DevicePath, Error, VgName};
use kube::{Api, ResourceExt as _};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::intent::{self, Intent};
use super::plan::{GroupTrace, ObservedGroup, ObservedPath};
use super::wanted::WantedGroup;
use super::{VolumeGroupCreator, observe};
use crate::agent::blocking::blocking;
use crate::kube::error::ApiError;

/// Time limit for observing a device before it is reported as unresponsive.
const LOOK_TIME: Duration = Duration::from_secs(30);

/// Observations that have exceeded the time limit and still run.
pub(super) type PendingObservations = HashMap<DevicePath, JoinHandle<ObservedPath>>;

impl VolumeGroupCreator {
    pub(super) fn intents(
        &self,
        wanted: &[WantedGroup],
    ) -> Result<BTreeMap<VgName, Intent>, Error> {
        wanted
            .iter()
            .map(|one| {
                Ok((
                    one.group.clone(),
                    intent::read(&self.place.state, &one.group)?,
                ))
            })
            .collect()
    }

    /// Removes the intents of groups that exist.
    pub(super) fn remove_completed_intents(
        &self,
        observed_groups: &BTreeMap<VgName, ObservedGroup>,
        intents: &BTreeMap<VgName, Intent>,
    ) -> Result<(), Error> {
        for (group, observed_group) in observed_groups {
            let is_recorded = intents
                .get(group)
                .is_some_and(|intent| *intent != Intent::default());
            if is_recorded && matches!(observed_group, ObservedGroup::Present(_)) {
                intent::remove(&self.place.state, group)?;
            }
        }
        Ok(())
    }

    /// Returns the state of a group from LVM's report, LVM's backups and the LogicalVolumes.
    pub(super) fn observed_group(
        &self,
        group: &VgName,
        groups: &[(String, Vec<String>)],
    ) -> ObservedGroup {
        let mut same = groups
            .iter()
            .filter(|(name, _)| name == group.as_str())
            .peekable();
        if same.peek().is_some() {
            return ObservedGroup::Present(
                same.flat_map(|(_, disks)| disks)
                    .filter_map(|name| observe::number_of(&self.place.roots, name))
                    .collect(),
            );
        }
        if let Some(backup) = backup::path_of(&self.place.lvm, group.as_str()) {
            let backup = backup.display();
            let evidence = format!("LVM has a backup of it, {backup}");
            let remedy = format!("`rm {backup}` on the node");
            return ObservedGroup::Vanished(GroupTrace { evidence, remedy });
        }
        let volume_with_data = self.volumes.all().find(|volume: &Arc<LogicalVolume>| {
            let status = volume.status.clone().unwrap_or_default();
            let is_in_it = volume.spec.volume_group == group.as_str();
            is_in_it && status.uuid.is_some() && !condition::is_true(&status.conditions, REMOVED)
        });
        volume_with_data.map_or(ObservedGroup::Missing, |volume| {
            let evidence = format!("it contains LogicalVolume {}", volume.name_any());
            ObservedGroup::Vanished(GroupTrace {
                evidence,
                remedy: "delete the claims of its volumes".to_owned(),
            })
        })
    }

    /// Marks missing groups as vanished if this node's NodeStorage lists them.
    pub(super) async fn check_node_storage(
        &self,
        observed_groups: &mut BTreeMap<VgName, ObservedGroup>,
    ) -> Result<(), ApiError> {
        let api: Api<NodeStorage> = Api::all(self.client.clone());
        let name = &self.volumes.node;
        let report = api
            .get_opt(name)
            .await
            .map_err(ApiError::of("get", "NodeStorage", name))?;
        let status = report.and_then(|report| report.status).unwrap_or_default();
        let groups = status.volume_groups.iter().map(|group| &group.name);
        let known: BTreeSet<_> = groups
            .chain(&status.missing_volume_groups)
            .map(String::as_str)
            .collect();
        for (group, observed_group) in observed_groups.iter_mut() {
            if *observed_group == ObservedGroup::Missing && known.contains(group.as_str()) {
                let evidence = format!("NodeStorage {name} lists it (status.missingVolumeGroups)");
                *observed_group = ObservedGroup::Vanished(GroupTrace {
                    evidence,
                    remedy: format!("`kubectl delete nodestorage {name}`"),
                });
            }
        }
        Ok(())
    }

    /// Observes every device in turn, except those that are in a group already.
    pub(super) async fn observe_devices(
        &self,
        wanted: &[WantedGroup],
        observed_groups: &BTreeMap<VgName, ObservedGroup>,
        pending: &mut PendingObservations,
    ) -> Result<BTreeMap<DevicePath, ObservedPath>, Error> {
        let paths: BTreeSet<_> = wanted.iter().flat_map(|one| &one.devices).collect();
        let mut members = BTreeSet::<DevNum>::new();
        for observed_group in observed_groups.values() {
            if let ObservedGroup::Present(numbers) = observed_group {
                members.extend(numbers);
            }
        }
        let mut found = BTreeMap::new();
        for path in paths {
            let observed = match observe::number_of(&self.place.roots, path.as_str()) {
                Some(number) if members.contains(&number) => ObservedPath::Member(number),
                _ => self.observe_device(path, pending).await,
            };
            found.insert(path.clone(), observed);
        }
        if observe::needs_owners(&found) {
            let place = self.place.clone();
            let owners = blocking(move || Lvm(&*place.exec).disks()).await?;
            for found in found.values_mut() {
                observe::name_owner(&self.place.roots, found, &owners);
            }
        }
        Ok(found)
    }

    /// Observes a device; waits for the previous observation if that still runs.
    async fn observe_device(
        &self,
        path: &DevicePath,
        pending: &mut PendingObservations,
    ) -> ObservedPath {
        let mut observation = pending.remove(path).unwrap_or_else(|| {
            let place = self.place.clone();
            let path = path.clone();
            spawn_blocking(move || observe::observe(&place, &path))
        });
        match timeout(LOOK_TIME, &mut observation).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => ObservedPath::Unreadable(error.to_string()),
            Err(_) => {
                pending.insert(path.clone(), observation);
                ObservedPath::Unreadable(format!(
                    "it does not respond within {} s",
                    LOOK_TIME.as_secs()
                ))
            }
        }
    }
}
