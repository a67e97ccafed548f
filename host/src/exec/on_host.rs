//! The agent's way out of its container: a thread enters the namespaces of process 1, and whatever it starts is there, too.
//! Nothing is started twice, and the rest of the agent stays where it is. Called by [`System`](super::System).

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::thread::apart;

/// The mount namespace for the programs and `/dev`; the host's name because LVM compares it with a group's owner; IPC
/// because udev's cookies, by which LVM waits for device nodes, are semaphores. Mounts last: `/proc` changes with them.
const NAMESPACES: [(&str, LinkNameSpaceType); 3] = [
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("mnt", LinkNameSpaceType::Mount),
];

/// Does `work` on the host. It waits for what it starts.
///
/// # Errors
/// When the host can't be entered; `work` was not done then.
pub(super) fn on_host<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let hint = "does the pod have hostPID, and its container privileged?";
    let outside = |error| io::Error::other(format!("the host's namespaces can't be entered: {error} ({hint})"));
    apart(|| enter().map(|()| work()))?.map_err(outside)
}

#[expect(deprecated, reason = "what replaces it is unsafe because of other flags, which share more than the root")]
fn enter() -> io::Result<()> {
    let open = |(name, kind)| Ok((File::open(format!("/proc/1/ns/{name}"))?, kind));
    let links = NAMESPACES.into_iter().map(open).collect::<io::Result<Vec<_>>>()?;
    // Root and working folder change with the mounts, which they can't while other threads have the same ones.
    rustix::thread::unshare(UnshareFlags::FS)?;
    for (link, kind) in links {
        move_into_link_name_space(link.as_fd(), Some(kind))?;
    }
    Ok(())
}
