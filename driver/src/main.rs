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
    let (reply, note) = catch_panics(|| run(&args, &Node::current(&system)));
    // Nothing useful can be done if stdout is closed.
    let _ = writeln!(std::io::stdout(), "{}", reply.to_json());
    log::write(&log::Line::new(
        &args,
        &reply,
        note.as_deref(),
        begun.elapsed(),
    ));
    ExitCode::SUCCESS
}
