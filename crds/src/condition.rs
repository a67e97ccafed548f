//! Conditions of FlexLVM's objects: types, reasons, and an update that keeps
//! `lastTransitionTime`. Pure: the time is an argument.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// `Ready`: the object matches its spec and is usable.
pub const READY: &str = "Ready";

/// `Removed`, on a LogicalVolume: the logical volume is gone from the node, its space is free.
pub const REMOVED: &str = "Removed";

/// `Healthy`, on a LogicalVolume: the logical volume works, with all its redundancy, and its thin
/// pool accepts writes.
///
/// A volume that is not healthy may still be `Ready`: one without redundancy works, and one in a
/// full pool can be read.
pub const HEALTHY: &str = "Healthy";

/// `Progressing`, on a LogicalVolume: a step that takes minutes advances; the message has its
/// progress. `False` while it waits or is stalled, and after its end.
pub const PROGRESSING: &str = "Progressing";

/// `DriverInstalled`, on a NodeStorage: the FlexVolume driver of the agent's version is installed.
///
/// It is in kubelet's plugin directory under each of its names, and works in the configured mode.
pub const DRIVER_INSTALLED: &str = "DriverInstalled";

/// `KubeletReady`, on a NodeStorage: the node's kubelet has loaded the installed driver.
///
/// False only if the agent has found out why not, or has waited for minutes.
pub const KUBELET_READY: &str = "KubeletReady";

/// `Adopted`, on an Adoption: the logical volume has its LogicalVolume and its PersistentVolume.
pub const ADOPTED: &str = "Adopted";

