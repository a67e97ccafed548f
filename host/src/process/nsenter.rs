//! The agent's way out of its container: a thread enters the namespaces of process 1, and whatever
//! it starts is there, too. Nothing is started twice, and the rest of the agent stays where it is.
//! Whatever looks at the host may hang with a disk of its: nobody waits for that without end.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{io, thread};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// The mount namespace for the programs and `/dev`; the host's name because LVM compares it with a
/// group's owner; IPC because udev's cookies, by which LVM waits for device nodes, are semaphores.
/// Mounts last: `/proc` changes with them.
const NAMESPACES: [(&str, LinkNameSpaceType); 3] = [
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("mnt", LinkNameSpaceType::Mount),
];

/// Does `work` on the host, and returns what came of it; `None` when it was not done in time. Then
/// it may still be done.
///
/// # Errors
/// When the host can't be entered; `work` was not done then.
pub(super) fn nsenter<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let hint = "does the pod have hostPID, and its container privileged?";
    let outside = |error| {
        io::Error::other(format!(
            "the host's namespaces can't be entered: {error} ({hint})"
        ))
    };
    let (sender, done) = mpsc::channel();
    thread::Builder::new().spawn(move || sender.send(enter().map(|()| work())))?;
    match done.recv_timeout(time) {
        Ok(result) => result.map(Some).map_err(outside),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other(
            "the thread that was to start it has ended",
        )),
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe because of other flags, which share more than the root"
)]
fn enter() -> io::Result<()> {
    let open = |(name, kind)| Ok((File::open(format!("/proc/1/ns/{name}"))?, kind));
    let links = NAMESPACES
        .into_iter()
        .map(open)
        .collect::<io::Result<Vec<_>>>()?;
    // Root and working folder change with the mounts, which they can't while other threads have the
    // same ones.
    rustix::thread::unshare(UnshareFlags::FS)?;
    for (link, kind) in links {
        move_into_link_name_space(link.as_fd(), Some(kind))?;
    }
    Ok(())
}
