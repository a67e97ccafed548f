//! The synchronization of a RAID's images, as LVM reports it. Pure.

/// Steps in which progress is reported, in percent: a status is written anew at each step.
const STEP: u32 = 5;

/// A running synchronization of a RAID.
///
/// Without an estimated end: the kernel gives way to other accesses, so that the rate of the past is
/// none of the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaidSync {
    /// What the kernel does.
    pub kind: SyncKind,
    /// Progress in percent, rounded down to a multiple of 5.
    pub percent: u32,
}

/// Kinds of synchronization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// Makes the images consistent, all of which are in use: after the RAID was created or extended,
    /// or after a power cut.
    Resync,
    /// Writes the data of an image that lacks them: after a repair, or after a disk was away.
    Recover,
}

impl RaidSync {
    /// Reads the columns `raid_sync_action` and `sync_percent`; `None` if no synchronization is
    /// running.
    ///
    /// A check of the images (`check`, `repair`) and a reshape are none. An unreadable percentage
    /// is 0: it is informational, and must not reject a report.
    pub(super) fn from_columns(action: &str, percent: &str) -> Option<Self> {
        let kind = match action {
            "resync" => SyncKind::Resync,
            "recover" => SyncKind::Recover,
            _ => return None,
        };
        let whole = percent.split('.').next().unwrap_or_default();
        let percent: u32 = whole.parse().unwrap_or(0);
        Some(Self {
            kind,
            percent: percent.min(100) / STEP * STEP,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{RaidSync, SyncKind};

    #[test]
    fn progress_is_rounded_down_to_five_percent() {
        for (action, column, kind, percent) in [
            ("resync", "0.00", SyncKind::Resync, 0),
            ("resync", "4.99", SyncKind::Resync, 0),
            ("recover", "5.00", SyncKind::Recover, 5),
            ("recover", "99.99", SyncKind::Recover, 95),
            ("recover", "100.00", SyncKind::Recover, 100),
            ("recover", "", SyncKind::Recover, 0),
            ("resync", "4294967295.00", SyncKind::Resync, 100),
            ("resync", "x", SyncKind::Resync, 0),
        ] {
            let sync = RaidSync::from_columns(action, column);
            assert_eq!(sync, Some(RaidSync { kind, percent }), "{action} {column}");
        }
    }

    #[test]
    fn checks_and_idle_raids_are_no_synchronization() {
        for action in [
            "", "idle", "frozen", "check", "repair", "reshape", "unknown",
        ] {
            assert_eq!(RaidSync::from_columns(action, "50.00"), None, "{action}");
        }
    }
}