/// Reasons of conditions. Events use the reasons of upstream's provisioners instead.
pub mod reason {
    /// The object matches its spec.
    pub const READY: &str = "Ready";
    /// The volume group is not on the node.
    pub const VOLUME_GROUP_MISSING: &str = "VolumeGroupMissing";
    /// The volume group exists but is unusable: exported, partial, or owned by another host or lock
    /// manager.
    pub const VOLUME_GROUP_UNUSABLE: &str = "VolumeGroupUnusable";
    /// The volume group has as many logical volumes as LVM allows in it (`max_lv`).
    pub const VOLUME_LIMIT_REACHED: &str = "VolumeLimitReached";
    /// The metadata of the volume group may have gone back to an older state, so that a new volume
    /// could overwrite another one: nothing is created, extended or removed in it.
    pub const METADATA_ROLLED_BACK: &str = "MetadataRolledBack";
    /// The volume group has too little free space.
    pub const INSUFFICIENT_SPACE: &str = "InsufficientSpace";
    /// The volume group can't hold a volume of the requested layout: its extents are too small or
    /// too large.
    pub const LAYOUT_UNSUITABLE: &str = "LayoutUnsuitable";
    /// The thin pool of the volume does not exist.
    pub const THIN_POOL_MISSING: &str = "ThinPoolMissing";
    /// The thin pool exists, but no volume can be created in it: it is full, or needs a repair.
    pub const THIN_POOL_UNUSABLE: &str = "ThinPoolUnusable";
    /// The logical volume works.
    pub const HEALTHY: &str = "Healthy";
    /// A disk of the logical volume is missing or defective; it works, with less redundancy or
    /// none.
    pub const DEGRADED: &str = "Degraded";
    /// The logical volume can't be used: a part of it is on a missing disk, or its thin pool has
    /// failed.
    pub const FAILED: &str = "Failed";
    /// The thin pool of the volume has no free space: writes fail or wait.
    pub const POOL_FULL: &str = "PoolFull";
    /// The thin pool of the volume has no free space for metadata: writes fail.
    pub const POOL_METADATA_FULL: &str = "PoolMetadataFull";
    /// The thin pool of the volume needs a repair and accepts no changes: writes fail.
    pub const POOL_READ_ONLY: &str = "PoolReadOnly";
    /// The logical volume can be read, and every write to it fails: an admin made it, or its device,
    /// read-only.
    pub const READ_ONLY: &str = "ReadOnly";
    /// The cache of the volume is on a missing disk, or has failed.
    pub const CACHE_FAILED: &str = "CacheFailed";
    /// Reads from the volume's disks did not match their checksums; they were corrected from another
    /// image.
    pub const INTEGRITY_MISMATCHES: &str = "IntegrityMismatches";
    /// A check of a RAID (`lvchange --syncaction check`) found that its images, or its data and their
    /// parity, differ.
    pub const IMAGE_MISMATCHES: &str = "ImageMismatches";
    /// The images of a RAID are being synchronized: `Healthy` is `False` while the volume could not
    /// lose a disk, and `True` otherwise.
    pub const RESYNCING: &str = "Resyncing";
    /// The volume's device is smaller than in LVM's metadata, or suspended, after an LVM command
    /// that was killed or failed; a refresh did not help.
    pub const DEVICE_OUTDATED: &str = "DeviceOutdated";
    /// A logical volume of this name exists, but is not the one that this object describes.
    pub const FOREIGN_LOGICAL_VOLUME: &str = "ForeignLogicalVolume";
    /// The logical volume that this object describes is no longer on the node.
    pub const LOGICAL_VOLUME_MISSING: &str = "LogicalVolumeMissing";
    /// The logical volume is open (usually mounted), so the agent does not remove it.
    pub const IN_USE: &str = "InUse";
    /// The logical volume carries data, or may carry some, although no pod can have used it, so the
    /// agent neither hands it out nor removes it.
    pub const NOT_EMPTY: &str = "NotEmpty";
    /// The object was deleted by hand while its volume is still required: the agent removes
    /// nothing.
    pub const DELETION_BLOCKED: &str = "DeletionBlocked";
    /// The claim was released while the node was lost: the agent keeps the logical volume, and no
    /// component uses it.
    pub const ABANDONED: &str = "Abandoned";
    /// The logical volume was removed from the node.
    pub const REMOVED: &str = "Removed";
    /// The logical volume was never created.
    pub const NEVER_CREATED: &str = "NeverCreated";
    /// An LVM command failed; the message names the command and the failure.
    pub const LVM_FAILED: &str = "LvmFailed";
    /// The logical volume could not be created in several consecutive attempts, and does not exist as
    /// far as the agent knows: the controller withdraws it, and tries another node.
    pub const CREATE_FAILED: &str = "CreateFailed";
    /// A command of LVM has not ended for a while: it hangs, or has much to do. Meanwhile nothing is
    /// created, expanded or removed on the node.
    pub const LVM_HANGS: &str = "LvmHangs";
    /// The spec can't be applied.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The volume is removed once its content is erased.
    pub const ERASING: &str = "Erasing";
    /// The content of the volume can't be erased, so the volume is not removed; the erasure is
    /// retried.
    pub const ERASE_FAILED: &str = "EraseFailed";
    /// The volume is being overwritten with zeros.
    pub const ZEROING: &str = "Zeroing";
    /// A job waits until other jobs of the node have ended.
    pub const JOB_QUEUED: &str = "JobQueued";
    /// A job has made no progress for a minute; the message has the time of the last progress.
    pub const JOB_STALLED: &str = "JobStalled";
    /// A job failed, and is retried where it stopped.
    pub const JOB_FAILED: &str = "JobFailed";
    /// A job is complete.
    pub const JOB_COMPLETE: &str = "JobComplete";
    /// The agent could not write the driver into kubelet's plugin directory.
    pub const INSTALL_FAILED: &str = "InstallFailed";
    /// The agent does not replace the driver, or change its mode, while volumes are mounted; the
    /// message names the volumes.
    pub const VOLUMES_MOUNTED: &str = "VolumesMounted";
    /// The driver is installed.
    pub const INSTALLED: &str = "Installed";
    /// The kubelet has loaded the installed driver.
    pub const DRIVER_LOADED: &str = "DriverLoaded";
    /// The kubelet is running and has not loaded the installed driver.
    pub const DRIVER_NOT_LOADED: &str = "DriverNotLoaded";
    /// The driver is installed where it can't be executed.
    pub const DRIVER_NOT_EXECUTABLE: &str = "DriverNotExecutable";
    /// No kubelet is found among the node's processes.
    pub const KUBELET_NOT_FOUND: &str = "KubeletNotFound";
    /// The kubelet's configuration, which names its plugin folder, can't be read.
    pub const PLUGIN_FOLDER_UNKNOWN: &str = "PluginFolderUnknown";
    /// The kubelet uses another plugin folder than the agent is configured for.
    pub const OTHER_PLUGIN_FOLDER: &str = "OtherPluginFolder";
    /// Several nodes have the same hostname label, by which PersistentVolumes name their node.
    pub const DUPLICATE_HOSTNAME: &str = "DuplicateHostname";
    /// The object is being deleted and waits for the condition that the message names.
    pub const BEING_DELETED: &str = "BeingDeleted";
    /// The logical volume of the Adoption has its LogicalVolume and its PersistentVolume.
    pub const ADOPTED: &str = "Adopted";
    /// The Adoption waits for the agent of its node.
    pub const AGENT_NOT_REPORTING: &str = "AgentNotReporting";
    /// The LogicalVolume of the Adoption exists, and waits for its agent.
    pub const ADOPTING: &str = "Adopting";
    /// The node has no logical volume of this group, name and UUID.
    pub const LOGICAL_VOLUME_NOT_FOUND: &str = "LogicalVolumeNotFound";
    /// The logical volume can't become a claim's volume: the message has the reason.
    pub const NOT_ADOPTABLE: &str = "NotAdoptable";
    /// Another object describes the logical volume, or has the name that it needs.
    pub const CONFLICT: &str = "Conflict";
    /// The adoption was cancelled before its PersistentVolume was created.
    pub const ADOPTION_CANCELLED: &str = "AdoptionCancelled";
    /// No node is selected, or no selected node has reported yet.
    pub const NO_NODES: &str = "NoNodes";
    /// Some of the selected nodes can't provide the backend.
    pub const SOME_NODES_UNREADY: &str = "SomeNodesUnready";

