//! Why LVM refuses changes of a volume group. Pure.

/// Why LVM refuses changes of a volume group, with the remedy as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VgFault {
    /// It was exported, to be moved to another host.
    #[error("it is exported; vgimport brings it back")]
    Exported,
    /// Physical volumes of it are missing.
    #[error(
        "{count} of its disks are missing; pvs shows which, and vgextend --restoremissing restores them"
    )]
    DisksMissing {
        /// How many.
        count: u64,
    },
    /// A lock manager shares it between hosts.
    #[error(
        "it is shared between hosts (lock type {lock_type}); vgchange --lockstart makes it usable here"
    )]
    Shared {
        /// LVM's name of the lock type.
        lock_type: String,
    },
    /// It belongs to a cluster.
    #[error(
        "it is clustered; vgchange --locktype none --lockopt force makes it local to this host, once no other host uses it"
    )]
    Clustered,
    /// Its metadata permit no change.
    #[error(
        "it is read-only: its metadata lacks the flag WRITE; restore the flag with vgcfgbackup, an editor and vgcfgrestore"
    )]
    ReadOnly,
    /// Its metadata permit no change of its physical volumes.
    #[error("it is not resizeable; vgchange --resizeable y makes it so")]
    NotResizeable,
    /// It belongs to another host.
    #[error(
        "it belongs to another host, with system ID {system_id:?}; move it with vgexport there and vgimport here"
    )]
    Foreign {
        /// System ID of that host.
        system_id: String,
    },
    /// Another volume group has the same name: LVM refuses to change either by its name.
    #[error("two volume groups have this name; vgrename can rename one by its uuid")]
    DuplicateName,
}

impl VgFault {
    /// Returns whether volumes of the group that exist work all the same, if their disks are there.
    #[must_use]
    pub fn leaves_volumes_working(&self) -> bool {
        match self {
            Self::DisksMissing { .. } | Self::ReadOnly | Self::NotResizeable => true,
            Self::Exported
            | Self::Shared { .. }
            | Self::Clustered
            | Self::Foreign { .. }
            | Self::DuplicateName => false,
        }
    }
}
