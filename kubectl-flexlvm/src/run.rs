//! Runs one command: reads a snapshot, builds the report, prints it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::CommandFactory as _;
use clap_complete::Shell;
use crds::layout::LayoutType;
use crds::quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use placement::class;
use storage_model::Bytes;

use crate::capacity::{self, Question};
use crate::cli::{AdoptArguments, CapacityArguments, Cli, Command, Connection, Explain};
use crate::connect::{Access, connect};
use crate::doctor::{self, CheckList};
use crate::output::{Format, Report, print, render};
use crate::release_node::ReleaseSettings;
use crate::snapshot::kind::Kind;
use crate::snapshot::{Snapshot, changes, read};
use crate::tree::TreeFilter;
use crate::{adopt, bundle, explain, orphans, release_node, status, tree};

/// Shortest time between two snapshots of `--watch`.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Share of the time in which `--watch` reads at most: each snapshot lists all volumes anew.
const PAUSE_PER_READ: u32 = 4;

/// Runs the command; returns false for exit code 1.
///
/// # Errors
/// If the API server can't be reached, or an object does not exist.
pub async fn run(cli: Cli) -> Result<bool> {
    let output = cli.output;
    let source = Source::new(cli.connection);
    match cli.command {
        Command::Completion { shell } => complete(shell),
        Command::Explain(Explain::Pvc { name, watch }) => {
            explain_claim(source, &name, watch, output).await
        }
        Command::Status { watch } => {
            let selection = SnapshotSelection {
                kinds: [&Kind::VOLUMES[..], &Kind::INSTALLATION].concat(),
                namespace: None,
            };
            let source = source.connected().await?;
            let report = |snapshot: &Snapshot| Ok(status::status(snapshot));
            repeat(&source, &selection, watch, output, report).await
        }
        Command::Doctor { list: true } => show(&CheckList(doctor::checks()), output),
        Command::Doctor { list: false } => {
            let kinds = [&Kind::VOLUMES[..], &Kind::INSTALLATION].concat();
            let snapshot = source.connected().await?.read(&kinds, None).await?;
            show(&doctor::diagnose(&snapshot), output)
        }
        Command::Tree {
            backend,
            node,
            all_namespaces,
        } => {
            let namespace = source.connection.namespace.clone();
            let filter = TreeFilter {
                backend,
                node,
                namespace: namespace.filter(|_| !all_namespaces),
            };
            let kinds = [&Kind::VOLUMES[..], &[Kind::Pods]].concat();
            let source = source.connected().await?;
            let snapshot = source.read(&kinds, filter.namespace.as_deref()).await?;
            show(&tree::tree(&snapshot, &filter), output)
        }
        Command::Capacity(arguments) => {
            let snapshot = source.connected().await?.read(&Kind::VOLUMES, None).await?;
            let question = question(&snapshot, &arguments)?;
            show(&capacity::answer(&snapshot, &question), output)
        }
        Command::Orphans => {
            let snapshot = source.connected().await?.read(&Kind::VOLUMES, None).await?;
            show(&orphans::unused(&snapshot), output)
        }
        Command::Adopt(arguments) => run_adopt(source.connected().await?, &arguments, output).await,
        Command::ReleaseNode { node, yes, timeout } => {
            let settings = ReleaseSettings {
                yes,
                timeout: Duration::from_secs(timeout),
                output,
            };
            release(source, &node, settings).await
        }
        Command::Bundle { folder } => write_bundle(source, &folder).await,
    }
}

/// Adopts logical volumes.
async fn run_adopt(
    source: Source,
    arguments: &AdoptArguments,
    output: Option<Format>,
) -> Result<bool> {
    let Some(access) = &source.access else {
        bail!("adopt needs a cluster: it can't be combined with --from");
    };
    let request = arguments.request(&source.connection, &source.namespace())?;
    let kinds = [&Kind::VOLUMES[..], &[Kind::Deployments]].concat();
    let snapshot = source.read(&kinds, None).await?;
    let report = adopt::adopt(&access.client, &snapshot, &request, arguments.extent()).await?;
    show(&report, output)
}

/// Releases the claims of a lost node.
async fn release(source: Source, node: &str, settings: ReleaseSettings) -> Result<bool> {
    let source = source.connected().await?;
    let Some(access) = &source.access else {
        bail!("release-node changes a cluster: leave out --from");
    };
    release_node::run(&access.client, node, settings).await
}

/// Writes a bundle into a new folder.
async fn write_bundle(source: Source, folder: &Path) -> Result<bool> {
    let kinds = [&Kind::VOLUMES[..], &[Kind::Pods], &Kind::INSTALLATION].concat();
    let snapshot = source.connected().await?.read(&kinds, None).await?;
    bundle::write(folder, &bundle::files(&snapshot)?)?;
    print(&format!("{} is written\n", folder.display()))?;
    Ok(true)
}

