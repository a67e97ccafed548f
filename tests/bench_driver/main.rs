//! `bench-driver GROUP DRIVER EXAMPLE ROUNDS`: in a guest, measures the cost of the driver compared
//! with bare programs and the script of the Kubernetes LVM example.
//!
//! Each round times each subject once, so that a slow phase of the machine affects all of them; the
//! results are ratios of medians. The last line of output is one JSON object. Called by
//! `tests/bench-driver`.

mod clock;
mod subjects;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use subjects::{BARE, DRIVER, EXAMPLE, FIRST_BARE, FIRST_DRIVER, FIRST_USED, INIT, Subject, TRUE};

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
        anyhow::bail!("usage: bench-driver GROUP DRIVER EXAMPLE ROUNDS");
    };
    let rounds: usize = rounds.parse().context("ROUNDS is not a number")?;
    ensure!(rounds > 0, "ROUNDS must be positive");
    let subjects = subjects::all(group, driver, example)?;
    let times = measure(&subjects, rounds)?;
    subjects::remove(group)?;
    print(&subjects, &times);
    Ok(())
}

/// Runs the rounds, after an uncounted one that fills the caches.
fn measure(subjects: &[Subject], rounds: usize) -> Result<Vec<Vec<Duration>>> {
    let mut times = vec![Vec::with_capacity(rounds); subjects.len()];
    for round in 0..=rounds {
        // The order rotates, so that mkfs does not always precede the same subject.
        for turn in 0..subjects.len() {
            let index = (round + turn) % subjects.len();
            let subject = &subjects[index];
            subject
                .prepare()
                .with_context(|| format!("before {}", subject.name))?;
            let time = clock::time(&subject.lines)?;
            subject.finish()?;
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

fn print(subjects: &[Subject], times: &[Vec<Duration>]) {
    let rounds = times[0].len();
    println!(
        "{:44} {:>9} {:>19}",
        format!("{rounds} rounds, milliseconds"),
        "median",
        "middle half"
    );
    for (subject, times) in subjects.iter().zip(times) {
        let at = |part: usize| millis(times[(times.len() - 1) * part / 4]);
        println!(
            "{:44} {:9.2} {:8.2} to {:7.2}",
            subject.name,
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
        // The script's time as a multiple of the driver's.
        ratio(EXAMPLE, DRIVER),
        ratio(FIRST_DRIVER, FIRST_BARE)
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
