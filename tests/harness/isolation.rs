//! Isolation: runs a cluster in namespaces of its own.
//!
//! No name or address can collide with another, and nothing outlives the program. Called by
//! `harness::main`.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use rustix::process::{WaitOptions, WaitStatus, wait};

use crate::remote;

/// The cluster's folder: a tmpfs that exists only in its mount namespace.
pub const FOLDER: &str = "/run/flexlvm";

/// The first argument that makes the program init of the new namespaces.
const INIT: &str = "--isolated-init";

const INSIDE: &str = "FLEXLVM_ISOLATED";

/// Environment variable with init's process id in the outer PID namespace.
pub const OUTER_PID: &str = "FLEXLVM_OUTER_PID";

/// The main function of a program that starts guests or a cluster: runs `inside` in new namespaces.
///
/// The same binary also serves as their init and as the server in the guests.
pub fn main(inside: impl FnOnce() -> Result<ExitCode>) -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let result = match env::args_os().nth(1) {
        Some(role) if role == INIT => init(arguments.by_ref().skip(1)),
        Some(role) if role == remote::SERVER => remote::server::serve(),
        _ if is_inside() => inside(),
        _ => enter(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

/// Returns true if this process runs in namespaces created by [`enter`].
#[must_use]
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some() && Path::new(FOLDER).is_dir()
}

/// Runs this program again, with the same arguments, in new network, mount, IPC and PID namespaces,
/// and returns its exit code.
///
/// Call it from the main thread: the kernel ties the parent-death signal to the thread.
fn enter() -> Result<ExitCode> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "a cluster needs root: namespaces, tap devices, mounts"
    );
    // A chain of parent-death signals: this program's death kills setpriv's child (unshare), that
    // one's death kills init, and the kernel then kills all processes of the PID namespace.
    let status = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "--mount",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .arg(env::current_exe()?)
        .arg(INIT)
        .args(env::args_os().skip(1))
        .status()
        .context("cannot run setpriv")?;
    Ok(exit_code(status))
}

/// The init process: prepares the namespaces, runs the program proper, and reaps zombies until it
/// ends.
fn init(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    // The old /proc still has our outer process id, which other processes need to enter the
    // namespaces.
    let outer = std::fs::read_link("/proc/self")?;
    mount("proc", "/proc")?;
    mount("tmpfs", "/run")?;
    std::fs::create_dir(FOLDER)?;
    let child = Command::new(env::current_exe()?)
        .args(arguments)
        .env(INSIDE, "1")
        .env(OUTER_PID, outer)
        // User-Mode Linux keeps a guest's memory in a file there.
        .env("TMPDIR", FOLDER)
        .spawn()?;
    loop {
        let Some((pid, status)) = wait(WaitOptions::empty())? else {
            continue;
        };
        if u32::try_from(pid.as_raw_nonzero().get()) == Ok(child.id())
            && !WaitStatus::stopped(status)
        {
            return Ok(exit_code(ExitStatus::from_raw(status.as_raw())));
        }
    }
}

fn mount(kind: &str, target: &str) -> Result<()> {
    let status = Command::new("mount")
        .args(["-t", kind, kind, target])
        .status()?;
    anyhow::ensure!(status.success(), "cannot mount {kind} on {target}");
    Ok(())
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or(status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