/// Prints the completion script of a shell.
fn complete(shell: Shell) -> Result<bool> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kubectl-flexlvm", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(true)
}

/// Explains a claim; with `watch`, again and again.
async fn explain_claim(
    source: Source,
    name: &str,
    watch: bool,
    output: Option<Format>,
) -> Result<bool> {
    let kinds = [
        &Kind::VOLUMES[..],
        &[
            Kind::Pods,
            Kind::ControllerEvents,
            Kind::MountEvents,
            Kind::Deployments,
        ],
    ]
    .concat();
    let source = source.connected().await?;
    let namespace = source.namespace();
    let selection = SnapshotSelection {
        kinds,
        namespace: Some(namespace.clone()),
    };
    let report = |snapshot: &Snapshot| explain::explain(snapshot, &namespace, name);
    repeat(&source, &selection, watch, output, report).await
}

/// The objects that a command reads.
struct SnapshotSelection {
    kinds: Vec<Kind>,
    /// Namespace of claims and pods; `None` for all.
    namespace: Option<String>,
}

/// Prints a report, and with `watch` each one that differs from the one before.
async fn repeat<R: Report>(
    source: &Source,
    selection: &SnapshotSelection,
    watch: bool,
    output: Option<Format>,
    report: impl Fn(&Snapshot) -> Result<R>,
) -> Result<bool> {
    let SnapshotSelection { kinds, namespace } = selection;
    let mut printed = String::new();
    loop {
        let start = Instant::now();
        let snapshot = source.read(kinds, namespace.as_deref()).await?;
        let report = report(&snapshot)?;
        let text = render(&report, output)?;
        if text != printed {
            print(&text)?;
        }
        // A bundle does not change.
        let (true, Some(access)) = (watch, &source.access) else {
            return Ok(report.is_good());
        };
        printed = text;
        let pause = (start.elapsed() * PAUSE_PER_READ).max(SHORTEST_PAUSE);
        tokio::time::sleep(pause).await;
        changes::next(&access.client, &snapshot, kinds, namespace.as_deref()).await;
    }
}

/// Prints a report; returns whether all is well.
fn show(report: &impl Report, output: Option<Format>) -> Result<bool> {
    print(&render(report, output)?)?;
    Ok(report.is_good())
}

/// Where snapshots come from.
struct Source {
    connection: Connection,
    /// `None` until connected, and for a bundle.
    access: Option<Access>,
}

impl Source {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            access: None,
        }
    }

    async fn connected(mut self) -> Result<Self> {
        if self.connection.from.is_none() {
            self.access = Some(connect(&self.connection).await?);
        }
        Ok(self)
    }

    /// Returns the namespace that the user means.
    fn namespace(&self) -> String {
        let access = self.access.as_ref().map(|access| access.namespace.clone());
        let named = self.connection.namespace.clone();
        access.or(named).unwrap_or_else(|| "default".to_owned())
    }

    async fn read(&self, kinds: &[Kind], namespace: Option<&str>) -> Result<Snapshot> {
        match (&self.access, &self.connection.from) {
            (Some(access), _) => read::snapshot(&access.client, kinds, namespace).await,
            (None, Some(folder)) => bundle::read(folder),
            (None, None) => bail!("not connected"),
        }
    }
}

/// Reads the arguments of `capacity`.
fn question(snapshot: &Snapshot, arguments: &CapacityArguments) -> Result<Question> {
    let size = match &arguments.size {
        Some(text) => Some(Bytes(quantity::parse(&Quantity(text.clone()))?)),
        None => None,
    };
    let mut question = Question {
        size,
        count: usize::try_from(arguments.count)?,
        backend: arguments.backend.clone(),
        layout: arguments.layout.as_deref().map(layout).transpose()?,
        node: arguments.node.clone(),
        topologies: Vec::new(),
    };
    if let Some(name) = &arguments.class {
        let class = snapshot.classes.get(name);
        let class = class.ok_or_else(|| anyhow!("storageclasses \"{name}\" not found"))?;
        let backend = class::backend_of(class).filter(|_| class.provisioner == crds::GROUP);
        let backend =
            backend.with_context(|| format!("StorageClass {name} names no StorageBackend"))?;
        question.backend = Some(backend.to_owned());
        question.topologies = class.allowed_topologies.clone().unwrap_or_default();
    }
    if let Some(name) = &question.backend
        && !snapshot.backends.contains_key(name)
    {
        bail!("storagebackends.flexlvm.dev \"{name}\" not found");
    }
    Ok(question)
}

/// Returns the layout of this name; case does not matter.
fn layout(name: &str) -> Result<LayoutType> {
    let mut all = LayoutType::ALL.into_iter();
    all.find(|type_| type_.as_str().eq_ignore_ascii_case(name))
        .ok_or_else(|| {
            let names = LayoutType::ALL.map(LayoutType::as_str).join(", ");
            anyhow!("layout {name:?} is unknown: use one of {names}")
        })
}
