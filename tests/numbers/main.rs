//! `numbers [--check]`: figures about the shape of the code, each next to the figure to reach.
//! `make lint` runs it with `--check`, which fails if an enforced figure (marked `*`) is missed.
//!
//! Counts non-test code of the product's crates: files below `src`, without `tests.rs`, folders
//! `tests` and modules under `#[cfg(test)]`. [`source`] reads it, [`rooms`] orders its modules. Rules
//! about files hold for tests, too: see [`files`].

mod files;
mod rooms;
mod source;

use std::process::ExitCode;

use anyhow::{Context, Result};
use files::File;
use source::Crate;

/// The product's crates.
const CRATES: [&str; 10] = [
    "crds",
    "device-path",
    "flexvolume",
    "host",
    "placement",
    "storage-model",
    "driver",
    "operator",
    "kubectl-flexlvm",
    "tests/harness",
];

/// The folders with Rust files.
const FOLDERS: [&str; 10] = [
    "crds",
    "device-path",
    "flexvolume",
    "host",
    "placement",
    "storage-model",
    "driver",
    "operator",
    "kubectl-flexlvm",
    "tests",
];

/// The most lines of a file.
const FILE_LINES: usize = 400;

/// The most lines of a function, from its signature to its end. clippy's `too_many_lines`, which
/// does not count comments and blank lines, applies to tests, too.
const FUNCTION_LINES: usize = 60;

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
    let files = files::read(root, &FOLDERS)?;
    for figure in figures(&crates, &files) {
        let is_missed = figure.found > figure.at_most;
        let mark = if figure.is_enforced { "*" } else { " " };
        let verdict = if is_missed { "  missed" } else { "" };
        println!(
            "{mark} {:<50} {:>7.1} of at most {:>5}{verdict}",
            figure.what, figure.found, figure.at_most
        );
        if checks && is_missed {
            is_reached &= !figure.is_enforced;
            for place in &figure.places {
                println!("    {place}");
            }
        }
    }
    Ok(is_reached)
}

impl Figure {
    fn new(what: &str, found: f64, at_most: f64) -> Self {
        Self {
            what: what.to_owned(),
            found,
            at_most,
            is_enforced: false,
            places: Vec::new(),
        }
    }

    /// An enforced figure; the places are those that miss it.
    fn enforced(what: &str, found: f64, at_most: usize, places: Vec<String>) -> Self {
        Self {
            is_enforced: true,
            places,
            ..Self::new(what, found, at_most as f64)
        }
    }

    /// An enforced figure that counts places, of which there may be none.
    fn none(what: &str, places: Vec<String>) -> Self {
        Self::enforced(what, places.len() as f64, 0, places)
    }
}

fn figures(crates: &[Crate], files: &[File]) -> Vec<Figure> {
    let mut all = sizes(crates);
    all.extend(rules_of_files(files));
    all.extend(constructs(crates));
    all.push(Figure::none(
        "type names defined twice in a crate",
        crates.iter().flat_map(repeated_types).collect(),
    ));
    all.push(Figure::none(
        "lines over 100 columns, without strings and links",
        crates.iter().flat_map(|it| it.long_lines.clone()).collect(),
    ));
    for it in crates {
        if ["driver", "operator", "host"].contains(&it.name.as_str()) {
            let what = format!("imports that point upward: {}", it.name);
            all.push(Figure::new(&what, rooms::upward(&it.imports) as f64, 4.0));
        }
    }
    all
}

/// How long functions and files are, in lines.
fn sizes(crates: &[Crate]) -> Vec<Figure> {
    let mut functions: Vec<usize> = Vec::new();
    let mut files: Vec<usize> = Vec::new();
    let mut long_functions = Vec::new();
    for it in crates {
        files.extend(&it.files);
        for function in &it.functions {
            functions.push(function.lines);
            if function.lines > FUNCTION_LINES {
                long_functions.push(format!("{} ({} lines)", function.place, function.lines));
            }
        }
    }
    functions.sort_unstable();
    files.sort_unstable();
    vec![
        Figure::new("function length, median", quantile(&functions, 50), 9.0),
        Figure::new("function length, 90 %", quantile(&functions, 90), 30.0),
        Figure::enforced(
            "function length, longest",
            quantile(&functions, 100),
            FUNCTION_LINES,
            long_functions,
        ),
        Figure::new("file length, median", quantile(&files, 50), 150.0),
    ]
}

/// What holds for every Rust file, tests included.
fn rules_of_files(files: &[File]) -> Vec<Figure> {
    let longest = files.iter().map(|file| file.lines).max();
    let long_files = files.iter().filter(|file| file.lines > FILE_LINES);
    let undescribed = files.iter().filter(|file| !file.is_described);
    vec![
        Figure::enforced(
            "file length, longest, tests included",
            longest.unwrap_or_default() as f64,
            FILE_LINES,
            long_files
                .map(|file| format!("{} ({} lines)", file.path, file.lines))
                .collect(),
        ),
        Figure::none(
            "files whose first line does not describe them",
            undescribed.map(|file| file.path.clone()).collect(),
        ),
    ]
}

/// How often the code uses what the style rules limit.
fn constructs(crates: &[Crate]) -> Vec<Figure> {
    let lines: usize = crates.iter().flat_map(|it| &it.files).sum();
    let thousands = lines as f64 / 1000.0;
    let sum = |count: fn(&Crate) -> usize| crates.iter().map(count).sum::<usize>() as f64;
    let closures = sum(|it| it.closures) / thousands;
    let tuple_lets = sum(|it| it.tuple_lets) / thousands;
    vec![
        Figure::new("named closures per 1,000 lines", closures, 2.0),
        Figure::new("tuple lets per 1,000 lines", tuple_lets, 1.0),
        Figure::new("Result<_, String>", sum(|it| it.string_errors), 0.0),
        Figure::new(
            "device numbers as (u32, u32)",
            sum(|it| it.number_pairs),
            0.0,
        ),
    ]
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
