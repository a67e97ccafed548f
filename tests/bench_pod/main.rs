//! `bench-pod ROUNDS`: measures the cost of a FlexLVM volume in a pod's life, compared with the
//! same pod with an emptyDir, alternately, on a cluster of two nodes.
//!
//! A claim that waits for its first pod costs at least a second: kube-scheduler checks whether the
//! claims of a pod are bound each second, and not at once (`BindPodVolumes` in
//! `pkg/scheduler/framework/plugins/volumebinding/binder.go`). One that is served before has no such
//! floor, and shows what FlexLVM itself adds.
//!
//! `tests/bench-pod` runs it. The last line of output is one JSON object.
//!
//! [`pods`] creates and removes pods and measures; this file selects the measurements and reports.

mod pods;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use harness::cluster::{Cluster, Plan};
use harness::guest::Hardware;
use harness::installation::{IMAGE, VOLUME_GROUP, file};
use pods::{Measured, Storage, create_immediate_class, measure};

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

    create_immediate_class(cluster.api().client()).await?;

    let single = alternate(&cluster, 1, rounds, &ALL).await?;
    let burst = alternate(&cluster, BURST, BURST_ROUNDS, &[CLAIM, EMPTY]).await?;
    let agent_mib = resident_mib(&cluster, "agent")?;
    let controller_mib = resident_mib(&cluster, "controller")?;

    let version = cluster.api().kubernetes().version()?;
    println!("Kubernetes {version}, medians in seconds    claim  emptyDir  Immediate");
    single.print("one pod: created to Ready", |measured| measured.ready);
    single.print("one pod: created to claim Bound", |measured| measured.bound);
    single.print("one pod: deleted to gone", |measured| measured.gone);
    burst.print("20 pods: created to last Ready", |measured| measured.ready);
    burst.print("20 pods: deleted to last gone", |measured| measured.gone);
    let ready = single.medians(|measured| measured.ready);
    let added_s = ready[&CLAIM] - ready[&EMPTY];
    let added_immediate_s = ready[&IMMEDIATE] - ready[&EMPTY];
    let ready = burst.medians(|measured| measured.ready);
    let burst_ratio = ready[&CLAIM] / ready[&EMPTY];
    let gone = single.medians(|measured| measured.gone);
    let removal_ratio = gone[&CLAIM] / gone[&EMPTY];
    println!(
        r#"{{"bench":"pod","added_s":{added_s:.3},"added_immediate_s":{added_immediate_s:.3},"burst_vs_emptydir":{burst_ratio:.3},"removal_vs_emptydir":{removal_ratio:.3},"agent_mib":{agent_mib:.1},"controller_mib":{controller_mib:.1}}}"#
    );
    Ok(())
}

const CLAIM: Storage = Storage::Claim;
const EMPTY: Storage = Storage::EmptyDir;
const IMMEDIATE: Storage = Storage::ImmediateClaim;

/// All kinds, in the order of the table's columns.
const ALL: [Storage; 3] = [CLAIM, EMPTY, IMMEDIATE];

/// Measurements of several kinds of pods, taken alternately.
struct Series(BTreeMap<Storage, Vec<Measured>>);

impl Series {
    fn medians(&self, figure: fn(&Measured) -> f64) -> BTreeMap<Storage, f64> {
        self.0
            .iter()
            .map(|(storage, all)| (*storage, median(all.iter().map(figure).collect())))
            .collect()
    }

    fn print(&self, what: &str, figure: fn(&Measured) -> f64) {
        print!("{what:<40}");
        for median in self.medians(figure).values() {
            print!("{median:>10.2}");
        }
        println!();
    }
}

/// Measures `rounds` of each kind, after one uncounted warm-up each. The kinds take turns in going
/// first.
async fn alternate(
    cluster: &Cluster,
    count: usize,
    rounds: usize,
    kinds: &[Storage],
) -> Result<Series> {
    let mut series = BTreeMap::<_, Vec<_>>::new();
    let mut kinds = kinds.to_vec();
    for round in 0..=rounds {
        for &storage in &kinds {
            let measured = measure(cluster, storage, count).await?;
            eprintln!("{count} × {storage:?}: {measured:?}");
            if round > 0 {
                series.entry(storage).or_default().push(measured);
            }
        }
        kinds.rotate_left(1);
    }
    Ok(Series(series))
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
