//! `bench-provision FLEXLVM ROUNDS [PART]`: what FlexLVM costs beside the least that could do the
//! same. Many claims at once on simulated nodes, beside a client that only makes the three writes
//! per claim; and real logical volumes in a guest, beside a loop of `lvcreate`. The last line
//! printed is one JSON object. Called by `tests/bench-provision`.

mod bare;
mod flexlvm;
mod scene;
mod tally;
mod volumes;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use harness::network;
use scene::{Crowd, Scene};
use tally::{Figure, Tally};
use tokio::runtime::Runtime;

/// How many claims at once, over how many nodes.
const CROWDS: [Crowd; 4] = [
    Crowd {
        claims: 200,
        nodes: 3,
    },
    Crowd {
        claims: 1000,
        nodes: 3,
    },
    Crowd {
        claims: 200,
        nodes: 100,
    },
    Crowd {
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
        anyhow::bail!(
            "bench-provision takes the binary flexlvm, a number of rounds, and maybe a part: claims or volumes"
        );
    };
    let rounds: usize = rounds.parse().context("how many rounds?")?;
    ensure!(rounds > 0, "no rounds, no medians");
    let wants = |name: &str| part.is_empty() || part == [name];
    ensure!(
        wants("claims") || wants("volumes"),
        "{part:?} is neither claims nor volumes"
    );
    network::create()?;
    // One thread, as the controller has.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut figures = Vec::new();
    if wants("claims") {
        figures.extend(race(&runtime, program, rounds)?);
    }
    if wants("volumes") {
        figures.extend(volumes::race(&runtime, program, rounds)?);
    }
    let figures: Vec<String> = figures
        .iter()
        .map(|(name, figure)| format!("\"{name}\":{figure:.3}"))
        .collect();
    println!("{{{}}}", figures.join(","));
    Ok(())
}

fn race(runtime: &Runtime, program: &str, rounds: usize) -> Result<Vec<Figure>> {
    let mut tallies: Vec<Tally> = CROWDS.iter().map(|crowd| Tally::new(*crowd)).collect();
    for round in 0..rounds {
        for tally in &mut tallies {
            play(runtime, program, round, tally)?;
        }
    }
    Ok(tally::report(&tallies))
}

/// One round: both, each on an API server of its own. Nobody is always the first.
fn play(runtime: &Runtime, program: &str, round: usize, tally: &mut Tally) -> Result<()> {
    let Crowd { claims, nodes } = tally.crowd;
    for turn in 0..2 {
        let (who, time) = runtime.block_on(async {
            let scene = Scene::set(tally.crowd).await?;
            if (round + turn).is_multiple_of(2) {
                let time = bare::provision(&scene).await.context("the bare client")?;
                tally.bare.push(time);
                anyhow::Ok(("the bare client", time))
            } else {
                let outcome = flexlvm::provision(&scene, program)
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
