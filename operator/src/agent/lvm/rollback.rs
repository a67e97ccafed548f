//! Evidence that the metadata of a volume group went back to an older state, as by `vgcfgrestore`.
//! Pure.
//!
//! LVM then considers the extents of newer volumes as free, also of mounted ones, and the next
//! `lvcreate` or `lvextend` would overwrite their data. Each kind of evidence suffices for the agent
//! to change nothing in the group but what [`Rollback::allows_removal`] permits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crds::LogicalVolume;
use crds::logical_volume::{ReclaimPolicy, State};
use crds::node_storage::METADATA_WENT_BACK;
use crds::quantity::{self, human};
use host::block::mapped::MappedVolume;
use host::lvm::{Lv, LvRole, SegmentType, Vg};
use host::{Bytes, LvUuid};
use kube::ResourceExt as _;

use super::record::GroupRecord;

/// What shows that a group's metadata is older than its volumes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rollback {
    /// A device exists whose logical volume does not.
    #[error(
        "{}: device {device} is active, but LVM has no logical volume with its uuid {uuid}, so its data could be overwritten; \
         {}; or, if nothing on the device is needed: `dmsetup remove {device}`",
        older(),
        restore(group)
    )]
    UnknownDevice {
        /// Name of the volume group.
        group: String,
        /// Name of the device below `/dev/mapper`.
        device: String,
        /// LVM's uuid of its logical volume.
        uuid: LvUuid,
    },
    /// A device is larger than its logical volume.
    #[error(
        "{}: device {device} has {}, but logical volume {volume} has {} in LVM, so the end of its data could be overwritten; {}",
        older(), human(active.0), human(size.0), restore(group)
    )]
    LargerDevice {
        /// Name of the volume group.
        group: String,
        /// Name of the device below `/dev/mapper`.
        device: String,
        /// Name of the logical volume.
        volume: String,
        /// Size of the device.
        active: Bytes,
        /// Size of the logical volume.
        size: Bytes,
    },
    /// The counter of metadata changes fell.
    #[error(
        "{}: its seqno is {seqno}, and was {highest} before; {}; or, if the present metadata is right: `rm {}` on the node",
        older(), restore(group), record.display()
    )]
    SeqnoFell {
        /// Name of the volume group.
        group: String,
        /// The present counter.
        seqno: u64,
        /// The highest counter that an agent observed.
        highest: u64,
        /// Path of the record of that counter.
        record: PathBuf,
    },
    /// The logical volumes are others than before, although the counter is the same.
    #[error(
        "{}: its seqno is {seqno} as before, but its logical volumes are others; {}; or, if the present metadata is right: `rm {}` on the node",
        older(), restore(group), record.display()
    )]
    VolumesReplaced {
        /// Name of the volume group.
        group: String,
        /// The counter.
        seqno: u64,
        /// Path of the record of that counter.
        record: PathBuf,
    },
    /// The logical volume of a LogicalVolume is missing.
    #[error(
        "{}: the logical volume of LogicalVolume {volume} is missing, so its data could be overwritten; {}; \
         or, if the data is not needed: delete its claim and the pods that use it; without a claim, set its spec.state to Absent",
        older(),
        restore(group)
    )]
    VolumeMissing {
        /// Name of the volume group.
        group: String,
        /// Name of the LogicalVolume.
        volume: String,
    },
    /// A logical volume is smaller than its LogicalVolume has reported.
    #[error(
        "{}, or lvreduce: the logical volume of LogicalVolume {volume} has {}, and had {} before, so the end of its data could be overwritten; \
         {}; or, if its end has no data: `lvextend --size {}b {group}/{name}`",
        older(), human(size.0), human(reported.0), restore(group), reported.0
    )]
    VolumeReduced {
        /// Name of the volume group.
        group: String,
        /// Name of the LogicalVolume.
        volume: String,
        /// Name of the logical volume.
        name: String,
        /// Size of the logical volume.
        size: Bytes,
        /// Size in the status of the LogicalVolume.
        reported: Bytes,
    },
}

fn older() -> String {
    format!("{METADATA_WENT_BACK}, as by vgcfgrestore")
}

fn restore(group: &str) -> String {
    format!("restore the newest metadata (`vgcfgrestore --list {group}`)")
}

impl Rollback {
    /// Returns whether an intact volume of the group may be removed.
    ///
    /// Only if the evidence is in the API alone: no active device and no earlier seqno shows that
    /// the metadata is old, and most likely an admin removed the missing volume. Else `lvremove`
    /// could discard extents that an active device of another volume has, and further changes would
    /// let the seqno exceed the recorded one.
    #[must_use]
    pub fn allows_removal(&self) -> bool {
        matches!(
            self,
            Self::VolumeMissing { .. } | Self::VolumeReduced { .. }
        )
    }

    /// Returns whether the evidence is a device: LVM changes devices and metadata one after the
    /// other, so only a second observation confirms it.
    #[must_use]
    pub fn is_of_device(&self) -> bool {
        matches!(self, Self::UnknownDevice { .. } | Self::LargerDevice { .. })
    }
}

