//! Outcome of a pass over a logical volume, as written to its conditions. Pure.

use std::time::Duration;

use crds::condition::reason;
use host::{Bytes, LvUuid};

use crate::agent::condition::{ConditionUpdate, ReportedError};

/// Maximum age of the report behind an outcome that is not `Ready`: volumes that wait share one
/// report, and other programs change LVM less often.
const RECENT: Duration = Duration::from_secs(5);

/// Outcome of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Update of the condition `Ready`; `None` leaves it unchanged.
    pub ready: Option<ConditionUpdate>,
    /// Update of the condition `Healthy`; `None` leaves it unchanged.
    pub healthy: Option<ConditionUpdate>,
    /// Update of the condition `Removed`; `None` leaves it unchanged, or removes it if the volume
    /// exists.
    pub removed: Option<ConditionUpdate>,
    /// Update of the condition `Progressing`; `None` leaves it unchanged, or removes it if the
    /// volume exists and no job works on it.
    pub progressing: Option<ConditionUpdate>,
    /// LVM uuid and size in bytes, if the volume exists and is FlexLVM's.
    pub volume: Option<(LvUuid, Bytes)>,
}

impl Outcome {
    /// Returns the maximum age of the LVM report behind this outcome.
    ///
    /// Any age if Ready, if the device lags behind the report, or while the volume is erased, which
    /// another report does not change; 5 s for failures and removals; 0 if the volume is in use, since only a new report
    /// shows its release.
    #[must_use]
    pub fn oldest_report(&self) -> Duration {
        match (&self.ready, &self.removed) {
            (Some(ready), None) if ready.status => Duration::MAX,
            _ if self.has_outdated_device() || self.awaits_erasure() => Duration::MAX,
            _ if self.is_in_use() => Duration::ZERO,
            _ => RECENT,
        }
    }

    /// Returns whether the volume's device lags behind LVM's metadata: no report shows the end of
    /// that.
    #[must_use]
    pub fn has_outdated_device(&self) -> bool {
        self.ready
            .as_ref()
            .is_some_and(|ready| ready.reason == reason::DEVICE_OUTDATED)
    }

    /// Returns whether the volume is open, which delays its removal.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.removed
            .as_ref()
            .is_some_and(|removed| removed.reason == reason::IN_USE)
    }

    /// Returns whether the volume is removed once it is erased.
    #[must_use]
    pub fn awaits_erasure(&self) -> bool {
        let is_erasure = |update: &ConditionUpdate| {
            update.reason == reason::ERASING || update.reason == reason::ERASE_FAILED
        };
        self.removed.as_ref().is_some_and(is_erasure)
    }

    /// Returns whether the erasure of the volume failed, and has to begin again later.
    #[must_use]
    pub fn has_failed_erasure(&self) -> bool {
        self.removed
            .as_ref()
            .is_some_and(|removed| removed.reason == reason::ERASE_FAILED)
    }

    /// Returns the outcome for a volume that is gone from the node, or no longer FlexLVM's: the error
    /// is the reason why it is not ready, and why its space is free.
    pub(super) fn removed(error: ReportedError) -> Self {
        let ready = ConditionUpdate::from(error);
        let removed = ConditionUpdate {
            status: true,
            ..ready.clone()
        };
        Self {
            ready: Some(ready),
            removed: Some(removed),
            ..Self::default()
        }
    }

    /// Returns whether the volume waits until the metadata of its group are restored, or until the
    /// objects of missing volumes are gone: no event reports the latter.
    #[must_use]
    pub fn awaits_other_volumes(&self) -> bool {
        let updates = [&self.ready, &self.removed];
        updates
            .into_iter()
            .flatten()
            .any(|update| update.reason == reason::METADATA_ROLLED_BACK)
    }

    /// Returns the outcome for a volume that is not ready; the rest of its status is unchanged.
    pub(super) fn not_ready(error: ReportedError) -> Self {
        Self {
            ready: Some(error.into()),
            ..Self::default()
        }
    }

    /// Returns the outcome for a volume that is not removed; the rest of its status is unchanged.
    pub(super) fn kept(error: ReportedError) -> Self {
        Self {
            removed: Some(error.into()),
            ..Self::default()
        }
    }
}
