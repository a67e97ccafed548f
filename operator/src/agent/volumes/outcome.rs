//! How things stand with a logical volume, as its object's conditions have it. Pure.

use std::time::Duration;

use crds::condition::reason;
use host::{Bytes, LvUuid};

/// Changes that nobody hears of are rarer than volumes that wait: those share a report.
const JUST_NOW: Duration = Duration::from_secs(5);

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The condition `Ready`; `None` leaves it as it is.
    pub ready: Option<ConditionUpdate>,
    /// The condition `Removed`.
    pub removed: Option<ConditionUpdate>,
    /// The logical volume's uuid and size, where it is there and ours.
    pub volume: Option<(LvUuid, Bytes)>,
}

/// A condition's status, reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// The status.
    pub status: bool,
    /// One of [`reason`].
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Outcome {
    /// How old the report may be that it rests on. Good news may be remembered. Whoever says that
    /// something is missing, full or gone has looked just now; and whether a volume is in use,
    /// nothing tells but another look.
    #[must_use]
    pub fn oldest_report(&self) -> Duration {
        match (&self.ready, &self.removed) {
            (Some(ready), None) if ready.status => Duration::MAX,
            _ if self.is_in_use() => Duration::ZERO,
            _ => JUST_NOW,
        }
    }

    /// Whether somebody has the volume open, so that it is not removed yet.
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
