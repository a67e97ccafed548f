//! What is known of the wanted volume groups and of their devices, from LVM, from what was begun,
//! from the API and from the devices themselves.

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

/// How long looking at a device may take before it is said that it does not answer.
const LOOK_TIME: Duration = Duration::from_secs(30);

/// Looks that have not come back.
pub(super) type PendingObservations = HashMap<DevicePath, JoinHandle<ObservedPath>>;

impl VolumeGroupCreator {
    pub(super) fn intents(
        &self,
        wanted: &[WantedGroup],
    ) -> Result<BTreeMap<VgName, Intent>, Error> {
        let read = |one: &WantedGroup| {
            Ok((
                one.group.clone(),
                intent::read(&self.place.state, &one.group)?,
            ))
        };
        wanted.iter().map(read).collect()
    }

    /// A group that is there is made.
    pub(super) fn forget_done(
        &self,
        observed_groups: &BTreeMap<VgName, ObservedGroup>,
        intents: &BTreeMap<VgName, Intent>,
    ) -> Result<(), Error> {
        for (group, observed_group) in observed_groups {
            let is_begun = intents
                .get(group)
                .is_some_and(|intent| *intent != Intent::default());
            if is_begun && matches!(observed_group, ObservedGroup::Present(_)) {
                intent::forget(&self.place.state, group)?;
            }
        }
        Ok(())
    }

    /// How a group stands, by all that this node knows of it.
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
            let number = |name: &String| observe::number_of(&self.place.roots, name);
            return ObservedGroup::Present(
                same.flat_map(|(_, disks)| disks)
                    .filter_map(number)
                    .collect(),
            );
        }
        if let Some(backup) = backup::path_of(&self.place.lvm, group.as_str()) {
            let backup = backup.display();
            let (evidence, remedy) = (
                format!("LVM keeps a backup of it, {backup}"),
                format!("`rm {backup}` on the node"),
            );
            return ObservedGroup::Vanished(GroupTrace { evidence, remedy });
        }
        let has_data = |volume: &Arc<LogicalVolume>| {
            let status = volume.status.clone().unwrap_or_default();
            let is_in_it = volume.spec.volume_group == group.as_str();
            is_in_it && status.uuid.is_some() && !condition::is_true(&status.conditions, REMOVED)
        };
        self.volumes
            .all()
            .find(has_data)
            .map_or(ObservedGroup::Missing, |volume| {
                let evidence = format!("LogicalVolume {} lies in it", volume.name_any());
                ObservedGroup::Vanished(GroupTrace {
                    evidence,
                    remedy: "delete the claims of its volumes".to_owned(),
                })
            })
    }

    /// Has the last word of the API: a group that this node's report tells of was there.
    pub(super) async fn ask_report(
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
                let evidence =
                    format!("NodeStorage {name} tells of it (status.missingVolumeGroups)");
                *observed_group = ObservedGroup::Vanished(GroupTrace {
                    evidence,
                    remedy: format!("`kubectl delete nodestorage {name}`"),
                });
            }
        }
        Ok(())
    }

    /// Looks at every device, one after the other; but not at those that are in a group already.
    pub(super) async fn look(
        &self,
        wanted: &[WantedGroup],
        observed_groups: &BTreeMap<VgName, ObservedGroup>,
        hanging: &mut PendingObservations,
    ) -> Result<BTreeMap<DevicePath, ObservedPath>, Error> {
        let paths: BTreeSet<_> = wanted.iter().flat_map(|one| &one.devices).collect();
        let is_member = |number: &_| {
            observed_groups.values().any(
                |observed_group| matches!(observed_group, ObservedGroup::Present(members) if members.contains(number)),
            )
        };
        let mut found = BTreeMap::new();
        for path in paths {
            let there = match observe::number_of(&self.place.roots, path.as_str()).filter(is_member)
            {
                Some(number) => ObservedPath::Member(number),
                None => self.look_at(path, hanging).await,
            };
            found.insert(path.clone(), there);
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

    /// Looks at a device, unless the look of before has not come back yet.
    async fn look_at(&self, path: &DevicePath, hanging: &mut PendingObservations) -> ObservedPath {
        let begin = || {
            let (place, path) = (self.place.clone(), path.clone());
            spawn_blocking(move || observe::observe(&place, &path))
        };
        let mut looking = hanging.remove(path).unwrap_or_else(begin);
        match timeout(LOOK_TIME, &mut looking).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => ObservedPath::Unreadable(error.to_string()),
            Err(_) => {
                hanging.insert(path.clone(), looking);
                ObservedPath::Unreadable(format!(
                    "it does not answer within {} s",
                    LOOK_TIME.as_secs()
                ))
            }
        }
    }
}
