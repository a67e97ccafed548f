//! What the agent writes to conditions and to the states of devices. Pure.

use crds::condition::reason;

/// A condition's status, reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// Whether the condition is `True` or `False`.
    pub status: bool,
    /// One of the reasons of the condition, in `crds`.
    pub reason: &'static str,
    /// Sentence for users, empty if there is nothing to explain.
    pub message: String,
}

impl ConditionUpdate {
    /// Returns the update for a volume that is ready.
    #[must_use]
    pub fn ready() -> Self {
        Self {
            status: true,
            reason: reason::READY,
            message: String::new(),
        }
    }
}

/// Error that the agent reports in a status, and on whose details no caller branches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReportedError {
    /// Reason of the condition or of the device's state.
    pub reason: &'static str,
    /// Sentence for users: what failed, on which object, with which numbers, what to do.
    pub message: String,
}

impl ReportedError {
    /// Returns an error with this reason and message.
    #[must_use]
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

impl From<ReportedError> for ConditionUpdate {
    fn from(error: ReportedError) -> Self {
        Self {
            status: false,
            reason: error.reason,
            message: error.message,
        }
    }
}
