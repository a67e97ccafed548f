//! `in-guest [--disks MIB,MIB…] [--memory MIB] PROGRAM ARGUMENT…`: runs a program of the host in
//! a new guest with real LVM, and exits with its status.
//!
//! Called by hand, and by cargo as the runner of the node tests.

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result};
use harness::guest::{Hardware, run_in_guest};
use harness::remote::Call;

fn main() -> ExitCode {
    harness::main(|| {
        let status = run()?;
        Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
    })
}

fn run() -> Result<i32> {
    let mut hardware = Hardware::default();
    let mut arguments = env::args().skip(1).peekable();
    while let Some(option) = arguments.next_if(|argument| argument.starts_with("--")) {
        let value = arguments
            .next()
            .with_context(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--disks" => {
                hardware.disks_mib = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            "--memory" => hardware.memory_mib = value.parse()?,
            _ => anyhow::bail!("{option} is not an option: use --disks MIB,MIB… or --memory MIB"),
        }
    }
    let mut call = Call::new(arguments);
    anyhow::ensure!(
        !call.arguments.is_empty(),
        "in-guest needs a program to run"
    );
    // The guest has the caller's files at the same paths, except the folder for temporary files,
    // which is its own.
    call.environment = env::vars().filter(|(name, _)| name != "TMPDIR").collect();
    call.folder = Some(env::current_dir()?.display().to_string());
    run_in_guest(&hardware, &call)
}
