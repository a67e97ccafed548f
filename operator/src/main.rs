//! `flexlvm`: logging and signals; runs one of the two roles.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _};
use kube::{Client, Config};
use operator::cli::{Cli, Role};
use operator::controller::capacity::uninstall::UninstallDetector;
use operator::controller::metrics::Leader;
use operator::http::{self, Endpoint};
use operator::kube::lease::Election;
use operator::kube::names;
use operator::{agent, controller};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Version and commit, as `0.1.0 (0a1b2c3d4e5f)`, which `image/build-program` sets.
///
/// The version alone if cargo is called directly: it would compile again after each commit.
const VERSION: &str = match option_env!("FLEXLVM_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

fn endpoint_of(role: &Role) -> Endpoint {
    match role {
        Role::Controller { .. } => Endpoint::of_controller(),
        Role::Agent { node, .. } => Endpoint::of_agent(node),
    }
}

fn main() -> ExitCode {
    let matches = Cli::command().version(VERSION).get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    log_to_stderr(&cli.log);
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to stderr: text to a terminal, JSON otherwise, for log collectors.
fn log_to_stderr(filter: &str) {
    let mut filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // The client logs the bodies of answers that it can't parse; those of PersistentVolumes hold
    // keys, and that of the controller's Secret holds the master key.
    if let Ok(no_bodies) = "kube_client::client=error".parse() {
        filter = filter.add_directive(no_bodies);
    }
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.init();
    } else {
        lines.json().flatten_event(true).init();
    }
}

/// Runs the role on a single-threaded runtime.
///
/// Both roles wait for the API server most of the time, and blocking work runs on threads of its
/// own.
fn start(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    runtime.block_on(async {
        let client = connect().await?;
        let endpoint = endpoint_of(&cli.role);
        tokio::select! {
            ended = http::serve(cli.listen, endpoint.clone()) => ended.with_context(|| format!("serving probes and metrics at {}", cli.listen)),
            ended = work(cli.role, client, endpoint) => ended,
        }
    })
}

/// Connects to the API server: with the pod's service account in a cluster, else as kubectl would.
async fn connect() -> anyhow::Result<Client> {
    // By the address in the environment: a static binary has no resolver for
    // kubernetes.default.svc.
    let mut config = match Config::incluster_env() {
        Ok(config) => config,
        Err(_) => Config::infer().await.context("finding the API server")?,
    };
    // Watches end by themselves before this; any other request that takes this long hangs on a dead
    // connection.
    config.read_timeout = Some(Duration::from_secs(310));
    Client::try_from(config).context("connecting to the API server")
}

async fn work(role: Role, client: Client, endpoint: Endpoint) -> anyhow::Result<()> {
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
            Box::pin(control(client, settings, endpoint)).await
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
                plugin_dir,
                state: state_dir,
                attach,
                aliases,
                lvm: lvm_dir,
                scan_interval: agent::orphaned_mounts::EVERY,
                hang_limit: agent::lvm::hang::LIMIT,
            };
            tokio::select! {
                () = agent::run(client, settings, agent::NodeAccess::from_container(), endpoint) => anyhow::bail!("the agent ended"),
                ended = terminated() => ended,
            }
        }
    }
}

/// Waits until this replica is elected, and runs the controller until SIGTERM or SIGINT.
async fn control(
    client: Client,
    settings: controller::ControllerSettings,
    endpoint: Endpoint,
) -> anyhow::Result<()> {
    let controller::ControllerSettings {
        identity,
        namespace,
        ..
    } = &settings;
    let election = Election::new(client.clone(), namespace, names::CONTROLLER, identity);
    let uninstall = UninstallDetector::find(&client, namespace).await;
    let leader = Leader::register(&endpoint.metrics);
    // A standby replica counts as ready.
    endpoint.ready.set(true);
    tokio::select! {
        () = election.acquire() => {}
        ended = terminated() => return ended,
    }
    leader.elected();
    endpoint.ready.set(false); // until its watches have synced
    tracing::info!(identity, "elected: this controller is active");
    tokio::select! {
        () = controller::run(client, &settings, endpoint) => anyhow::bail!("the controller ended"),
        () = election.keep() => anyhow::bail!("the lease is lost: another controller may be active now"),
        ended = terminated() => {
            uninstall.clean_up().await;
            election.release().await;
            ended
        }
    }
}

/// Returns on SIGTERM or SIGINT.
async fn terminated() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
