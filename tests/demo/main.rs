//! `make demo`: creates a cluster of two nodes, provisions a claim with data step by step, and
//! removes everything again.
//!
//! The last line of output is one JSON object.

mod output;
mod scenario;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use harness::isolation;
use harness::network;
use harness::remote::{Call, Remote};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["shell", number] => return shell(number).unwrap_or_else(|error| failure(&error)),
        [] if !isolation::is_inside() => {
            if let Err(error) = prepare() {
                return failure(&error);
            }
        }
        _ => {}
    }
    harness::main(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(scenario::run())?;
        Ok(ExitCode::SUCCESS)
    })
}

fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

/// Prepares the machine, before the cluster's namespaces exist: packages, Kubernetes, the image.
fn prepare() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    output::step_blocking("packages and Kubernetes are installed", || {
        run(Command::new(root.join("tests/cluster/prepare")).args(["build", "image", "cluster"]))
    })?;
    output::step_blocking("the image is built", || {
        run(&mut Command::new(root.join("image/build")))
    })
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "{} failed", program.display());
    Ok(())
}

/// Runs a shell on a node of a demo that was kept; the caller has entered its network.
fn shell(number: &str) -> Result<ExitCode> {
    let number: u8 = number.parse().context("which node? 1 or 2")?;
    let call = Call::new(["sh", "-i"]);
    let remote = Remote::new(network::node_address(number));
    let status = remote.stream(
        &call,
        std::io::stdin(),
        &mut std::io::stdout(),
        &mut std::io::stderr(),
    )?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}
