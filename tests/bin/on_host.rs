//! `on-host on-host PROGRAM ARGUMENT…`: what the agent starts itself for, to run a program of its node, without the rest of it:
//! it takes a guest a tenth of the time to start.

use std::process::ExitCode;

fn main() -> ExitCode {
    host::exec::on_host::run_if_asked(std::env::args_os()).unwrap_or(ExitCode::FAILURE)
}
