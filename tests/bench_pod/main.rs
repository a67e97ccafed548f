//! `bench-pod ROUNDS`: measures the cost of a FlexLVM volume in a pod's life, compared with the
//! same pod with an emptyDir, alternately, on a cluster of two nodes.
//!
//! `tests/bench-pod` runs it. The last line of output is one JSON object.
//!
//! [`pods`] creates and removes pods and measures; this file selects the measurements and reports.

mod pods;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use harness::cluster::{Cluster, Plan};
use harness::guest::Hardware;
use harness::installation::{IMAGE, VOLUME_GROUP, file};
use pods::{Measured, Storage, measure};

/// Number of pods of a burst: all are created at once.
const BURST: usize = 20;

/// Rounds of bursts; each takes as long as ten single pods.
const BURST_ROUNDS: usize = 3;

fn main() -> ExitCode {
    harness::main(|| {
        let rounds = std::env::args().nth(1).context("usage: bench-pod ROUNDS")?;
        let rounds: usize = rounds.parse().context("ROUNDS is not a number")?;
        ensure!(rounds > 0, "ROUNDS must be positive");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(bench(rounds))?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn bench(rounds: usize) -> Result<()> {
    let plan = Plan {
        nodes: 2,
        hardware: Hardware {
            memory_mib: 2048,
            disks_mib: vec![8192],
            ..Hardware::default()
        },
        volume_group: Some(VOLUME_GROUP.to_owned()),
        images: vec![file(IMAGE)],
    };
    let cluster = Cluster::start(&plan).await?;
    cluster.install().await?;

    let single = alternate(&cluster, 1, rounds).await?;
    let burst = alternate(&cluster, BURST, BURST_ROUNDS).await?;
    let agent_mib = resident_mib(&cluster, "agent")?;
    let controller_mib = resident_mib(&cluster, "controller")?;

    let version = cluster.api().kubernetes().version()?;
    println!("Kubernetes {version}, medians in seconds    claim  emptyDir");
    single.print("one pod: created to Ready", |measured| measured.ready);
    single.print("one pod: created to claim Bound", |measured| measured.bound);
    single.print("one pod: deleted to gone", |measured| measured.gone);
    burst.print("20 pods: created to last Ready", |measured| measured.ready);
    burst.print("20 pods: deleted to last gone", |measured| measured.gone);
    let [claim, empty] = single.medians(|measured| measured.ready);
    let added_s = claim - empty;
    let [claim, empty] = burst.medians(|measured| measured.ready);
    let burst_ratio = claim / empty;
    let [claim, empty] = single.medians(|measured| measured.gone);
    let removal_ratio = claim / empty;
    println!(
        r#"{{"bench":"pod","added_s":{added_s:.3},"burst_vs_emptydir":{burst_ratio:.3},"removal_vs_emptydir":{removal_ratio:.3},"agent_mib":{agent_mib:.1},"controller_mib":{controller_mib:.1}}}"#
    );
    Ok(())
}

/// Measurements of both kinds of pods, taken alternately.
struct Pair {
    claim: Vec<Measured>,
    empty: Vec<Measured>,
}

impl Pair {
    fn medians(&self, figure: fn(&Measured) -> f64) -> [f64; 2] {
        [&self.claim, &self.empty].map(|all| median(all.iter().map(figure).collect()))
    }

    fn print(&self, what: &str, figure: fn(&Measured) -> f64) {
        let [claim, empty] = self.medians(figure);
        println!("{what:<40}{claim:>9.2}{empty:>10.2}");
    }
}

/// Measures `rounds` of each kind, after one uncounted warm-up each. The kinds take turns in going
/// first.
async fn alternate(cluster: &Cluster, count: usize, rounds: usize) -> Result<Pair> {
    let mut pair = Pair {
        claim: Vec::new(),
        empty: Vec::new(),
    };
    for round in 0..=rounds {
        let mut kinds = [Storage::Claim, Storage::EmptyDir];
        if round % 2 == 1 {
            kinds.reverse();
        }
        for storage in kinds {
            let measured = measure(cluster, storage, count).await?;
            eprintln!("{count} × {storage:?}: {measured:?}");
            if round > 0 {
                match storage {
                    Storage::Claim => pair.claim.push(measured),
                    Storage::EmptyDir => pair.empty.push(measured),
                }
            }
        }
    }
    Ok(pair)
}

/// Returns the largest resident memory of the processes of a role, in MiB.
fn resident_mib(cluster: &Cluster, role: &str) -> Result<f64> {
    let script = format!(
        "for pid in $(pgrep -f '^/flexlvm {role}'); do awk '/^VmRSS/ {{print $2}}' /proc/$pid/status; done"
    );
    let mut largest = 0.0_f64;
    for node in cluster.nodes() {
        for kibibytes in node.shell(&script)?.lines() {
            largest = largest.max(kibibytes.trim().parse::<f64>()? / 1024.0);
        }
    }
    Ok(largest)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}
