//! `numbers [--check]`: figures about the shape of the code, each next to the figure to reach.
//! `make lint` runs it with `--check`, which fails if an enforced figure (marked `*`) is missed.
//!
//! Counts non-test code of the product's crates: files below `src`, without `tests.rs`, folders
//! `tests` and modules under `#[cfg(test)]`. [`source`] reads it, [`rooms`] orders its modules.

mod rooms;
mod source;

use std::process::ExitCode;

use anyhow::{Context, Result};
use source::Crate;

/// The product's crates.
const CRATES: [&str; 7] = [
    "crds",
    "flexvolume",
    "host",
    "placement",
    "driver",
    "operator",
    "tests/harness",
];

/// Type names that each module may define for itself, because they are a written convention.
const CONVENTIONS: [&str; 1] = ["Step"];

/// One figure.
struct Figure {
    what: String,
    found: f64,
    at_most: f64,
    is_enforced: bool,
    /// Where the hits are, for a figure that is missed.
    places: Vec<String>,
}

fn main() -> ExitCode {
    match run(std::env::args().any(|argument| argument == "--check")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the figures; false if `checks` and an enforced one is missed.
fn run(checks: bool) -> Result<bool> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let crates = CRATES
        .iter()
        .map(|name| Crate::read(root, name).with_context(|| format!("reading crate {name}")))
        .collect::<Result<Vec<_>>>()?;
    let mut is_reached = true;
    for figure in figures(&crates) {
        let is_missed = figure.found > figure.at_most;
        let mark = if figure.is_enforced { "*" } else { " " };
        let verdict = if is_missed { "  missed" } else { "" };
        println!(
            "{mark} {:<44} {:>7.1} of at most {:>5}{verdict}",
            figure.what, figure.found, figure.at_most
        );
        if checks && is_missed && figure.is_enforced {
            is_reached = false;
            for place in &figure.places {
                println!("    {place}");
            }
        }
    }
    Ok(is_reached)
}

fn figures(crates: &[Crate]) -> Vec<Figure> {
    let figure = |what: &str, found: f64, at_most: f64| Figure {
        what: what.to_owned(),
        found,
        at_most,
        is_enforced: false,
        places: Vec::new(),
    };
    let lines: usize = crates
        .iter()
        .flat_map(|it| &it.files)
        .map(|file| file.lines)
        .sum();
    let per_thousand = |count: usize| count as f64 * 1000.0 / lines as f64;
    let sum = |count: fn(&Crate) -> usize| crates.iter().map(count).sum::<usize>();
    let mut functions: Vec<usize> = crates
        .iter()
        .flat_map(|it| it.functions.iter().map(|function| function.lines))
        .collect();
    let mut files: Vec<usize> = crates
        .iter()
        .flat_map(|it| it.files.iter().map(|file| file.lines))
        .collect();
    functions.sort_unstable();
    files.sort_unstable();

    let mut all = vec![
        figure(
            "named closures per 1,000 lines",
            per_thousand(sum(|it| it.closures)),
            2.0,
        ),
        figure(
            "tuple lets per 1,000 lines",
            per_thousand(sum(|it| it.tuple_lets)),
            1.0,
        ),
        figure("function length, median", quantile(&functions, 50), 9.0),
        figure("function length, 90 %", quantile(&functions, 90), 30.0),
        figure("function length, longest", quantile(&functions, 100), 60.0),
        figure("file length, median", quantile(&files, 50), 150.0),
        figure("file length, longest", quantile(&files, 100), 400.0),
        figure("Result<_, String>", sum(|it| it.string_errors) as f64, 0.0),
        figure(
            "device numbers as (u32, u32)",
            sum(|it| it.number_pairs) as f64,
            0.0,
        ),
    ];
    let repeated: Vec<String> = crates.iter().flat_map(repeated_types).collect();
    all.push(Figure {
        is_enforced: true,
        places: repeated.clone(),
        ..figure(
            "type names defined twice in a crate",
            repeated.len() as f64,
            0.0,
        )
    });
    for name in ["driver", "operator", "host"] {
        let upward = crates
            .iter()
            .find(|it| it.name == name)
            .map(|it| rooms::upward(&it.imports));
        all.push(figure(
            &format!("imports that point upward: {name}"),
            upward.unwrap_or(0) as f64,
            4.0,
        ));
    }
    all
}

/// The type names that a crate defines more than once, with the files.
fn repeated_types(it: &Crate) -> Vec<String> {
    let counted = it
        .types
        .iter()
        .filter(|(name, _)| !CONVENTIONS.contains(&name.as_str()));
    counted
        .filter(|(_, files)| files.len() > 1)
        .map(|(name, files)| format!("{}: {name} in {}", it.name, files.join(", ")))
        .collect()
}

/// The value below which `percent` of the sorted values lie.
fn quantile(sorted: &[usize], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(0) as f64
}
