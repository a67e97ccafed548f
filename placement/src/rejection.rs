//! Reasons why a node can't hold a volume. Each message completes a sentence that begins with the
//! node's name. Pure.

use std::time::Duration;

use crds::node_storage::METADATA_WENT_BACK;
use crds::quantity;
use storage_model::Bytes;

/// The reason why a node can't hold a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The backend's selector doesn't match the node.
    #[error("does not match the backend's nodeSelector")]
    NotSelected,
    /// The class's `allowedTopologies` don't allow the node.
    #[error("is not in the class's allowedTopologies")]
    NotAllowed,
    /// The node is cordoned.
    #[error("is cordoned")]
    Cordoned,
    /// The node is down, or its kubelet can't reach the API server.
    #[error("is not Ready: its kubelet does not report")]
    NodeDown,
    /// The node lacks the label that the PersistentVolume's affinity needs.
    #[error("has no label {}", crate::filter::HOSTNAME_LABEL)]
    NoHostname,
    /// No agent has reported on this node.
    #[error("has no FlexLVM agent that reports")]
    NoReport,
    /// The agent has stopped to report. Holds for how long.
    #[error("has a FlexLVM agent that has not reported for {} (check that DaemonSet flexlvm-agent has a ready pod there)", rounded(*.0))]
    AgentSilent(Duration),
    /// The agent reports that LVM doesn't work. Holds the agent's message.
    #[error("is not ready: {0}")]
    NotReady(String),
    /// The agent reports that the node's kubelet has not loaded the driver. Holds the agent's
    /// message.
    #[error("can't mount new volumes: {0}")]
    KubeletNotReady(String),
    /// The volume group doesn't exist. Holds its name, and why the agent has not created it.
    #[error("has no volume group {0}{1}")]
    NoVolumeGroup(String, String),
    /// The volume group exists, but can't be used.
    #[error("can't use volume group {group}: {reason}")]
    Unusable {
        /// The volume group.
        group: String,
        /// The agent's reason, or the field of its report that is invalid.
        reason: String,
    },
    /// LVM allows no more logical volumes in the volume group.
    #[error(
        "has {used} of {maximum} logical volumes (max_lv) in volume group {group} but the volume needs {needs} more (raise the limit with vgchange --logicalvolume)"
    )]
    TooManyVolumes {
        /// The volume group.
        group: String,
        /// Number of its logical volumes.
        used: u32,
        /// Maximum number of its logical volumes.
        maximum: u32,
        /// Number of logical volumes that the volume consists of.
        needs: u32,
    },
    /// The volume group can't hold a volume of this layout.
    #[error("can't create the volume in volume group {group}: {reason}")]
    Unsuitable {
        /// The volume group.
        group: String,
        /// The setting that doesn't fit.
        reason: String,
    },
    /// The layout needs more disks than the volume group has.
    #[error("has {has} disk{} in volume group {group} but {kind} needs {needs} (add disks with vgextend)", if *has == 1 { "" } else { "s" })]
    TooFewDisks {
        /// The volume group.
        group: String,
        /// LVM's name of the layout.
        kind: &'static str,
        /// Number of disks.
        has: usize,
        /// Number of disks that the layout needs.
        needs: usize,
    },
    /// The layout needs more disks with free space than the volume group has.
    #[error("has {fitting} disk{} with {} free in volume group {group} but {kind} needs {needs}", if *fitting == 1 { "" } else { "s" }, quantity::human(*image))]
    DisksTooFull {
        /// The volume group.
        group: String,
        /// LVM's name of the layout.
        kind: &'static str,
        /// Number of disks with enough free space.
        fitting: usize,
        /// Number of disks that the layout needs.
        needs: usize,
        /// Space needed on each disk.
        image: Bytes,
    },
    /// The disk of an image lacks the space for its growth.
    #[error("has {} free on disk {name} of volume group {group} but the volume needs {} more there", quantity::human(*free), quantity::human(*needs))]
    DiskFull {
        /// The volume group.
        group: String,
        /// The disk's device.
        name: String,
        /// Space that is neither reserved nor used.
        free: Bytes,
        /// Additional space needed.
        needs: Bytes,
    },
    /// The backend's thin pool doesn't exist. Holds the volume group and the pool.
    #[error("has no thin pool {1} in volume group {0}")]
    NoPool(String, String),
    /// The backend's thin pool can't be used. Holds the pool and the reason.
    #[error("can't use thin pool {0}: {1}")]
    PoolUnusable(String, String),
    /// The thin pool's usage has reached its guard, so its volumes may reserve no more.
    #[error(
        "has thin pool {pool} with {used} % of its {what} in use (limit {guard} % by thinPool.{what}Guard; extend it with lvextend)"
    )]
    PoolGuarded {
        /// The pool.
        pool: String,
        /// `data` or `metadata`.
        what: &'static str,
        /// Usage in percent.
        used: u64,
        /// The limit in percent.
        guard: u32,
    },
    /// The sizes of the thin pool's volumes have reached the overprovisioning limit.
    #[error("has {} unallocated in thin pool {pool} ({}, overprovision {}.{:02})", quantity::human(*free), quantity::human(*size), hundredths / 100, hundredths % 100)]
    PoolAllocated {
        /// The pool.
        pool: String,
        /// Space that its volumes may still reserve.
        free: Bytes,
        /// Maximum size of its data.
        size: Bytes,
        /// Overprovisioning in percent of `size`.
        hundredths: u64,
    },
    /// The volume group lacks the space for the thin pool itself.
    #[error("has {} free in volume group {group} but thin pool {pool} needs {} more for its maximum size", quantity::human(*free), quantity::human(*needs))]
    NoSpaceForPool {
        /// The volume group.
        group: String,
        /// The pool.
        pool: String,
        /// Space that is neither reserved nor used.
        free: Bytes,
        /// Additional space needed.
        needs: Bytes,
    },
    /// None of the devices in `cache.devices` is in the volume group.
    #[error("has no disk of cache.devices in volume group {0}")]
    NoCacheDisks(String),
    /// The disks for caches lack the space for this cache.
    #[error("has {} free on the cache disks of volume group {group} but the cache needs {}", quantity::human(*free), quantity::human(*needs))]
    CacheFull {
        /// The volume group.
        group: String,
        /// Space that is neither reserved nor used.
        free: Bytes,
        /// Space needed.
        needs: Bytes,
    },
    /// The volume group has too little free space.
    #[error("has {} free of {} in volume group {group}", quantity::human(*free), quantity::human(*size))]
    TooLittle {
        /// The volume group.
        group: String,
        /// Space that is neither reserved nor used.
        free: Bytes,
        /// Size of the volume group.
        size: Bytes,
    },
}

