//! Before a device is mounted: it carries the file system that is wanted, or it is refused.

use std::fs::File;
use std::time::Duration;

use flexvolume::option_lists::fsck_policy::Fsck;
use host::block::sysfs::is_read_only;
use host::fs::{self, MkfsOptions, MkfsRequest};
use host::mount::Flags;
use host::{Device, Error as HostError, Filesystem, FormatMarker, FormatMarkerBlock};

use crate::error::Error;
use crate::mounting::fsck;
use crate::mounting::plan::{self, FsckPlan, Refusal, Step};
use crate::volume::context::Node;

/// The most that mkfs may take.
const MKFS_TIME: Duration = Duration::from_secs(90);

/// What is to be prepared, and for what.
pub(crate) struct Preparation<'a> {
    /// `<group>/<name>`, for messages.
    pub(crate) volume: &'a str,
    /// The device, active.
    pub(crate) device: &'a Device,
    /// Where its format marker is.
    pub(crate) mark: &'a FormatMarkerBlock,
    /// The file system that is wanted.
    pub(crate) fs: Filesystem,
    /// Options for mkfs.
    pub(crate) mkfs_options: &'a MkfsOptions,
    /// Whether it is checked, where it asks for that.
    pub(crate) fsck: Fsck,
    /// Whether nothing on the device may change.
    pub(crate) read_only: bool,
    /// Whether a file system may be made where there is none yet.
    pub(crate) may_format: bool,
}

/// Sees to it that the device carries the file system that is wanted, or refuses. Returns with
/// which further flags it is to be mounted.
///
/// # Errors
/// When it doesn't, and can't be made to.
pub(crate) fn prepare(node: &Node<'_>, task: &Preparation<'_>) -> Result<Flags, Error> {
    let Preparation {
        volume,
        device,
        mark,
        fs: wanted,
        ..
    } = *task;
    let refused = |source| Error::Refused {
        volume: volume.to_owned(),
        source,
    };
    if !task.read_only && is_read_only(&node.roots.sys, device.number())? {
        return Err(refused(Refusal::ReadOnlyVolume));
    }
    let says = mark.read(device.file())?;
    let look = device.superblock()?;
    if !plan::is_ready(says, look.map(|look| look.fs), wanted) {
        // Taken before the look, and kept until the mark says what comes of it: nobody else can use
        // the device meanwhile.
        let claimed = (says != FormatMarker::None && !task.read_only).then(|| device.claim());
        let claim = || claimed.unwrap_or_else(|| device.claim());
        let found = fs::probe(node, device.file(), &device.path(), mark)?;
        let used = look.is_some_and(|look| look.used);
        match plan::plan(says, &found, used, wanted, task.read_only).map_err(refused)? {
            Step::Mount if wanted == Filesystem::Btrfs && look.is_none() => {
                return Err(refused(Refusal::SeveralDevices));
            }
            Step::Mount => {}
            // The mark is the only way to a file system: it doesn't go on one program's word.
            Step::ClearMark if look.is_none() => {
                let detail = format!("{wanted} on {volume}, where none is to be seen");
                return Err(HostError::Answer {
                    program: "blkid".to_owned(),
                    detail,
                }
                .into());
            }
            Step::ClearMark => mark.clear(&claim()?)?,
            Step::Format if !task.may_format => return Err(refused(Refusal::ReadOnly)),
            Step::Format => return Ok(format(node, task, claim()?).map(|()| Flags::empty())?),
        }
    }
    match plan::plan_fsck(
        look.is_some_and(|look| look.unchecked),
        task.fsck,
        task.read_only,
    ) {
        FsckPlan::None => Ok(Flags::empty()),
        FsckPlan::Check => Ok(fsck::check(node, device).map(|()| Flags::empty())?),
        // Mounted writable already, it can't be mounted in another way.
        FsckPlan::NoWriting if fsck::is_claimed(device)? => Ok(Flags::empty()),
        FsckPlan::NoWriting => Ok(Flags::RDONLY),
    }
}

/// Makes the file system. Each step is on the disk before the next begins, so that a call cut short
/// is carried on by the next, and the mark is gone before anybody can write.
fn format(node: &Node<'_>, task: &Preparation<'_>, claimed: File) -> Result<(), HostError> {
    let Preparation {
        device, mark, fs, ..
    } = *task;
    // Exclusive: not while it is mounted anywhere, or a mkfs that outlived its driver works on it.
    // mkfs has to have it to itself, too, so it is given back in between; the lock is held all the
    // time.
    mark.begin(&claimed)?;
    drop(claimed);
    let (path, size) = (device.path(), mark.filesystem_size());
    let make = MkfsRequest {
        path: &path,
        size,
        options: task.mkfs_options,
        time: MKFS_TIME,
    };
    fs::mkfs(node, fs, &make)?;
    let claimed = device.claim()?;
    claimed
        .sync_all()
        .map_err(HostError::io("flush", device.mapper_path()))?;
    let result = device.superblock()?.map(|look| look.fs);
    if result != Some(fs) {
        let detail = format!("success, and there is no {fs} on {}", task.volume);
        return Err(HostError::Answer {
            program: "mkfs".to_owned(),
            detail,
        });
    }
    mark.clear(&claimed)
}
