//! Judges a RAID without lost images: blocks with wrong checksums, images that differ, and a running
//! synchronization. Pure.

use crds::condition::reason;
use host::lvm::{Layout, Level, Lv, RaidSync, SyncKind};

use super::VolumeHealth;
use crate::agent::condition::ReportedError;
use crate::agent::volumes::spec::VolumeSpec;

/// Judges a volume whose images are all in use.
pub(super) fn judge(spec: &VolumeSpec, lv: &Lv) -> VolumeHealth {
    if lv.integrity_mismatches > 0 {
        return VolumeHealth::Impaired(mismatches(spec, lv.integrity_mismatches));
    }
    if lv.raid_mismatches > 0 {
        return VolumeHealth::Impaired(differences(spec, lv.raid_mismatches));
    }
    match lv.sync {
        None => VolumeHealth::Good,
        Some(sync) => judge_sync(spec, sync),
    }
}

/// Judges a running synchronization: the volume is healthy if it could lose a disk meanwhile.
///
/// An image that is written anew has not got all data yet. The parity of a new RAID, or of one after
/// a power cut, is not valid yet either, so the kernel refuses to start it without one of its disks.
/// The images of a mirror, however, receive all writes from the first moment on: what is
/// synchronized there was never written, or may have either content after a power cut.
fn judge_sync(spec: &VolumeSpec, sync: RaidSync) -> VolumeHealth {
    let path = spec.path();
    let node = &spec.node;
    let percent = sync.percent;
    let impaired = |message| VolumeHealth::Impaired(ReportedError::new(reason::RESYNCING, message));
    match sync.kind {
        SyncKind::Recover => impaired(format!(
            "logical volume {path} on {node} works with less redundancy until an image of it has all \
             data again: {percent} % are written"
        )),
        SyncKind::Resync if is_mirror(spec.layout) => VolumeHealth::Synchronizing(format!(
            "logical volume {path} on {node} works with all its redundancy; parts of its images that \
             are not in use are synchronized: {percent} % are done"
        )),
        SyncKind::Resync => impaired(format!(
            "logical volume {path} on {node} works, but can be lost with one of its disks until its \
             parity is complete: {percent} % are synchronized"
        )),
    }
}

/// Returns whether each image has all data. A volume that an admin has converted does not count.
fn is_mirror(layout: Layout) -> bool {
    match layout {
        Layout::Raid { level, .. } => matches!(level, Level::Raid1 { .. } | Level::Raid10(_)),
        Layout::Linear | Layout::Striped(_) | Layout::Thin | Layout::Cached => false,
    }
}

fn mismatches(spec: &VolumeSpec, count: u64) -> ReportedError {
    let path = spec.path();
    let message = format!(
        "logical volume {path} on {} works, but {count} reads from its disks since its activation did \
         not match their checksums, and were corrected from another image; \
         `lvs -a -o+devices,integritymismatches {}` on the node shows on which disk, \
         `lvconvert --replace DISK {path}` replaces it",
        spec.node, spec.group
    );
    ReportedError::new(reason::INTEGRITY_MISMATCHES, message)
}

/// Reports what a check has found that an admin started.
///
/// Of a mirror, too, where a difference can be harmless (md(4) names swap, and blocks that no file
/// uses): it can as well be an image without data.
fn differences(spec: &VolumeSpec, sectors: u64) -> ReportedError {
    let path = spec.path();
    let found = format!("{sectors} sectors by the last `lvchange --syncaction check`");
    let remedy = format!("`lvchange --syncaction repair {path}`");
    let text = if is_mirror(spec.layout) {
        format!(
            "its images differ in {found}, and the kernel reads any of them: if one of its disks was \
             replaced, `lvconvert --replace DISK {path}` writes that image anew; if not, {remedy} copies \
             one image over the others; then check the file system"
        )
    } else {
        format!(
            "data and parity differ in {found}, so a lost disk would cost data: {remedy} computes the \
             parity anew"
        )
    };
    let message = format!("logical volume {path} on {} works, but {text}", spec.node);
    ReportedError::new(reason::IMAGE_MISMATCHES, message)
}
