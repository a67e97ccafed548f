//! The command line of `flexlvm`. `make generate` writes docs/reference/flags.md from it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};
use flexvolume::DriverName;

/// Dynamic LVM volumes for Kubernetes clusters that mount through FlexVolume.
#[derive(Debug, Parser)]
#[command(name = "flexlvm", version)]
pub struct Cli {
    /// Log filter: `info`, `debug`, or per module, as in `info,operator=debug`.
    #[arg(long, env = "FLEXLVM_LOG", default_value = "info", global = true)]
    pub log: String,
    /// Address that serves the probes /livez and /readyz, and /metrics.
    #[arg(
        long,
        env = "FLEXLVM_LISTEN",
        default_value = "0.0.0.0:8080",
        global = true
    )]
    pub listen: SocketAddr,
    /// What the program does.
    #[command(subcommand)]
    pub role: Role,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Turns claims into volumes. Several replicas may run; one of them is active.
    Controller {
        /// Namespace of the controller, of its leader election Lease, of the Secret with the master
        /// key and of the CSIStorageCapacity objects.
        #[arg(long, env = "POD_NAMESPACE", default_value = "flexlvm-system")]
        namespace: String,
        /// Identity of this replica in leader election: the name of its pod.
        #[arg(long, env = "POD_NAME")]
        identity: String,
        /// Publish the nodes' free capacity to the scheduler, on Kubernetes 1.24 and later. `false`
        /// removes what was published before.
        #[arg(long, env = "FLEXLVM_PUBLISH_CAPACITY", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        publish_capacity: bool,
    },
    /// Creates, extends and removes the logical volumes of this node, and installs the driver.
    Agent {
        /// Name of this node's Node object.
        #[arg(long, env = "NODE_NAME")]
        node: String,
        /// Path of the driver binary that the agent installs.
        #[arg(long, env = "FLEXLVM_DRIVER", default_value = "/flexlvm-driver")]
        driver: PathBuf,
        /// Let Kubernetes attach volumes before it mounts them. Not changed while volumes are
        /// mounted.
        // Requires a value, so that environment and command line use the same syntax.
        #[arg(long, env = "FLEXLVM_ATTACH", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        attach: bool,
        /// Additional name under which the driver is installed, as in `kubernetes.io/lvm`; can be
        /// repeated.
        #[arg(
            long = "driver-alias",
            env = "FLEXLVM_DRIVER_ALIASES",
            value_delimiter = ','
        )]
        aliases: Vec<DriverName>,
        /// The kubelet's plugin folder, as a path on the node. Defaults to the folder that the
        /// kubelet's flags or configuration name.
        #[arg(long, env = "FLEXLVM_PLUGIN_DIR")]
        plugin_dir: Option<PathBuf>,
        /// Folder on the node for the driver's settings, and for third-party drivers that FlexLVM
        /// replaced.
        #[arg(long, env = "FLEXLVM_STATE_DIR", default_value = "/var/lib/flexlvm")]
        state_dir: PathBuf,
        /// Folder on the node with LVM's configuration and backups.
        #[arg(long, env = "FLEXLVM_LVM_DIR", default_value = "/etc/lvm")]
        lvm_dir: PathBuf,
    },
}
