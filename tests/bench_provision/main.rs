//! `bench-provision FLEXLVM ROUNDS [PART]`: measures the cost of FlexLVM compared with lower
//! bounds.
//!
//! Many claims at once on simulated nodes, compared with a client that only makes the three writes
//! per claim; and real logical volumes in a guest, compared with a loop of `lvcreate`. The last
//! line of output is one JSON object. Called by `tests/bench-provision`.

mod bare;
mod environment;
mod flexlvm;
mod tally;
mod volumes;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use environment::{Environment, Load};
use harness::network;
use tally::{Figure, Tally};
use tokio::runtime::Runtime;

/// Numbers of claims at once and of nodes.
const LOADS: [Load; 4] = [
    Load {
        claims: 200,
        nodes: 3,
    },
    Load {
        claims: 1000,
        nodes: 3,
    },
    Load {
        claims: 200,
        nodes: 100,
    },
    Load {
        claims: 1000,
        nodes: 100,
    },
];

fn main() -> ExitCode {
    harness::main(|| run().map(|()| ExitCode::SUCCESS))
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, rounds, part @ ..] = arguments.as_slice() else {
        anyhow::bail!("usage: bench-provision FLEXLVM ROUNDS [claims|volumes]");
    };
    let rounds: usize = rounds.parse().context("ROUNDS is not a number")?;
    ensure!(rounds > 0, "ROUNDS must be positive");
    let wants = |name: &str| part.is_empty() || part == [name];
    ensure!(
        wants("claims") || wants("volumes"),
        "{part:?} is neither claims nor volumes"
    );
    network::create()?;
    // One thread, as in the controller.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut figures = Vec::new();
    if wants("claims") {
        figures.extend(measure(&runtime, program, rounds)?);
    }
    if wants("volumes") {
        figures.extend(volumes::measure(&runtime, program, rounds)?);
    }
    let figures: Vec<String> = figures
        .iter()
        .map(|(name, figure)| format!("\"{name}\":{figure:.3}"))
        .collect();
    println!("{{{}}}", figures.join(","));
    Ok(())
}

fn measure(runtime: &Runtime, program: &str, rounds: usize) -> Result<Vec<Figure>> {
    let mut tallies: Vec<Tally> = LOADS.iter().map(|load| Tally::new(*load)).collect();
    for round in 0..rounds {
        for tally in &mut tallies {
            run_round(runtime, program, round, tally)?;
        }
    }
    Ok(tally::report(&tallies))
}

/// Runs one round: both subjects, each on an API server of its own, in alternating order.
fn run_round(runtime: &Runtime, program: &str, round: usize, tally: &mut Tally) -> Result<()> {
    let Load { claims, nodes } = tally.load;
    for turn in 0..2 {
        let (who, time) = runtime.block_on(async {
            let environment = Environment::set(tally.load).await?;
            if (round + turn).is_multiple_of(2) {
                let time = bare::provision(&environment)
                    .await
                    .context("the bare client")?;
                tally.bare.push(time);
                anyhow::Ok(("the bare client", time))
            } else {
                let outcome = flexlvm::provision(&environment, program)
                    .await
                    .context("FlexLVM")?;
                let time = outcome.time;
                tally.ours.push(outcome);
                Ok(("FlexLVM", time))
            }
        })?;
        eprintln!(
            "{claims} claims over {nodes} nodes: {who} took {:.2} s",
            time.as_secs_f64()
        );
    }
    Ok(())
}
