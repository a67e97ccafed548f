//! `mount <folder> <options>`: a volume's data appear in a pod's folder. The common case runs no program. Called by the
//! kubelet for every pod anew, perhaps several times, and for several pods at once.

use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use host::filesystem::{self, Make, MkfsOptions};
use host::mount::{Place, Request};
use host::mountinfo::Mount;
use host::superblock::{self, Superblock};
use host::{Bytes, Device, Error as HostError, FreshMark, Kind};

use crate::error::Error;
use crate::folder::Folder;
use crate::node::Node;
use crate::options::{self, Options};
use crate::plan::{self, Step};
use crate::{mkfs_options, mount_options};

/// A file system may leave so much of its device unused, and can't grow by less: the fresh mark's place, and what is too
/// little for another of ext4's block groups.
const LEFT_OVER: Bytes = Bytes(32 << 20);

/// The most that mkfs and the growth of a file system may take.
const MKFS_TIME: Duration = Duration::from_secs(90);

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
    let request = Request { source: &source, fs: options.filesystem, flags, data, read_only };
    prepare(node, &options, &device, &mark, &mkfs_options, read_only)?;
    host::mount::mount(&request, Place { folder: &path, top: &top })?;
    if let Err(error) = verify(node, &folder, &device, read_only) {
        return Err(roll_back(&folder, error).into());
    }
    Ok(if read_only { None } else { grow(node, &options, &device, &folder) })
}

/// Something is mounted already: a call that was repeated, if it is this volume.
fn already(
    node: &Node<'_>,
    options: &Options,
    folder: &Folder,
    there: &Mount,
    request: &Request<'_>,
) -> Result<Option<String>, Error> {
    let same = node.device(&options.volume)?.is_some_and(|device| is_of(there, &device));
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

/// Whether this mount shows the whole of what is on this device.
pub(crate) fn is_of(mount: &Mount, device: &Device) -> bool {
    mount.device == device.number() && mount.root.as_os_str() == "/"
}

/// Sees to it that the device carries the file system that is wanted, or refuses.
fn prepare(
    node: &Node<'_>,
    options: &Options,
    device: &Device,
    mark: &FreshMark,
    mkfs_options: &MkfsOptions,
    read_only: bool,
) -> Result<(), Error> {
    let wanted = options.filesystem;
    let says = mark.read(device.file())?;
    let look = first_look(device)?;
    if plan::is_ready(says, look.map(|look| look.fs), wanted) {
        return Ok(());
    }
    let found = filesystem::probe(node, device.file(), &device.path())?;
    let used = look.is_some_and(|look| look.used);
    let refused = |source| Error::Refused { volume: volume(options), source };
    match plan::plan(says, &found, used, wanted, read_only).map_err(refused)? {
        Step::Mount => Ok(()),
        // The mark is the only way to a file system: it doesn't go on one program's word.
        Step::ClearMark if look.is_none() => {
            let detail = format!("{wanted} on {}, where none is to be seen", volume(options));
            Err(HostError::Answer { program: "blkid".to_owned(), detail }.into())
        }
        Step::ClearMark => Ok(mark.clear(&device.claim()?)?),
        Step::Format => Ok(format(node, options, device, mark, mkfs_options)?),
    }
}

/// Makes the file system. Each step is on the disk before the next begins, so that a call cut short is carried on by the
/// next, and the mark is gone before anybody can write.
fn format(
    node: &Node<'_>,
    options: &Options,
    device: &Device,
    mark: &FreshMark,
    mkfs_options: &MkfsOptions,
) -> Result<(), HostError> {
    // Exclusive: not while it is mounted anywhere, or a mkfs that outlived its driver works on it. mkfs has to have
    // it to itself, too, so it is given back in between; the lock is held all the time.
    mark.begin(&device.claim()?)?;
    let (path, size) = (device.path(), mark.filesystem_size());
    let make = Make { path: &path, size, options: mkfs_options, time: MKFS_TIME };
    filesystem::make(node, options.filesystem, &make)?;
    let claimed = device.claim()?;
    claimed.sync_all().map_err(HostError::io("flush", device.mapper_path()))?;
    let result = first_look(device)?.map(|look| look.fs);
    if result != Some(options.filesystem) {
        let detail = format!("success, and there is no {} on {}", options.filesystem, volume(options));
        return Err(HostError::Answer { program: "mkfs".to_owned(), detail });
    }
    mark.clear(&claimed)
}

/// The file system on the device, by its first bytes.
pub(crate) fn first_look(device: &Device) -> Result<Option<Superblock>, HostError> {
    let mut start = vec![0; superblock::LENGTH];
    device.file().read_exact_at(&mut start, 0).map_err(HostError::io("read", device.mapper_path()))?;
    Ok(superblock::parse(&start))
}

/// Whether what is mounted now is what was meant: names can change between a look and a mount.
fn verify(node: &Node<'_>, folder: &Folder, device: &Device, read_only: bool) -> Result<(), HostError> {
    let there = node.mounted(folder)?;
    let right = there
        .as_ref()
        .is_some_and(|there| is_of(there, device) && (there.read_only || there.fs_read_only || !read_only));
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

/// Grows the file system if the volume has grown since. A volume that is too small for a while is better than a pod that
/// doesn't start: what went wrong is returned for the log, and the kubelet's `expandfs` says it to the user.
fn grow(node: &Node<'_>, options: &Options, device: &Device, folder: &Folder) -> Option<String> {
    let attempt = || -> Result<(), HostError> {
        let size = device.size()?;
        let used = first_look(device)?.map_or(size, |look| look.size);
        if size.0.saturating_sub(used.0) < LEFT_OVER.0 {
            return Ok(());
        }
        filesystem::grow(node, options.filesystem, &device.path(), folder.path(), MKFS_TIME)
    };
    attempt().err().map(|error| format!("the file system did not grow: {}", host::error::chain(&error)))
}

fn volume(options: &Options) -> String {
    format!("{}/{}", options.volume.group, options.volume.volume)
}