/// Judges a group by its devices: those that existed before LVM's report and after it.
///
/// LVM writes the metadata of a new volume before it activates it, and deactivates a volume before
/// it removes it from the metadata.
#[must_use]
pub fn by_devices(vg: &Vg, devices: &BTreeSet<MappedVolume>) -> Option<Rollback> {
    let volumes: BTreeMap<&str, _> = vg.lvs.iter().map(|lv| (lv.uuid.as_str(), lv)).collect();
    let internal: BTreeSet<&str> = vg.internal.iter().map(LvUuid::as_str).collect();
    for device in devices.iter().filter(|device| device.group == vg.uuid) {
        let uuid = device.volume.as_str();
        let Some(lv) = volumes.get(uuid) else {
            if internal.contains(uuid) {
                continue;
            }
            return Some(Rollback::UnknownDevice {
                group: vg.name.clone(),
                device: device.name.clone(),
                uuid: device.volume.clone(),
            });
        };
        // The device of a snapshot has the size of its origin.
        let has_own_size = lv.role != LvRole::Snapshot
            && matches!(
                lv.segment_type,
                SegmentType::Plain | SegmentType::Raid | SegmentType::Thin | SegmentType::Cached
            );
        if has_own_size && !device.is_layer && device.size > lv.size {
            return Some(Rollback::LargerDevice {
                group: vg.name.clone(),
                device: device.name.clone(),
                volume: lv.name.clone(),
                active: device.size,
                size: lv.size,
            });
        }
    }
    None
}

/// Judges a group by the newest state that an agent of this node has observed, whose record is at
/// `path`.
#[must_use]
pub fn by_record(vg: &Vg, record: &GroupRecord, path: &Path) -> Option<Rollback> {
    let present = GroupRecord::from(vg);
    if present.seqno < record.seqno {
        return Some(Rollback::SeqnoFell {
            group: vg.name.clone(),
            seqno: present.seqno,
            highest: record.seqno,
            record: path.to_owned(),
        });
    }
    if present.seqno == record.seqno && present.volumes != record.volumes {
        return Some(Rollback::VolumesReplaced {
            group: vg.name.clone(),
            seqno: present.seqno,
            record: path.to_owned(),
        });
    }
    None
}

/// Judges the groups by the LogicalVolumes that were reported as existing: returns the evidence by
/// the name of the group.
///
/// A logical volume in another group than its object's is not missing: the admin moved it or
/// renamed the group. One that was reduced by hand counts, too: what was cut off can be restored until
/// its extents are allocated.
#[must_use]
pub fn by_objects<'a>(
    groups: &[Vg],
    objects: impl Iterator<Item = &'a LogicalVolume>,
) -> BTreeMap<String, Rollback> {
    let mut existing = BTreeMap::new();
    for vg in groups {
        existing.extend(vg.internal.iter().map(|uuid| (uuid.as_str(), None)));
        existing.extend(vg.lvs.iter().map(|lv| (lv.uuid.as_str(), Some((vg, lv)))));
    }
    let mut evidence = BTreeMap::new();
    for object in objects {
        let Some(uuid) = published_uuid(object) else {
            continue;
        };
        let (group, rollback) = match existing.get(uuid) {
            None => {
                let group = object.spec.volume_group.clone();
                let volume = object.name_any();
                (
                    group.clone(),
                    Some(Rollback::VolumeMissing { group, volume }),
                )
            }
            Some(Some((vg, lv))) => (vg.name.clone(), reduced(object, vg, lv)),
            Some(None) => continue,
        };
        if let Some(rollback) = rollback {
            evidence.entry(group).or_insert(rollback);
        }
    }
    evidence
}

/// Returns the evidence if the logical volume is smaller than its object has reported.
///
/// The agent never reports more than the size in LVM's metadata, and never reduces a volume. LVM may
/// extend it by other extents than those that were cut off, which then seem to be its data.
fn reduced(object: &LogicalVolume, vg: &Vg, lv: &Lv) -> Option<Rollback> {
    let status = object.status.as_ref()?;
    let reported = Bytes(quantity::parse(status.size.as_ref()?).ok()?);
    (lv.size < reported).then(|| Rollback::VolumeReduced {
        group: vg.name.clone(),
        volume: object.name_any(),
        name: lv.name.clone(),
        size: lv.size,
        reported,
    })
}

/// Returns the uuid of the logical volume that an object requires and has reported.
///
/// `None` for a deleted object with reclaim policy Retain: an admin ends it by removing its logical
/// volume.
fn published_uuid(object: &LogicalVolume) -> Option<&str> {
    let is_ending = object.metadata.deletion_timestamp.is_some()
        && object.spec.reclaim_policy == ReclaimPolicy::Retain;
    if object.spec.state != State::Present || is_ending {
        return None;
    }
    object.status.as_ref()?.uuid.as_deref()
}

#[cfg(test)]
mod tests;
