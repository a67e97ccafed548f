//! The driver's program: arguments in, exactly one JSON object out, exit status 0 whatever happens. The kubelet reads
//! stdout and stderr as one, and logs all arguments of a call that ends with another status.

use std::ffi::OsString;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use driver::{Node, Reply, log, run, volume_of};
use host::System;

/// Where the last panic was.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

fn main() -> ExitCode {
    let begun = Instant::now();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        if let Ok(mut last) = PANIC.try_lock() {
            *last = place;
        }
    }));
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let system = System::here();
    let answer = panic::catch_unwind(AssertUnwindSafe(|| run(&args, &Node::here(&system))));
    let (reply, note) = answer.unwrap_or_else(|_| (broken(), None));
    // Nobody is there to be told that nobody reads this.
    let _ = writeln!(std::io::stdout(), "{}", reply.to_json());
    let call = args.first().and_then(|verb| verb.to_str()).filter(|verb| verb.bytes().all(|b| b.is_ascii_lowercase()));
    log::write(&log::Line {
        call: call.filter(|verb| verb.len() <= 20).unwrap_or("-"),
        volume: volume_of(&args),
        reply: &reply,
        note: note.as_deref(),
        time: begun.elapsed(),
    });
    ExitCode::SUCCESS
}

fn broken() -> Reply {
    let place = PANIC.try_lock().ok().and_then(|mut last| last.take()).unwrap_or_else(|| "an unknown place".to_owned());
    Reply::failure(&format!("the driver broke down at {place}: this is a fault of its own, please report it"))
}
