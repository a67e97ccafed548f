//! Outcome of a pass over a logical volume, as written to its conditions. Pure.

use std::time::Duration;

use crds::condition::reason;
use host::{Bytes, LvUuid};

/// Maximum age of the report behind an outcome that is not `Ready`: volumes that wait share one
/// report, and other programs change LVM less often.
const RECENT: Duration = Duration::from_secs(5);

/// Outcome of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Update of the condition `Ready`; `None` leaves it unchanged.
    pub ready: Option<ConditionUpdate>,
    /// Update of the condition `Removed`; `None` leaves it unchanged, or removes it if the volume
    /// exists.
    pub removed: Option<ConditionUpdate>,
    /// LVM uuid and size in bytes, if the volume exists and is FlexLVM's.
    pub volume: Option<(LvUuid, Bytes)>,
}

/// A condition's status, reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// Whether the condition is `True` or `False`.
    pub status: bool,
    /// One of [`reason`].
    pub reason: &'static str,
    /// Sentence for users, empty if there is nothing to explain.
    pub message: String,
}

impl Outcome {
    /// Returns the maximum age of the LVM report behind this outcome.
    ///
    /// Any age if Ready, 5 s for failures and removals, 0 if the volume is in use, since only a new
    /// report shows its release.
    #[must_use]
    pub fn oldest_report(&self) -> Duration {
        match (&self.ready, &self.removed) {
            (Some(ready), None) if ready.status => Duration::MAX,
            _ if self.is_in_use() => Duration::ZERO,
            _ => RECENT,
        }
    }

    /// Returns whether the volume is open, which delays its removal.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.removed
            .as_ref()
            .is_some_and(|removed| removed.reason == reason::IN_USE)
    }

    pub(super) fn not_ready(reason: &'static str, message: String) -> Self {
        Self {
            ready: Some(ConditionUpdate {
                status: false,
                reason,
                message,
            }),
            ..Self::default()
        }
    }

    pub(super) fn kept(reason: &'static str, message: String) -> Self {
        Self {
            removed: Some(ConditionUpdate {
                status: false,
                reason,
                message,
            }),
            ..Self::default()
        }
    }
}
