//! The driver's program: arguments in, exactly one JSON object out, exit status always 0.
//!
//! The kubelet reads stdout and stderr as one, and logs all arguments of a call that ends with
//! another status.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use driver::{Node, catch_panics, log, run};
use host::System;

fn main() -> ExitCode {
    let begun = Instant::now();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let system = System::current();
    let outcome = catch_panics(|| run(&args, &Node::current(&system)));
    // Nothing useful can be done if stdout is closed.
    let _ = writeln!(std::io::stdout(), "{}", outcome.reply.to_json());
    log::write(&log::Line::new(
        &args,
        &outcome.reply,
        outcome.note.as_ref(),
        begun.elapsed(),
    ));
    ExitCode::SUCCESS
}
