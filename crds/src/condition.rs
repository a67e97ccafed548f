//! Conditions of our objects: their types, their reasons, and how one is set without losing when it
//! last changed. Pure: the time comes in as an argument.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// `Ready`: the object is what its spec asks for, and in working order.
pub const READY: &str = "Ready";

/// `Removed`, on a LogicalVolume: the logical volume is gone from the node, its space free again.
pub const REMOVED: &str = "Removed";

/// `DriverInstalled`, on a NodeStorage: the FlexVolume driver of this version lies in the kubelet's
/// plugin folder, under each of its names, and works in the mode that the agent was asked for.
pub const DRIVER_INSTALLED: &str = "DriverInstalled";

/// Reasons of conditions. Events use the reasons that upstream's provisioners use instead.
pub mod reason {
    /// All is well.
    pub const READY: &str = "Ready";
    /// The volume group is not on the node.
    pub const VOLUME_GROUP_MISSING: &str = "VolumeGroupMissing";
    /// The volume group is there, and can't be used: exported, partial, or of another host or lock
    /// manager.
    pub const VOLUME_GROUP_UNUSABLE: &str = "VolumeGroupUnusable";
    /// The volume group has too little free space.
    pub const INSUFFICIENT_SPACE: &str = "InsufficientSpace";
    /// The volume group can't hold a volume of the layout asked for: its extents are too small or
    /// too large.
    pub const LAYOUT_UNSUITABLE: &str = "LayoutUnsuitable";
    /// The thin pool that the volume is to be in is not there.
    pub const THIN_POOL_MISSING: &str = "ThinPoolMissing";
    /// The thin pool is there, and nothing can be made in it: it is full, or needs a repair.
    pub const THIN_POOL_UNUSABLE: &str = "ThinPoolUnusable";
    /// A logical volume of this name is there, and is not the one that this object asks for.
    pub const FOREIGN_LOGICAL_VOLUME: &str = "ForeignLogicalVolume";
    /// The logical volume that this object describes is not on the node any more.
    pub const LOGICAL_VOLUME_MISSING: &str = "LogicalVolumeMissing";
    /// The logical volume is open (mounted, most likely), so it is not removed.
    pub const IN_USE: &str = "InUse";
    /// The logical volume carries data although nobody can have used it, so it is not given away,
    /// and not removed.
    pub const NOT_EMPTY: &str = "NotEmpty";
    /// The object was deleted by hand while its volume is wanted: nothing is removed.
    pub const DELETION_BLOCKED: &str = "DeletionBlocked";
    /// The logical volume was removed from the node.
    pub const REMOVED: &str = "Removed";
    /// The logical volume was never made.
    pub const NEVER_CREATED: &str = "NeverCreated";
    /// A program of LVM failed; the message says which and how.
    pub const LVM_FAILED: &str = "LvmFailed";
    /// The spec can't be carried out as it stands.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The driver could not be written into the kubelet's plugin folder.
    pub const INSTALL_FAILED: &str = "InstallFailed";
    /// The driver, or its mode, is not replaced while volumes are mounted; the message says which
    /// are in the way.
    pub const VOLUMES_MOUNTED: &str = "VolumesMounted";
    /// The driver is in place.
    pub const INSTALLED: &str = "Installed";
    /// The object is being deleted, and waits for something; the message says for what.
    pub const BEING_DELETED: &str = "BeingDeleted";
    /// No node is selected, or none of those that are has reported yet.
    pub const NO_NODES: &str = "NoNodes";
    /// Some of the selected nodes can't serve the backend.
    pub const SOME_NODES_UNREADY: &str = "SomeNodesUnready";
}

/// Sets the condition `type_`; `lastTransitionTime` moves only when the status flips. True when
/// anything changed.
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
        // Servers of 1.20 take an empty text for a missing one, and refuse the object.
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

/// The condition `type_`, if it was ever set.
#[must_use]
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// True when the condition `type_` is set and `True`.
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
    fn a_condition_keeps_its_transition_time_until_its_status_flips() {
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
