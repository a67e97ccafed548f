//! `flexlvm`: the command line, logging, signals; then one of the two roles.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgAction, Parser, Subcommand};
use flexvolume::DriverName;
use kube::{Client, Config};
use operator::controller::capacity::uninstall::UninstallDetector;
use operator::http::{self, Ready};
use operator::kube::lease::Election;
use operator::kube::names;
use operator::{agent, controller};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Dynamic LVM volumes for Kubernetes clusters that mount through FlexVolume.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// What to log: `info`, `debug`, or per module, as in `info,operator=debug`.
    #[arg(long, env = "FLEXLVM_LOG", default_value = "info", global = true)]
    log: String,
    /// Where to serve the probes /livez and /readyz.
    #[arg(
        long,
        env = "FLEXLVM_LISTEN",
        default_value = "0.0.0.0:8080",
        global = true
    )]
    listen: SocketAddr,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Turns claims into volumes. Several may run; one of them works.
    Controller {
        /// The controller's own namespace: of the Lease by which controllers agree on who works,
        /// and of the capacity that they publish.
        #[arg(long, env = "POD_NAMESPACE", default_value = "flexlvm-system")]
        namespace: String,
        /// The name that this controller has among them: its pod's.
        #[arg(long, env = "POD_NAME")]
        identity: String,
        /// Tell the scheduler how full the nodes are, on Kubernetes 1.24 and later. `false` takes
        /// back what was told before.
        #[arg(long, env = "FLEXLVM_PUBLISH_CAPACITY", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        publish_capacity: bool,
    },
    /// Makes, extends and removes the logical volumes of this node, and installs the driver.
    Agent {
        /// The name of this node's Node object.
        #[arg(long, env = "NODE_NAME")]
        node: String,
        /// The driver's binary, to be installed.
        #[arg(long, env = "FLEXLVM_DRIVER", default_value = "/flexlvm-driver")]
        driver: PathBuf,
        /// Have Kubernetes attach volumes before it mounts them. Not changed while volumes are
        /// mounted.
        // A value is expected, so that the environment and a command line say it alike.
        #[arg(long, env = "FLEXLVM_ATTACH", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        attach: bool,
        /// A further name to install the driver under, as in `kubernetes.io/lvm`; may be given
        /// several times.
        #[arg(
            long = "driver-alias",
            env = "FLEXLVM_DRIVER_ALIASES",
            value_delimiter = ','
        )]
        aliases: Vec<DriverName>,
        /// The kubelet's `--volume-plugin-dir`.
        #[arg(
            long,
            env = "FLEXLVM_PLUGIN_DIR",
            default_value = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
        )]
        plugin_dir: PathBuf,
        /// The node's folder for the driver's settings, and for drivers that ours replaced.
        #[arg(long, env = "FLEXLVM_STATE_DIR", default_value = "/var/lib/flexlvm")]
        state_dir: PathBuf,
        /// The node's folder of LVM's configuration and backups.
        #[arg(long, env = "FLEXLVM_LVM_DIR", default_value = "/etc/lvm")]
        lvm_dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(&cli.log);
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Text for a person at a terminal, JSON for a log collector.
fn log_to_stderr(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.init();
    } else {
        lines.json().flatten_event(true).init();
    }
}

/// One thread: both roles wait for the API server most of the time, and what takes long runs on
/// threads of its own.
fn start(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    runtime.block_on(async {
        let client = connect().await?;
        let ready = Ready::default();
        tokio::select! {
            ended = http::serve(cli.listen, ready.clone()) => ended.with_context(|| format!("serving the probes at {}", cli.listen)),
            ended = work(cli.role, client, ready) => ended,
        }
    })
}

/// To the API server: with the pod's own account in a cluster, else as kubectl would.
async fn connect() -> anyhow::Result<Client> {
    // By address, as the environment gives it: a static binary has no name service to ask for
    // kubernetes.default.svc.
    let mut config = match Config::incluster_env() {
        Ok(config) => config,
        Err(_) => Config::infer().await.context("finding the API server")?,
    };
    // Watches end by themselves before this; anything else that takes so long hangs on a dead
    // connection.
    config.read_timeout = Some(Duration::from_secs(310));
    Client::try_from(config).context("connecting to the API server")
}

async fn work(role: Role, client: Client, ready: Ready) -> anyhow::Result<()> {
    match role {
        Role::Controller {
            namespace,
            identity,
            publish_capacity,
        } => {
            let settings = controller::ControllerSettings {
                identity,
                namespace,
                publish_capacity,
            };
            Box::pin(control(client, settings, ready)).await
        }
        Role::Agent {
            node,
            driver,
            attach,
            aliases,
            plugin_dir,
            state_dir,
            lvm_dir,
        } => {
            let settings = agent::AgentSettings {
                node,
                driver,
                plugins: plugin_dir,
                state: state_dir,
                attach,
                aliases,
                lvm: lvm_dir,
                look_every: agent::orphaned_mounts::EVERY,
            };
            tokio::select! {
                () = agent::run(client, settings, agent::NodeAccess::from_container(), ready) => anyhow::bail!("the agent ended"),
                ended = terminated() => ended,
            }
        }
    }
}

/// Waits until this controller is the one that works, and works until it is asked to end.
async fn control(
    client: Client,
    settings: controller::ControllerSettings,
    ready: Ready,
) -> anyhow::Result<()> {
    let controller::ControllerSettings {
        identity,
        namespace,
        ..
    } = &settings;
    let election = Election::new(client.clone(), namespace, names::CONTROLLER, identity);
    let home = UninstallDetector::find(&client, namespace).await;
    // One that stands by is as ready as it can be.
    ready.set(true);
    tokio::select! {
        () = election.acquire() => {}
        ended = terminated() => return ended,
    }
    ready.set(false); // until it has seen everything
    tracing::info!(identity, "this controller works from now on");
    tokio::select! {
        () = controller::run(client, &settings, ready) => anyhow::bail!("the controller ended"),
        () = election.keep() => anyhow::bail!("the lease is lost: another controller may work now"),
        ended = terminated() => {
            home.clean_up().await;
            election.release().await;
            ended
        }
    }
}

/// Returns when the process is asked to end.
async fn terminated() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
