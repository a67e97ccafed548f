//! `soak MINUTES SEED`: random claims, growth, pods and deletions on a cluster of three nodes.
//! Meanwhile programs are killed, the power of nodes is cut, and disks fail and return.
//!
//! At the end everything must be served or explained, every byte that was acknowledged must be
//! there, and nothing may be left over. `tests/soak-run` runs it. The last line of output is one
//! JSON object.
//!
//! [`plan`] decides, from the seed and the [`model`] of what was requested; [`actors`] performs;
//! [`ending`] heals, and compares the state that [`observe`] reads by the rules in [`verify`].

mod actors;
mod content;
mod ending;
mod environment;
mod guest_service;
mod ledger;
mod model;
mod observe;
mod plan;
mod random;
mod tally;
mod tenant;
mod verify;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use actors::Soak;
use anyhow::{Context as _, Result, ensure};
use harness::{dump, remote};
use random::Random;
use verify::Finding;

/// What to run.
struct Settings {
    minutes: u64,
    seed: u64,
}

impl Settings {
    fn from_arguments() -> Result<Self> {
        let usage = "usage: soak MINUTES SEED";
        let mut arguments = std::env::args().skip(1);
        let minutes = arguments.next().context(usage)?;
        let seed = arguments.next().context(usage)?;
        let minutes = minutes.parse().context("MINUTES is not a number")?;
        let seed = seed.parse().context("SEED is not a number")?;
        ensure!(minutes > 0, "MINUTES must be positive");
        Ok(Self { minutes, seed })
    }
}

fn main() -> ExitCode {
    remote::serves(guest_service::serve);
    harness::main(|| {
        let settings = Settings::from_arguments()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let result = runtime.block_on(run(&settings));
        // A guest that does not answer must not delay the end.
        runtime.shutdown_background();
        result
    })
}

async fn run(settings: &Settings) -> Result<ExitCode> {
    let Settings { minutes, seed } = *settings;
    println!("soak: {minutes} minutes, seed {seed}");
    let cluster = environment::start().await?;
    let mut soak = Soak::new(cluster, seed);
    let result = match act(&mut soak, settings).await {
        Ok(()) => ending::end(&mut soak).await,
        Err(error) => Err(error),
    };
    println!("{}", soak.tally.summary());
    let total = soak.ledger.total();
    println!("acknowledged: {} writes, {} KiB", total.writes, total.kib);
    let is_compared = result.is_ok();
    let findings = match result {
        Ok(findings) => findings,
        Err(error) => {
            let message = format!("the run did not reach its end: {error:#}");
            let mut findings = std::mem::take(&mut soak.findings);
            findings.push(Finding::new(verify::Kind::Unexplained, message));
            findings
        }
    };
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        soak.cluster
            .dump(&dump::folder().join(format!("soak-{seed}")));
    }
    let last = soak.tally.last_line(minutes, seed, &findings, is_compared);
    println!("{last}");
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Performs random actions until the time is over.
async fn act(soak: &mut Soak, settings: &Settings) -> Result<()> {
    let mut random = Random::new(settings.seed);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(settings.minutes * 60) {
        let step = plan::next(&soak.model, &mut random);
        tokio::time::sleep(Duration::from_millis(step.pause_ms.into())).await;
        eprintln!("{:7.1} {:?}", start.elapsed().as_secs_f64(), step.action);
        soak.perform(&step.action)
            .await
            .with_context(|| format!("{:?}", step.action))?;
    }
    Ok(())
}
