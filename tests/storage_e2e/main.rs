//! `storage-e2e [FOCUS]`: runs Kubernetes' external-storage suite against FlexLVM, on a cluster of
//! two nodes with real LVM. Prints a line per spec and ends with `N passed, N failed`. FOCUS, a
//! regular expression, selects specs.

mod images;
mod report;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use harness::cluster::{Cluster, Plan};
use harness::dump;
use harness::guest::Hardware;
use harness::installation::{IMAGE, VOLUME_GROUP, file};
use harness::kubernetes::Kubernetes;
use images::Programs;
use report::Report;
use serde_json::json;

/// Specs that are not run, each with the reason.
const SKIPPED: &[(&str, &str)] = &[
    (
        r"should provision storage with mount options",
        "expects mountOptions in the PersistentVolume; the kubelet refuses those for FlexVolume, so FlexLVM writes them into the volume's options",
    ),
    (
        r"should provision storage with any volume data source",
        "needs the images of a volume populator, which are not available without a registry",
    ),
    (
        r"should block a second pod from using an in-use ReadWriteOncePod volume on the same node",
        "the kubelet enforces ReadWriteOncePod for attached volumes; those of FlexLVM are not attached by default, and the scheduler enforces it",
    ),
    (r"\[Disruptive\]", "needs SSH access to the nodes"),
];

/// Specs at a time: they mostly wait for the kubelets.
const PROCESSES: &str = "4";

const TIMEOUT: &str = "2h";

fn main() -> ExitCode {
    harness::main(|| {
        let focus = std::env::args().nth(1).unwrap_or_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let report = runtime.block_on(run(&focus))?;
        print!("{report}");
        Ok(if report.failed() == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

async fn run(focus: &str) -> Result<Report> {
    let programs = Programs::of(&Kubernetes::find()?)?;
    let logs = dump::folder().join("storage-e2e");
    // Left over from an earlier run.
    let _ = std::fs::remove_dir_all(&logs);
    std::fs::create_dir_all(&logs)?;
    let mut archives = programs.pack_images(&logs)?;
    archives.push(file(IMAGE));
    let plan = Plan {
        nodes: 2,
        hardware: Hardware {
            memory_mib: 2048,
            disks_mib: vec![32 << 10],
            ..Hardware::default()
        },
        volume_group: Some(VOLUME_GROUP.to_owned()),
        images: archives,
    };
    let start = Instant::now();
    let cluster = Cluster::start(&plan).await?;
    install(&cluster).await?;
    println!(
        "two nodes with Kubernetes {} and FlexLVM are ready after {} s",
        cluster.api().kubernetes().version()?,
        start.elapsed().as_secs()
    );
    for (name, reason) in SKIPPED {
        println!("skipped: {name}: {reason}");
    }
    let report = run_specs(&programs, &cluster, focus, &logs)?;
    if report.failed() > 0 {
        cluster.dump(&logs.join("cluster"));
    }
    Ok(report)
}

/// Installs FlexLVM, and the class that the specs copy.
async fn install(cluster: &Cluster) -> Result<()> {
    cluster.install().await?;
    let class = file("tests/storage_e2e/storageclass.yaml");
    cluster
        .api()
        .kubectl(&["apply", "-f", &class.display().to_string()])?;
    // The spec of capacity looks up the driver's nodes in the CSINode objects, where the kubelet
    // enters CSI drivers only.
    for node in cluster.nodes() {
        let name = node.name();
        let driver = json!({"name": "flexlvm.dev", "nodeID": name,
            "topologyKeys": ["kubernetes.io/hostname"]});
        let patch = json!({"spec": {"drivers": [driver]}}).to_string();
        let change = ["patch", "csinode", &name, "--type=merge", "-p", &patch];
        cluster.api().kubectl(&change)?;
    }
    Ok(())
}

/// Runs the suite and prints each spec's result. Its whole output goes to `e2e.log`.
fn run_specs(programs: &Programs, cluster: &Cluster, focus: &str, logs: &Path) -> Result<Report> {
    let log = logs.join("e2e.log");
    println!("the suite's whole output: {}", log.display());
    let mut log = File::create(log)?;
    let mut suite = suite(programs, cluster, focus, logs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(logs.join("ginkgo.log"))?)
        .spawn()
        .context("cannot run ginkgo")?;
    let output = suite.stdout.take().context("ginkgo has no output")?;
    let mut result = None;
    for line in BufReader::new(output).lines() {
        let line = line?;
        writeln!(log, "{line}")?;
        // The line after a result names the spec.
        if let Some(result) = result.take() {
            println!("{result} {line}");
        } else if line.starts_with("• ") {
            result = Some(line);
        }
    }
    let status = suite.wait()?;
    let mut report = Report::read(&logs.join("report.json"))?;
    if !status.success() && report.failed() == 0 {
        report.fail(format!("ginkgo ended with {status}"));
    }
    Ok(report)
}

fn suite(programs: &Programs, cluster: &Cluster, focus: &str, logs: &Path) -> Command {
    let kubectl = cluster.api().kubernetes().program("kubectl");
    let kubeconfig = cluster.api().kubeconfig();
    let driver = file("tests/storage_e2e/driver.yaml");
    let skipped: Vec<&str> = SKIPPED.iter().map(|(name, _)| *name).collect();
    let mut ginkgo = Command::new(programs.path("ginkgo"));
    ginkgo
        .current_dir(logs)
        .args(["--no-color", "-v", "--keep-going"])
        .arg(format!("--procs={PROCESSES}"))
        .arg(format!("--timeout={TIMEOUT}"))
        .arg(format!("--output-dir={}", logs.display()))
        .arg("--json-report=report.json")
        .arg(format!("--focus=External.Storage.*({focus})"))
        .arg(format!("--skip={}", skipped.join("|")))
        .arg(programs.path("e2e.test"))
        .arg("--")
        .arg("--provider=skeleton")
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--kubectl-path={}", kubectl.display()))
        .arg(format!("--report-dir={}", logs.display()))
        .arg(format!("--storage.testdriver={}", driver.display()));
    ginkgo
}
