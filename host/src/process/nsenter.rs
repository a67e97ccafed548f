//! Runs work in the host's namespaces: a thread enters those of process 1, and all programs that it
//! starts are in them, too.
//!
//! The rest of the agent stays in its container. Work on the host may hang with one of its disks,
//! so the wait for it has a limit.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{io, thread};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// The mount namespace for the programs and `/dev`; the UTS namespace because LVM compares the
/// host's name with a group's owner; IPC because udev's cookies, by which LVM waits for device
/// nodes, are semaphores. Mounts last, since `/proc` changes with them.
const NAMESPACES: [(&str, LinkNameSpaceType); 3] = [
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("mnt", LinkNameSpaceType::Mount),
];

/// Runs `work` in the host's namespaces; returns `None` at the time limit.
///
/// After a timeout, `work` may still be running.
///
/// # Errors
/// When the host's namespaces can't be entered; `work` was not run then.
pub(super) fn nsenter<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let hint = "the pod needs hostPID, and its container must be privileged";
    let (sender, done) = mpsc::channel();
    thread::Builder::new().spawn(move || sender.send(enter().map(|()| work())))?;
    match done.recv_timeout(time) {
        Ok(result) => result.map(Some).map_err(|error| {
            io::Error::other(format!(
                "the host's namespaces can't be entered: {error} ({hint})"
            ))
        }),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other(
            "the thread that starts the program has ended",
        )),
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe because of other flags, which share more than the root"
)]
fn enter() -> io::Result<()> {
    let links = NAMESPACES
        .into_iter()
        .map(|(name, kind)| Ok((File::open(format!("/proc/1/ns/{name}"))?, kind)))
        .collect::<io::Result<Vec<_>>>()?;
    // Root and working folder change with the mount namespace, which the kernel refuses while other
    // threads share them.
    rustix::thread::unshare(UnshareFlags::FS)?;
    for (link, kind) in links {
        move_into_link_name_space(link.as_fd(), Some(kind))?;
    }
    Ok(())
}
