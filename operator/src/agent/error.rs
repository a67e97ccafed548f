//! The error of a pass of the agent: what it retries with backoff.

use crate::kube::error::ApiError;

/// The node or the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// LVM, a device or a file of the node.
    #[error(transparent)]
    Node(#[from] host::Error),
    /// A request to the API server.
    #[error(transparent)]
    Api(#[from] ApiError),
}
