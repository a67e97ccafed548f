//! What happens to the claims of a node that is lost.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Default of [`NodeLoss::grace_period_seconds`].
const DEFAULT_GRACE_PERIOD: u32 = 3600;

/// What happens to the claims whose volumes are on a node that is lost.
///
/// A node is lost when its Node object is deleted, when it is not Ready and has the taint
/// `node.kubernetes.io/out-of-service`, or when another Node has its name and lacks the logical
/// volume. A node that is only not Ready is not lost.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeLoss {
    /// `Wait` or `Release`. Defaults to `Wait`.
    #[serde(default)]
    pub policy: NodeLossPolicy,
    /// Seconds for which a node must be lost before its claims are released; for policy `Release`.
    /// They begin when the controller first observes the loss. Defaults to 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<u32>,
}

/// What happens to the claims whose volumes are on a node that is lost.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeLossPolicy {
    /// The claims wait for the node, until an admin releases them.
    #[default]
    Wait,
    /// The controller deletes the claims, so that they can be created again with new, empty
    /// volumes. The logical volumes stay on the node's disks, and their LogicalVolumes get the state
    /// `Abandoned`.
    Release,
}

impl NodeLoss {
    /// Returns the time for which a node must be lost; `None` for policy `Wait`.
    #[must_use]
    pub fn grace_period(&self) -> Option<Duration> {
        let seconds = self.grace_period_seconds.unwrap_or(DEFAULT_GRACE_PERIOD);
        match self.policy {
            NodeLossPolicy::Wait => None,
            NodeLossPolicy::Release => Some(Duration::from_secs(seconds.into())),
        }
    }
}
