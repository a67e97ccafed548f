//! Mounts a volume's device on a folder: a pod's own, or the one shared by all pods of this node.
//!
//! The common case runs no program. The kubelet calls this for every pod, possibly several times,
//! and for several pods at once.

use std::ffi::OsStr;

use flexvolume::options;

use crate::error::Error;
use crate::mounting::phases::mount_on;
use crate::mounting::target_dir::FolderScope;
use crate::note::Note;
use crate::volume::context::Node;

/// `mount <folder> <options>`, and `mount <folder> <device> <options>` of old kubelets: on a pod's
/// folder. Returns a note for the log about a deviation that is not a failure.
///
/// # Errors
/// When the volume is not mounted; then a failed attempt leaves nothing.
pub(crate) fn mount(
    node: &Node<'_>,
    folder: &OsStr,
    device: &OsStr,
    options: &str,
) -> Result<Option<Note>, Error> {
    mount_on(
        node,
        folder,
        FolderScope::OnePod,
        device,
        &options::parse(options)?,
    )
}

/// `mountdevice <folder> <device> <options>`: on the folder shared by all pods, of which `mount`
/// then makes bind mounts.
///
/// # Errors
/// As [`mount`].
pub(crate) fn mount_for_all(
    node: &Node<'_>,
    folder: &OsStr,
    device: &OsStr,
    options: &str,
) -> Result<Option<Note>, Error> {
    mount_on(
        node,
        folder,
        FolderScope::AllPods,
        device,
        &options::parse(options)?,
    )
}
