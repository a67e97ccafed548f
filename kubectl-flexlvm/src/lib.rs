//! `kubectl flexlvm`: explains what FlexLVM does in a cluster, and finds faults.
//!
//! Each command reads a snapshot of the cluster once, and computes a report from it. Placement and
//! the reading of claims, classes and backends are the controller's own (crate `placement`).
//!
//! In reading order:
//!
//! - [`cli`], [`run`], [`connect`]: command line, commands, the API server.
//! - [`snapshot`]: the objects that concern FlexLVM, without secrets.
//! - [`explain`]: the chain from a claim to its pods.
//! - [`status`]: backends, nodes and volumes on one screen.
//! - [`doctor`]: the table of faults.
//! - [`tree`], [`capacity`], [`orphans`], [`bundle`]: the further commands that change nothing.
//! - [`adopt`], [`release_node`]: make Adoptions, and release the claims of a lost node.
//! - [`objects`], [`output`], [`table`], [`progress`]: facts about objects, formats, columns, bars.

pub mod adopt;
pub mod bundle;
pub mod capacity;
pub mod cli;
pub mod connect;
pub mod doctor;
pub mod explain;
#[cfg(test)]
mod fixture;
pub mod objects;
pub mod orphans;
pub mod output;
pub mod progress;
pub mod release_node;
pub mod run;
#[cfg(test)]
mod scale;
pub mod snapshot;
pub mod status;
pub mod table;
pub mod tree;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

/// Runs the command line of the process. A function, so that a test can start the same program.
#[must_use]
pub fn main() -> ExitCode {
    match start(cli::Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nothing useful can be done if standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: cli::Cli) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    runtime.block_on(run::run(cli))
}
