//! The error of a pass of the agent: what it retries with backoff.

use crate::kube::error::ApiError;

/// Returns the message of an error of the node for a status: the cause first, then the command line,
/// which may have hundreds of characters.
#[must_use]
pub fn message(error: &host::Error) -> String {
    let host::Error::Program {
        command,
        status,
        stderr,
        ..
    } = error
    else {
        return host::error::chain(error);
    };
    let mut words = command.split(' ');
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    let name = match words.next() {
        Some(subcommand) if name == "lvm" => subcommand,
        _ => name,
    };
    format!("{name} failed: {stderr} ({status} of {command})")
}

/// The node or the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// LVM, a device or a file of the node.
    #[error(transparent)]
    Node(#[from] host::Error),
    /// A logical volume could not be created.
    #[error(transparent)]
    Create(host::Error),
    /// A request to the API server.
    #[error(transparent)]
    Api(#[from] ApiError),
}

#[cfg(test)]
mod tests {
    use super::message;
    use host::{Error, Kind};

    #[test]
    fn message_begins_with_the_cause() {
        let error = Error::Program {
            command: "/usr/sbin/lvm lvcreate --name pvc-1 vg0".to_owned(),
            status: "exit status 5".to_owned(),
            stderr: "Maximum number of logical volumes (6) reached in volume group vg0".to_owned(),
            kind: Kind::Failed,
        };
        assert_eq!(
            message(&error),
            "lvcreate failed: Maximum number of logical volumes (6) reached in volume group vg0 \
             (exit status 5 of /usr/sbin/lvm lvcreate --name pvc-1 vg0)"
        );
        assert_eq!(message(&Error::failed("no LVM")), "no LVM");
    }
}