impl Rejection {
    /// Returns the reason for a tenant's Event: without LVM's own words and the devices of a node,
    /// which NodeStorage and StorageBackend report to admins.
    #[must_use]
    pub fn for_tenant(&self) -> String {
        match self {
            Self::NotReady(_) => {
                "is not ready: LVM fails or hangs there, see its NodeStorage".to_owned()
            }
            Self::NoVolumeGroup(group, _) => format!("has no volume group {group}"),
            Self::Unusable { group, reason } if reason.starts_with(METADATA_WENT_BACK) => {
                format!("can't use volume group {group}: {METADATA_WENT_BACK}, see its NodeStorage")
            }
            other => other.to_string(),
        }
    }
}

impl Rejection {
    /// Rejects a volume group that can't be used.
    pub(crate) fn unusable(group: &str, reason: &impl ToString) -> Self {
        Self::Unusable {
            group: group.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Rejects a volume group that can't hold a volume of the layout.
    pub(crate) fn unsuitable(group: &str, reason: &impl ToString) -> Self {
        Self::Unsuitable {
            group: group.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Returns a duration in few steps: a message that changes all the time causes as many writes.
fn rounded(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match minutes {
        0 => "half a minute".to_owned(),
        1..5 => format!("{minutes} min"),
        5..60 => format!("{} min", minutes / 5 * 5),
        60..1440 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Rejection;
    use crds::node_storage::METADATA_WENT_BACK;

    #[test]
    fn tenant_does_not_learn_devices_of_group_with_older_metadata() {
        let reason = format!("{METADATA_WENT_BACK}, as by vgcfgrestore: device x is active");
        let rejection = Rejection::unusable("vg0", &reason);
        assert!(rejection.to_string().contains("device x"));
        assert_eq!(
            rejection.for_tenant(),
            "can't use volume group vg0: its metadata may have gone back to an older state, see its NodeStorage"
        );
        let exported = Rejection::unusable("vg0", &"it is exported");
        assert_eq!(exported.for_tenant(), exported.to_string());
    }

    #[test]
    fn silent_agent_is_reported_in_few_steps() {
        for (seconds, text) in [
            (30, "half a minute"),
            (200, "3 min"),
            (14 * 60, "10 min"),
            (3 * 3600 + 59, "3 h"),
            (50 * 3600, "2 d"),
        ] {
            let message = Rejection::AgentSilent(Duration::from_secs(seconds)).for_tenant();
            let expected = format!("has a FlexLVM agent that has not reported for {text} (check");
            assert!(message.starts_with(&expected), "{message}");
        }
    }
}
