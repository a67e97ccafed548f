//! `mount <folder> <options>`: a volume's data appear in a pod's folder. The common case runs no program. Called by the
//! kubelet for every pod anew, perhaps several times, and for several pods at once.

use std::ffi::OsStr;

use host::mount::{Place, Request};
use host::mounted::shows_all_of;
use host::mountinfo::Mount;
use host::{Device, Error as HostError, FreshMark, Kind};

use crate::error::Error;
use crate::folder::Folder;
use crate::grow::grow_if_larger;
use crate::node::Node;
use crate::options::{self, Options};
use crate::prepare::{Preparation, prepare};
use crate::twin::mount_beside_twin;
use crate::{mkfs_options, mount_options};

/// Mounts the volume. What is worth a word in the log, though all went well, is returned.
///
/// # Errors
/// When the volume is not mounted; then nothing of the attempt is left.
pub(crate) fn mount(node: &Node<'_>, folder: &OsStr, options: &str) -> Result<Option<String>, Error> {
    let options = options::parse(options)?;
    let mount_options = mount_options::parse(options.filesystem, &options.volume.mount)?;
    let mkfs_options = mkfs_options::parse(options.filesystem, &options.volume.mkfs)?;
    let mark = FreshMark::new(&options.volume.uuid, options.volume.size)?;
    let Some(folder) = Folder::open(folder)? else {
        let message = format!("there is no folder {}", folder.display());
        return Err(HostError::refused(Kind::NotFound, message).into());
    };
    let target = folder.target()?;
    let _lock = node.lock(&options.volume.uuid)?;
    let read_only = options.read_only || mount_options.read_only;
    let (flags, data) = (mount_options.flags, mount_options.data.as_str());
    let (top, path) = (folder.top(), target.path());
    if let Some(there) = node.mounted(&folder)? {
        let source = there.source.clone();
        let request = Request { source: &source, fs: options.filesystem, flags, data, read_only };
        return already(node, &options, &folder, &there, &request);
    }
    let device = node.active_device(&options.volume)?;
    let source = device.mapper_path();
    let further = prepare(
        node,
        &Preparation {
            volume: &format!("{}/{}", options.volume.group, options.volume.volume),
            device: &device,
            mark: &mark,
            fs: options.filesystem,
            mkfs_options: &mkfs_options,
            fsck: options.volume.fsck,
            read_only,
            may_format: !read_only,
        },
    )?;
    let request = Request { source: &source, fs: options.filesystem, flags: flags | further, data, read_only };
    mount_beside_twin(node, &device, &request, Place { folder: &path, top: &top })?;
    if let Err(error) = verify(node, &folder, &device, read_only) {
        return Err(roll_back(&folder, error).into());
    }
    Ok(if read_only { None } else { grow_if_larger(node, options.filesystem, &device, folder.path()) })
}

/// Something is mounted already: a call that was repeated, if it is this volume.
fn already(
    node: &Node<'_>,
    options: &Options,
    folder: &Folder,
    there: &Mount,
    request: &Request<'_>,
) -> Result<Option<String>, Error> {
    let same = node.device(&options.volume)?.is_some_and(|device| shows_all_of(&node.roots, there, &device));
    let refused = |message| Err(HostError::refused(Kind::Exists, message).into());
    if !same {
        let (path, source) = (folder.path().display(), there.source.display());
        return refused(format!("something else is mounted on {path} already: {source} ({})", there.fs));
    }
    match (request.read_only, there.read_only || there.fs_read_only) {
        (false, true) => refused(format!("the volume is mounted on {} already, read-only", folder.path().display())),
        // The call before was cut short between the mount and this.
        (true, false) => {
            host::mount::make_read_only(request, &folder.top())?;
            Ok(None)
        }
        (false, false) | (true, true) => Ok(None),
    }
}

/// Whether what is mounted now is what was meant: names can change between a look and a mount.
fn verify(node: &Node<'_>, folder: &Folder, device: &Device, read_only: bool) -> Result<(), HostError> {
    let there = node.mounted(folder)?;
    let right = there.as_ref().is_some_and(|there| {
        shows_all_of(&node.roots, there, device) && (there.read_only || there.fs_read_only || !read_only)
    });
    if right {
        return Ok(());
    }
    let message = format!("{} was mounted, and something else is seen: {there:?}", device.mapper_path().display());
    Err(HostError::refused(Kind::Failed, message))
}

fn roll_back(folder: &Folder, error: HostError) -> HostError {
    match host::mount::unmount_all(&folder.top(), folder.path()) {
        Ok(_) => error,
        Err(left) => {
            let message = format!("{}; and what was mounted is still there: {left}", host::error::chain(&error));
            HostError::refused(Kind::Failed, message)
        }
    }
}
