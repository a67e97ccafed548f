//! Prints a report in the format that the user selects.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;

/// Format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The report as JSON.
    Json,
    /// The report as YAML.
    Yaml,
    /// Text with further columns.
    Wide,
    /// The names of the objects in the report, as in `logicalvolume.flexlvm.dev/NAME`.
    Name,
}

/// What a command has found.
pub trait Report: Serialize {
    /// Returns the report as text; with further columns if `wide`.
    fn text(&self, wide: bool) -> String;

    /// Returns the names of the objects that it is about.
    fn names(&self) -> Vec<String>;

    /// Returns false if the command ends with exit code 1.
    fn is_good(&self) -> bool;
}

/// Returns a report in this format.
///
/// # Errors
/// If it can't be written in that format.
pub fn render(report: &impl Report, format: Option<Format>) -> Result<String> {
    match format {
        None => Ok(report.text(false)),
        Some(Format::Wide) => Ok(report.text(true)),
        Some(Format::Json) => Ok(serde_json::to_string_pretty(report)? + "\n"),
        Some(Format::Yaml) => serde_saphyr::to_string(report).context("writing YAML"),
        Some(Format::Name) => {
            let mut names = report.names();
            names.sort();
            names.dedup();
            Ok(names.into_iter().map(|name| name + "\n").collect())
        }
    }
}

/// Prints text to standard output.
///
/// # Errors
/// If it can't be written. A reader that has ended, as `head`, is no error.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}
