//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::output::Format;

/// Version and commit, as `0.1.0 (0a1b2c3d4e5f)`, which the release's build sets.
///
/// The version alone if cargo is called directly: it would compile again after each commit.
const VERSION: &str = match option_env!("FLEXLVM_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Explains what FlexLVM does in a cluster, and finds faults.
///
/// Exit codes: 0 if all is well or the object was found; 1 if something is wrong, the object does
/// not exist, or the command failed; 2 for a wrong command line.
#[derive(Debug, Parser)]
#[command(name = "kubectl-flexlvm", bin_name = "kubectl flexlvm", version = VERSION)]
pub struct Cli {
    /// How to reach the API server.
    #[command(flatten)]
    pub connection: Connection,
    /// Format of the output. Defaults to text.
    #[arg(short, long, global = true, value_enum)]
    pub output: Option<Format>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to reach the API server, as for kubectl.
#[derive(Args, Debug, Default)]
pub struct Connection {
    /// Path of the kubeconfig file. Defaults to $KUBECONFIG, then ~/.kube/config.
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file. Defaults to its current one.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Namespace of claims and pods. Defaults to the context's.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Folder that `bundle` has written, instead of a cluster.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub from: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Explain the chain from a claim to its pods, and why it waits or fails.
    #[command(subcommand)]
    Explain(Explain),
    /// Show backends, nodes and volumes, and what is wrong.
    Status {
        /// Repeat, and print changes until interrupted.
        #[arg(short, long)]
        watch: bool,
    },
    /// Find everything that is wrong, each fault with its remedy.
    Doctor {
        /// List the checks instead of running them.
        #[arg(long)]
        list: bool,
    },
    /// Show backends, nodes, volume groups, volumes, claims and pods as a tree.
    Tree {
        /// Only this StorageBackend.
        #[arg(long)]
        backend: Option<String>,
        /// Only this node.
        #[arg(long)]
        node: Option<String>,
        /// All namespaces, the default unless --namespace is given.
        #[arg(short = 'A', long)]
        all_namespaces: bool,
    },
    /// Answer whether volumes fit, and where; without a size, show what fits on each node.
    Capacity(CapacityArguments),
    /// List volumes that no claim uses: orphans, retained volumes, volumes of lost nodes.
    Orphans,
    /// Make existing logical volumes volumes of FlexLVM, with their data.
    ///
    /// Creates an Adoption for each, which has the name of the logical volume, and waits for it.
    Adopt(AdoptArguments),
    /// Release the claims whose volumes are on a lost node: they are deleted, and can be created again
    /// with empty volumes.
    ReleaseNode {
        /// Name of the node: one that was deleted, or is out of service, or lacks the volumes.
        node: String,
        /// Release without asking for a confirmation.
        #[arg(long)]
        yes: bool,
        /// Seconds to wait for the claims.
        #[arg(long, default_value_t = 300, value_name = "SECONDS")]
        timeout: u64,
    },
    /// Write a folder with what a maintainer needs to understand a fault, without secrets.
    Bundle {
        /// The folder; it must not exist.
        #[arg(default_value = "flexlvm-bundle")]
        folder: PathBuf,
    },
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// What to explain.
#[derive(Debug, Subcommand)]
pub enum Explain {
    /// A claim.
    #[command(visible_aliases = ["persistentvolumeclaim", "claim"])]
    Pvc {
        /// Name of the claim.
        name: String,
        /// Repeat, and print changes until interrupted.
        #[arg(short, long)]
        watch: bool,
    },
}

/// The volumes that should fit.
#[derive(Args, Debug)]
pub struct CapacityArguments {
    /// Size of each volume, as in 200Gi.
    pub size: Option<String>,
    /// Number of volumes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// Only this StorageBackend.
    #[arg(long)]
    pub backend: Option<String>,
    /// Only the StorageBackend of this StorageClass, with its allowedTopologies.
    #[arg(long, conflicts_with = "backend")]
    pub class: Option<String>,
    /// Only StorageBackends of this layout, as in RAID1.
    #[arg(long)]
    pub layout: Option<String>,
    /// Only this node, as if the scheduler had selected it.
    #[arg(long)]
    pub node: Option<String>,
}

/// The logical volumes to adopt, and what their tags do not state.
#[derive(Args, Debug)]
pub struct AdoptArguments {
    /// The node; with --all-orphans, only the orphans on this node.
    #[arg(required_unless_present = "all_orphans")]
    pub node: Option<String>,
    /// Volume group and name of the logical volume, as in vg0/pvc-photos.
    #[arg(
        value_name = "GROUP/NAME",
        required_unless_present = "all_orphans",
        conflicts_with = "all_orphans"
    )]
    pub volume: Option<String>,
    /// All orphans; with --namespace, only those of claims in this namespace.
    #[arg(long)]
    pub all_orphans: bool,
    /// Claim that gets the volume, as NAME or NAMESPACE/NAME. Defaults to the one in the tags of the
    /// logical volume.
    #[arg(long, conflicts_with = "all_orphans")]
    pub claim: Option<String>,
    /// LVM's UUID of the logical volume, if another one could have the name.
    #[arg(long, conflicts_with = "all_orphans")]
    pub uuid: Option<String>,
    /// StorageBackend of the volume. Defaults to the one in the tags.
    #[arg(long)]
    pub backend: Option<String>,
    /// StorageClass of the claim. Defaults to the one in the tags.
    #[arg(long)]
    pub class: Option<String>,
    /// File system on the logical volume: ext4, xfs or btrfs. Defaults to the one in the tags.
    #[arg(long)]
    pub filesystem: Option<String>,
    /// Access modes of the PersistentVolume, as in ReadWriteOnce; can be repeated. Defaults to those
    /// in the tags.
    #[arg(long = "access-mode")]
    pub access_modes: Vec<String>,
    /// What happens to the volume when its claim is deleted.
    #[arg(long, default_value = "Retain", value_parser = ["Retain", "Delete"])]
    pub reclaim_policy: String,
    /// Confirm --all-orphans.
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would be adopted, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Longest time in seconds to wait for the controller; 0 does not wait.
    #[arg(long, default_value_t = 300)]
    pub timeout: u64,
}
