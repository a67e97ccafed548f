//! Why a node is no place for a volume, in words that complete "node n1 …".
//! Pure.

use crds::quantity;

/// Why a node is no place for a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The backend's selector leaves the node out.
    #[error("is not selected by the backend")]
    NotSelected,
    /// The class's `allowedTopologies` leave the node out.
    #[error("is not in the class's allowedTopologies")]
    NotAllowed,
    /// The node is cordoned.
    #[error("is cordoned")]
    Cordoned,
    /// The node is down, or its kubelet can't be reached.
    #[error("is not Ready: its kubelet does not report")]
    NodeDown,
    /// The node lacks the label that the volume's affinity would name.
    #[error("has no label {}", crate::filter::HOSTNAME_LABEL)]
    NoHostname,
    /// No agent has reported from there.
    #[error("has no FlexLVM agent that reports")]
    NoReport,
    /// The agent says that LVM doesn't answer.
    #[error("is not ready: {0}")]
    NotReady(String),
    /// The volume group is not there; and why its agent has not made it, if a backend names devices
    /// for it.
    #[error("has no volume group {0}{1}")]
    NoVolumeGroup(String, String),
    /// The volume group is there, and can't be used.
    #[error("can't use volume group {0}: {1}")]
    Unusable(String, String),
    /// The volume group can't hold a volume of this layout.
    #[error("can't make the volume in volume group {0}: {1}")]
    Unsuitable(String, String),
    /// The layout needs more disks than there are.
    #[error("has {has} disk{} in volume group {group}, and {kind} as ordered needs {needs}; vgextend adds one", if *has == 1 { "" } else { "s" })]
    TooFewDisks {
        /// The volume group.
        group: String,
        /// What LVM calls the layout.
        kind: &'static str,
        /// How many disks there are.
        has: usize,
        /// How many there would have to be.
        needs: usize,
    },
    /// The layout needs more disks with room than there are.
    #[error("has too full disks in volume group {group}: {kind} as ordered needs {} free on each of {needs}, and {fitting} {} that", quantity::human(*image), if *fitting == 1 { "has" } else { "have" })]
    DisksTooFull {
        /// The volume group.
        group: String,
        /// What LVM calls the layout.
        kind: &'static str,
        /// How many disks have room.
        fitting: usize,
        /// How many would have to have it.
        needs: usize,
        /// Bytes that each would have to have.
        image: u64,
    },
    /// The disk of an image has too little room for its growth.
    #[error("has {} free on disk {name} of volume group {group}, and {} more are wanted there", quantity::human(*free), quantity::human(*needs))]
    DiskFull {
        /// The volume group.
        group: String,
        /// The disk's device.
        name: String,
        /// Bytes that nobody has been promised.
        free: u64,
        /// Bytes that are wanted.
        needs: u64,
    },
    /// The backend's thin pool is not there.
    #[error("has no thin pool {1} in volume group {0}")]
    NoPool(String, String),
    /// The backend's thin pool can't be used.
    #[error("can't use thin pool {0}: {1}")]
    PoolUnusable(String, String),
    /// So much of the thin pool is in use that nothing more is promised of it.
    #[error(
        "has thin pool {pool} with {used} % of its {what} in use, and gets no more from {guard} % on (thinPool.{what}Guard); lvextend makes it larger"
    )]
    PoolGuarded {
        /// The pool.
        pool: String,
        /// Its `data`, or its `metadata`.
        what: &'static str,
        /// Percent in use.
        used: u64,
        /// Percent from which on nothing more is promised.
        guard: u32,
    },
    /// The volumes of the thin pool may not be larger together.
    #[error("has {} left to promise of thin pool {pool} ({} in all, {}.{:02} times)", quantity::human(*free), quantity::human(*size), hundredths / 100, hundredths % 100)]
    PoolPromised {
        /// The pool.
        pool: String,
        /// Bytes that its volumes may still have.
        free: u64,
        /// Bytes of its data at most.
        size: u64,
        /// How many hundredths of that its volumes may have together.
        hundredths: u64,
    },
    /// There is too little room for the thin pool itself.
    #[error("has {} free in volume group {group}, and thin pool {pool} needs {} more to become as large as it may", quantity::human(*free), quantity::human(*needs))]
    NoRoomForPool {
        /// The volume group.
        group: String,
        /// The pool.
        pool: String,
        /// Bytes that nobody has been promised.
        free: u64,
        /// Bytes that are wanted.
        needs: u64,
    },
    /// None of the disks that are to hold the caches is in the volume group.
    #[error("has none of the disks in volume group {0} that cache.devices names")]
    NoCacheDisks(String),
    /// There is too little room for a cache.
    #[error("has {} free on the disks for caches in volume group {group}, and {} are wanted", quantity::human(*free), quantity::human(*needs))]
    CacheFull {
        /// The volume group.
        group: String,
        /// Bytes that nobody has been promised.
        free: u64,
        /// Bytes that are wanted.
        needs: u64,
    },
    /// There is too little room.
    #[error("has {} free of {} in volume group {group}", quantity::human(*free), quantity::human(*size))]
    TooLittle {
        /// The volume group.
        group: String,
        /// Bytes that nobody has been promised.
        free: u64,
        /// Bytes of the volume group in all.
        size: u64,
    },
}
