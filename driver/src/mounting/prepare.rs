//! Ensures before a mount that the device carries the requested file system, or refuses it.

use std::fs::File;
use std::time::Duration;

use flexvolume::option_lists::fsck_policy::Fsck;
use host::block::sysfs::is_read_only;
use host::fs::superblock::Superblock;
use host::fs::{self, MkfsOptions, MkfsRequest};
use host::mount::Flags;
use host::{Device, Error as HostError, Filesystem, FormatMarker, FormatMarkerBlock};

use crate::error::Error;
use crate::mounting::fsck;
use crate::mounting::plan::{self, FsckPlan, Refusal, Step};
use crate::volume::context::Node;

/// Maximum duration of mkfs.
const MKFS_TIME: Duration = Duration::from_secs(90);

/// The volume to prepare, and its settings.
pub(crate) struct Preparation<'a> {
    /// `<group>/<name>`, for messages.
    pub(crate) volume: &'a str,
    /// The active device.
    pub(crate) device: &'a Device,
    /// Position and content of its format marker.
    pub(crate) marker: &'a FormatMarkerBlock,
    /// The requested file system.
    pub(crate) fs: Filesystem,
    /// Options for mkfs.
    pub(crate) mkfs_options: &'a MkfsOptions,
    /// When the file system is checked.
    pub(crate) fsck: Fsck,
    /// Whether nothing on the device may be changed.
    pub(crate) read_only: bool,
    /// Whether mkfs may run on a blank device.
    pub(crate) may_format: bool,
}

/// Ensures that the device carries the requested file system, and returns further flags for its
/// mount.
///
/// # Errors
/// When the device carries something else, or the preparation fails.
pub(crate) fn prepare(node: &Node<'_>, task: &Preparation<'_>) -> Result<Flags, Error> {
    let device = task.device;
    if !task.read_only && is_read_only(&node.roots.sys, device.number())? {
        return Err(Refusal::ReadOnlyVolume.of(task.volume));
    }
    let marker = task.marker.read(device.file())?;
    let superblock = device.superblock()?;
    let found = superblock.map(|superblock| superblock.fs);
    if !plan::is_ready(marker, found, task.fs) {
        match prepare_content(node, task, marker, superblock)? {
            Content::Unchanged => {}
            Content::Formatted => return Ok(Flags::empty()),
        }
    }
    match plan::plan_fsck(
        superblock.is_some_and(|superblock| superblock.unchecked),
        task.fsck,
        task.read_only,
    ) {
        FsckPlan::None => Ok(Flags::empty()),
        FsckPlan::Check => {
            fsck::check(node, device)?;
            Ok(Flags::empty())
        }
        // If it is mounted writable already, it can't be mounted in another way.
        FsckPlan::NoWriting if fsck::is_claimed(device)? => Ok(Flags::empty()),
        FsckPlan::NoWriting => Ok(Flags::RDONLY),
    }
}

/// What became of the content of a device, apart from its format marker.
enum Content {
    /// It is the requested file system, as before.
    Unchanged,
    /// The file system was created.
    Formatted,
}

/// Probes a device whose marker and superblock alone are not sufficient, and does what the plan
/// requires.
fn prepare_content(
    node: &Node<'_>,
    task: &Preparation<'_>,
    marker: FormatMarker,
    superblock: Option<Superblock>,
) -> Result<Content, Error> {
    let Preparation {
        volume,
        device,
        fs: requested,
        ..
    } = *task;
    // The exclusive claim begins before the device is examined, and ends after the marker records
    // the result, so that no other program can use the device meanwhile.
    let claimed = if marker != FormatMarker::None && !task.read_only {
        Some(device.claim())
    } else {
        None
    };
    let found = fs::probe(node, device.file(), &device.path(), task.marker)?;
    let used = superblock.is_some_and(|superblock| superblock.used);
    let step = plan::plan(marker, &found, used, requested, task.read_only)
        .map_err(|refusal| refusal.of(volume))?;
    match step {
        Step::Mount if requested == Filesystem::Btrfs && superblock.is_none() => {
            Err(Refusal::SeveralDevices.of(volume))
        }
        Step::Mount => Ok(Content::Unchanged),
        // Without its marker the volume is never formatted: blkid's result alone is not enough to
        // clear it.
        Step::ClearMarker if superblock.is_none() => {
            let detail = format!("{requested} on {volume}, but the driver finds none there");
            Err(HostError::Answer {
                program: "blkid".to_owned(),
                detail,
            }
            .into())
        }
        Step::ClearMarker => {
            task.marker.clear(&claim_now(device, claimed)?)?;
            Ok(Content::Unchanged)
        }
        Step::Format if !task.may_format => Err(Refusal::ReadOnly.of(volume)),
        Step::Format => {
            format(node, task, claim_now(device, claimed)?)?;
            Ok(Content::Formatted)
        }
    }
}

/// Returns the earlier claim, or its error; claims the device if there was no attempt.
fn claim_now(device: &Device, claimed: Option<Result<File, HostError>>) -> Result<File, HostError> {
    match claimed {
        Some(result) => result,
        None => device.claim(),
    }
}

/// Creates the file system.
///
/// Each step is on the disk before the next begins, so that the next call continues an interrupted
/// one, and the marker is cleared before a pod can write.
fn format(node: &Node<'_>, task: &Preparation<'_>, claimed: File) -> Result<(), HostError> {
    let Preparation {
        device, marker, fs, ..
    } = *task;
    // The claim is exclusive: it fails while the device is mounted, or a mkfs that outlived its
    // driver works on it. mkfs needs the claim for itself, so it is released in between; the lock
    // stays held.
    marker.begin(&claimed)?;
    drop(claimed);
    let path = device.path();
    let size = marker.filesystem_size();
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
    let result = device.superblock()?.map(|superblock| superblock.fs);
    if result != Some(fs) {
        let detail = format!("success, but there is no {fs} on {}", task.volume);
        return Err(HostError::Answer {
            program: "mkfs".to_owned(),
            detail,
        });
    }
    marker.clear(&claimed)
}
