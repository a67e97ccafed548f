//! The agent's way out of its container: our own binary, started as `<binary> on-host <program> <arguments>`, enters
//! the namespaces of process 1 and becomes the program. Called first thing in the operator's `main`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::system::{command, find};

/// The hidden sub-command.
pub const SUBCOMMAND: &str = "on-host";

/// The exit status that says that the program never ran. No program that we use ends with it.
pub const NOT_STARTED: u8 = 119;

/// The mount namespace for the programs and `/dev`; the host's name because LVM compares it with a group's owner; IPC
/// because udev's cookies, by which LVM waits for device nodes, are semaphores. Mounts last: `/proc` changes with them.
const NAMESPACES: [(&str, LinkNameSpaceType); 3] = [
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("mnt", LinkNameSpaceType::Mount),
];

/// Becomes the program when the arguments of this process (all of them, with its own name) ask for it; that has to be
/// before any thread is started. Returns `None` when they don't, and the exit status when the program can't be run.
pub fn run_if_asked(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    let error = become_program(args);
    // This process is the child that its parent reads: here stderr is the way to say it.
    let _ = writeln!(io::stderr(), "{error}");
    Some(ExitCode::from(NOT_STARTED))
}

fn become_program(mut args: impl Iterator<Item = OsString>) -> io::Error {
    let Some(program) = args.next() else {
        return io::Error::other("no program is named");
    };
    if let Err(error) = enter_host() {
        let hint = "does the pod have hostPID, and its container privileged?";
        return io::Error::other(format!("the host's namespaces can't be entered: {error} ({hint})"));
    }
    match find(&program) {
        Ok(path) => command(&path).args(args).exec(),
        Err(error) => error,
    }
}

fn enter_host() -> io::Result<()> {
    let mut links = Vec::with_capacity(NAMESPACES.len());
    for (name, kind) in NAMESPACES {
        links.push((File::open(format!("/proc/1/ns/{name}"))?, kind));
    }
    for (link, kind) in &links {
        move_into_link_name_space(link.as_fd(), Some(*kind))?;
    }
    std::env::set_current_dir("/")
}
