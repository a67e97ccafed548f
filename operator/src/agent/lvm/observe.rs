//! Observes LVM together with the node's devices and the recorded state: the report, and the groups
//! whose metadata went back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use host::block::mapped::{MappedVolume, mapped_volumes};
use host::lvm::on_disk::{self, Fingerprint};
use host::lvm::{Lvm, NodeReport, Vg, tags};
use host::{Error, LvUuid, Roots};

use super::record::{self, GroupRecord};
use super::report::LvmReport;
use super::rollback::{Rollback, by_devices, by_record};

/// Time between two observations of a device that LVM does not explain: longer than LVM takes to
/// change a device after its metadata, or before.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// Where the evidence of a rollback is.
#[derive(Clone, Debug)]
pub struct EvidencePaths {
    /// The node's `/dev` and `/sys`.
    pub roots: Roots,
    /// The node's folder `/etc/lvm`.
    pub lvm: PathBuf,
    /// FlexLVM's folder on the node.
    pub state: PathBuf,
}

#[cfg(test)]
impl EvidencePaths {
    /// Returns paths at which nothing exists: there is no evidence.
    #[must_use]
    pub fn absent() -> Self {
        Self {
            roots: Roots {
                dev: "/nonexistent".into(),
                sys: "/nonexistent".into(),
            },
            lvm: "/nonexistent".into(),
            state: "/nonexistent".into(),
        }
    }
}

/// The volume groups in which the agent allocates. Only the disks of these are read besides LVM's own
/// scan: the lock of LVM is held meanwhile, and a disk of another group may be slow.
#[derive(Debug, Default)]
pub(super) struct OwnGroups {
    /// Names of the groups in which the agent was about to allocate.
    named: Mutex<BTreeSet<String>>,
}

impl OwnGroups {
    /// Adds a group in which the agent is about to allocate.
    pub(super) fn add(&self, name: &str) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.insert(name.to_owned());
    }

    /// Returns whether the agent allocates in a group: it is named, or has a volume of a claim or a
    /// thin pool of FlexLVM.
    fn has(&self, vg: &Vg) -> bool {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tags = vg.lvs.iter().flat_map(|lv| &lv.tags);
        named.contains(&vg.name)
            || tags.any(|tag| tag.starts_with(tags::OF_CLAIM) || tag.starts_with(tags::THIN_POOL))
    }
}

/// LVM's report, the groups whose metadata went back, and the fingerprints of the reported metadata,
/// by the groups' uuids.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) report: NodeReport,
    pub(super) rollbacks: BTreeMap<LvUuid, Rollback>,
    pub(super) fingerprints: BTreeMap<LvUuid, Fingerprint>,
}

/// One observation, with the devices that existed before the report and after it.
struct Look {
    observation: Observation,
    devices: BTreeSet<MappedVolume>,
}

/// Observes all volume groups, and records the state of those whose metadata did not go back.
///
/// A device is evidence only in two consecutive observations, unless the cached report has the same
/// already.
pub(super) fn observe(
    lvm: Lvm<'_>,
    paths: &EvidencePaths,
    cached: &LvmReport,
    own: &OwnGroups,
) -> Result<Observation, Error> {
    let groups = cached.groups.as_deref().map(Vec::as_slice);
    let former = fingerprints(paths, groups.unwrap_or_default(), own);
    let mut look = Look::take(lvm, paths, own, None)?;
    let is_new = look.observation.rollbacks.iter().any(|(group, rollback)| {
        rollback.is_of_device() && cached.rollbacks.get(group) != Some(rollback)
    });
    if is_new {
        sleep(SECOND_LOOK);
        look = Look::take(lvm, paths, own, Some(&look.devices))?;
    }
    let mut observation = look.observation;
    observation
        .fingerprints
        .retain(|group, found| !is_ambiguous(former.get(group), *found));
    record_states(paths, &observation.report.groups, &observation.rollbacks);
    Ok(observation)
}

/// Returns whether a group got other metadata with the same seqno since `former` was read, so that the
/// report in between may show either.
fn is_ambiguous(former: Option<&Fingerprint>, found: Fingerprint) -> bool {
    former.is_some_and(|former| former.seqno == found.seqno && *former != found)
}

/// Returns the fingerprints of the metadata of FlexLVM's own groups, where the disks have the reported
/// seqno.
fn fingerprints(
    paths: &EvidencePaths,
    groups: &[Vg],
    own: &OwnGroups,
) -> BTreeMap<LvUuid, Fingerprint> {
    let mut fingerprints = BTreeMap::new();
    for vg in groups.iter().filter(|vg| own.has(vg)) {
        if let Some(found) = on_disk::fingerprint(&paths.roots.dev, vg)
            && found.seqno == vg.seqno
        {
            fingerprints.insert(vg.uuid.clone(), found);
        }
    }
    fingerprints
}

impl Look {
    /// Observes once; only devices in `earlier` count, if there is an earlier observation.
    fn take(
        lvm: Lvm<'_>,
        paths: &EvidencePaths,
        own: &OwnGroups,
        earlier: Option<&BTreeSet<MappedVolume>>,
    ) -> Result<Self, Error> {
        // Read before the report: another agent of this node may record a later state meanwhile.
        let records = read_records(paths)?;
        let mut devices = mapped_volumes(&paths.roots.sys)?;
        let report = lvm.report()?;
        let later = mapped_volumes(&paths.roots.sys)?;
        devices.retain(|device| {
            later.contains(device) && earlier.is_none_or(|earlier| earlier.contains(device))
        });
        let mut rollbacks = BTreeMap::new();
        for vg in report.groups.iter().filter(|vg| vg.fault.is_none()) {
            let mut rollback = by_devices(vg, &devices);
            if let Some(record) = records.get(&vg.uuid) {
                let path = record::path(&paths.state, &vg.uuid);
                rollback = rollback.or_else(|| by_record(vg, record, &path));
            }
            if let Some(rollback) = rollback {
                rollbacks.insert(vg.uuid.clone(), rollback);
            }
        }
        let fingerprints = fingerprints(paths, &report.groups, own);
        let observation = Observation {
            report,
            rollbacks,
            fingerprints,
        };
        Ok(Self {
            observation,
            devices,
        })
    }
}

fn read_records(paths: &EvidencePaths) -> Result<BTreeMap<LvUuid, GroupRecord>, Error> {
    let (records, unreadable) = record::read_all(&paths.state)?;
    for error in unreadable {
        let error = host::error::chain(&error);
        tracing::warn!(
            error,
            "can't read the recorded state of a volume group: the agent does not notice if its seqno fell"
        );
    }
    Ok(records)
}

/// Records the state of each group whose metadata did not go back, if it is later than the record.
pub(super) fn record_states(
    paths: &EvidencePaths,
    groups: &[Vg],
    rollbacks: &BTreeMap<LvUuid, Rollback>,
) {
    for vg in groups {
        if vg.fault.is_none() && !rollbacks.contains_key(&vg.uuid) {
            record_state(paths, vg);
        }
    }
}

fn record_state(paths: &EvidencePaths, vg: &Vg) {
    let present = GroupRecord::from(vg);
    if let Ok(Some(recorded)) = record::read(&paths.state, &vg.uuid)
        && recorded.seqno >= present.seqno
    {
        return;
    }
    if let Err(error) = record::write(&paths.state, &vg.uuid, &present) {
        let error = host::error::chain(&error);
        tracing::warn!(
            group = vg.name,
            error,
            "can't record the state of the volume group"
        );
    }
}

#[cfg(test)]
mod tests;