    /// All of these reasons.
    pub const ALL: [&str; 60] = [
        ABANDONED,
        ADOPTED,
        ADOPTING,
        ADOPTION_CANCELLED,
        AGENT_NOT_REPORTING,
        BEING_DELETED,
        CACHE_FAILED,
        CONFLICT,
        CREATE_FAILED,
        DEGRADED,
        DELETION_BLOCKED,
        DEVICE_OUTDATED,
        DRIVER_LOADED,
        DRIVER_NOT_EXECUTABLE,
        DRIVER_NOT_LOADED,
        DUPLICATE_HOSTNAME,
        ERASE_FAILED,
        ERASING,
        FAILED,
        FOREIGN_LOGICAL_VOLUME,
        HEALTHY,
        IMAGE_MISMATCHES,
        INSTALLED,
        INSTALL_FAILED,
        INSUFFICIENT_SPACE,
        INTEGRITY_MISMATCHES,
        INVALID_SPEC,
        IN_USE,
        JOB_COMPLETE,
        JOB_FAILED,
        JOB_QUEUED,
        JOB_STALLED,
        KUBELET_NOT_FOUND,
        LAYOUT_UNSUITABLE,
        LOGICAL_VOLUME_MISSING,
        LOGICAL_VOLUME_NOT_FOUND,
        LVM_FAILED,
        LVM_HANGS,
        METADATA_ROLLED_BACK,
        NEVER_CREATED,
        NOT_ADOPTABLE,
        NOT_EMPTY,
        NO_NODES,
        OTHER_PLUGIN_FOLDER,
        PLUGIN_FOLDER_UNKNOWN,
        POOL_FULL,
        POOL_METADATA_FULL,
        POOL_READ_ONLY,
        READY,
        READ_ONLY,
        REMOVED,
        RESYNCING,
        SOME_NODES_UNREADY,
        THIN_POOL_MISSING,
        THIN_POOL_UNUSABLE,
        VOLUMES_MOUNTED,
        VOLUME_GROUP_MISSING,
        VOLUME_GROUP_UNUSABLE,
        VOLUME_LIMIT_REACHED,
        ZEROING,
    ];

    /// Returns the reason that a condition has, or `Unknown` if it is none of these.
    ///
    /// For labels of metrics, which must have few values.
    #[must_use]
    pub fn known(text: &str) -> &'static str {
        let known = ALL.into_iter().find(|reason| *reason == text);
        known.unwrap_or("Unknown")
    }
}

/// Sets the condition `type_`, and returns true when anything changed.
///
/// `lastTransitionTime` changes only when the status does.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: &Time,
) -> bool {
    let status = if status { "True" } else { "False" };
    let old = conditions.iter().find(|condition| condition.type_ == type_);
    let new = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        // API servers of 1.20 treat an empty text as a missing one, and reject the object.
        message: if message.is_empty() { reason } else { message }.to_owned(),
        observed_generation: generation,
        last_transition_time: match old {
            Some(old) if old.status == status => old.last_transition_time.clone(),
            _ => now.clone(),
        },
    };
    if old == Some(&new) {
        return false;
    }
    conditions.retain(|condition| condition.type_ != type_);
    conditions.push(new);
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    true
}

/// Returns the condition `type_`, or `None` when it was never set.
#[must_use]
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Returns true when the condition `type_` is set and `True`.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    get(conditions, type_).is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::{READY, get, is_true, reason, set};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn second(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn list_of_reasons_is_complete() {
        let source = include_str!("condition.rs");
        let (_, reasons) = source.split_once("pub mod reason {").unwrap();
        let (reasons, _) = reasons.split_once("pub const ALL").unwrap();
        let mut count = 0;
        for line in reasons.lines() {
            if let Some((_, value)) = line.split_once(": &str = \"") {
                let reason = value.trim_end_matches("\";");
                assert_eq!(reason::known(reason), reason, "add it to ALL");
                count += 1;
            }
        }
        assert_eq!(count, reason::ALL.len());
        assert_eq!(reason::known("Other"), "Unknown");
    }

    #[test]
    fn transition_time_changes_only_with_the_status() {
        let mut conditions = Vec::new();
        assert!(set(
            &mut conditions,
            READY,
            false,
            reason::IN_USE,
            "a",
            Some(1),
            &second(1)
        ));
        assert!(set(
            &mut conditions,
            READY,
            false,
            reason::IN_USE,
            "b",
            Some(1),
            &second(2)
        ));
        assert_eq!(
            get(&conditions, READY).unwrap().last_transition_time,
            second(1)
        );
        assert!(!set(
            &mut conditions,
            READY,
            false,
            reason::IN_USE,
            "b",
            Some(1),
            &second(3)
        ));
        assert!(set(
            &mut conditions,
            READY,
            true,
            reason::READY,
            "",
            Some(2),
            &second(4)
        ));
        assert_eq!(
            get(&conditions, READY).unwrap().last_transition_time,
            second(4)
        );
        assert!(is_true(&conditions, READY));
        assert_eq!(conditions.len(), 1);
    }
}
