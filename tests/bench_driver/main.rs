//! `bench-driver GROUP DRIVER EXAMPLE ROUNDS`: in a guest, what the driver costs beside bare
//! programs and the Kubernetes LVM example's script. Every round times each contestant once, so
//! that whatever slows the machine down slows all of them; the result is the ratios of the medians.
//! The last line printed is one JSON object. Called by `tests/bench-driver`.

mod clock;
mod contestants;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use contestants::{
    BARE, Contestant, DRIVER, EXAMPLE, FIRST_BARE, FIRST_DRIVER, FIRST_USED, INIT, TRUE,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [group, driver, example, rounds] = arguments.as_slice() else {
        anyhow::bail!(
            "bench-driver takes a volume group, the driver, the example's script and a number of rounds"
        );
    };
    let rounds: usize = rounds.parse().context("how many rounds?")?;
    ensure!(rounds > 0, "no rounds, no medians");
    let contestants = contestants::all(group, driver, example)?;
    let times = race(&contestants, rounds)?;
    contestants::remove(group)?;
    print(&contestants, &times);
    Ok(())
}

/// So many rounds, after one that does not count: whatever is read for the first time is then in
/// memory.
fn race(contestants: &[Contestant], rounds: usize) -> Result<Vec<Vec<Duration>>> {
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        // Nobody is always the one who comes after mkfs.
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let contestant = &contestants[index];
            contestant
                .prepare()
                .with_context(|| format!("before {}", contestant.name))?;
            let time = clock::time(&contestant.lines)?;
            contestant.finish()?;
            if round > 0 {
                times[index].push(time);
            }
        }
    }
    for times in &mut times {
        times.sort();
    }
    Ok(times)
}

fn print(contestants: &[Contestant], times: &[Vec<Duration>]) {
    let rounds = times[0].len();
    println!(
        "{:44} {:>9} {:>19}",
        format!("{rounds} rounds, milliseconds"),
        "median",
        "middle half"
    );
    for (contestant, times) in contestants.iter().zip(times) {
        let at = |part: usize| millis(times[(times.len() - 1) * part / 4]);
        println!(
            "{:44} {:9.2} {:8.2} to {:7.2}",
            contestant.name,
            at(2),
            at(1),
            at(3)
        );
    }
    let ratio = |one: usize, other: usize| {
        let median = |index: usize| millis(times[index][(rounds - 1) / 2]);
        (median(one) / median(other) * 1000.0).round() / 1000.0
    };
    println!(
        "first mount on space that was used before: {} times the programs",
        ratio(FIRST_USED, FIRST_BARE)
    );
    println!(
        r#"{{"init_vs_true":{},"mount_vs_bare":{},"mount_vs_bash":{},"first_mount_vs_bare":{}}}"#,
        ratio(INIT, TRUE),
        ratio(DRIVER, BARE),
        // How many times as long the script takes.
        ratio(EXAMPLE, DRIVER),
        ratio(FIRST_DRIVER, FIRST_BARE)
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
