//! Judges whether an existing volume works, from LVM's report of the volume, its disks and its thin
//! pool. Pure.
//!
//! In a volume group that lacks a disk, only volumes with a part on that disk are affected. Of several
//! faults, the worst is reported: an unusable volume, then lost redundancy and failing writes, then
//! defects that are still corrected, then a synchronization.

mod cache;
mod raid;

use crds::condition::reason;
use host::lvm::{Layout, Lv, LvHealth, MissingPart, PoolFault, PoolState, SegmentType, Vg};

use crate::agent::condition::{ConditionUpdate, ReportedError};
use crate::agent::volumes::spec::VolumeSpec;

/// Whether an existing volume works.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VolumeHealth {
    /// It works.
    Good,
    /// It works, with all its redundancy, while its images are synchronized; the message has the
    /// progress.
    Synchronizing(String),
    /// It is impaired: it lost its redundancy, writes fail, or a disk returns wrong data.
    Impaired(ReportedError),
    /// It is not usable.
    Failed(ReportedError),
}

impl VolumeHealth {
    /// Returns the update of the condition `Healthy`.
    pub(super) fn update(&self) -> ConditionUpdate {
        match self {
            Self::Good => ConditionUpdate {
                status: true,
                reason: reason::HEALTHY,
                message: String::new(),
            },
            Self::Synchronizing(message) => ConditionUpdate {
                status: true,
                reason: reason::RESYNCING,
                message: message.clone(),
            },
            Self::Impaired(error) | Self::Failed(error) => error.clone().into(),
        }
    }
}

/// Judges a volume.
pub(super) fn judge(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> VolumeHealth {
    let pool = lv.pool.as_deref().and_then(|pool| vg.lv(pool));
    let has_partial_pool = pool.is_some_and(|pool| pool.health == LvHealth::Partial);
    if lv.health == LvHealth::Partial || has_partial_pool {
        return judge_partial(spec, vg, lv, pool);
    }
    if let Some(pool) = pool
        && let Some(state) = &pool.state
        && let Some(fault) = &state.fault
    {
        return judge_pool(spec, pool, state, fault);
    }
    if lv.segment_type == SegmentType::Cached
        && let Some(health) = cache::judge(spec, lv)
    {
        return health;
    }
    let path = spec.path();
    let node = &spec.node;
    match lv.health {
        LvHealth::Failed => {
            let message = format!(
                "logical volume {path} on {node} has failed: the kernel can't use it; `dmesg` and \
                 `lvs -a -o+devices {}` on the node show the cause",
                vg.name
            );
            VolumeHealth::Failed(ReportedError::new(reason::FAILED, message))
        }
        LvHealth::ImageFailed => {
            let message = format!(
                "logical volume {path} on {node} works with less redundancy: an image of it had errors \
                 and is not used; `lvchange --refresh {path}` takes it back if its disk works, \
                 `lvconvert --repair {path}` replaces it"
            );
            VolumeHealth::Impaired(ReportedError::new(reason::DEGRADED, message))
        }
        LvHealth::ReadOnly => read_only(
            spec,
            &format!(
                "its permission is `r`, as after `lvchange --permission r`; `lvchange --permission rw \
                 {path}` lets it be written again"
            ),
        ),
        LvHealth::ReadOnlyDevice => read_only(
            spec,
            &format!(
                "its device is read-only, although its permission is `rw`; correct \
                 activation/read_only_volume_list in lvm.conf, then `blockdev --setrw /dev/{path}` and \
                 `lvchange --refresh {path}`"
            ),
        ),
        LvHealth::Good | LvHealth::Partial | LvHealth::CacheReadOnly => raid::judge(spec, lv),
    }
}

/// Judges a volume that accepts no writes, for this reason and with this remedy.
fn read_only(spec: &VolumeSpec, cause: &str) -> VolumeHealth {
    let message = format!(
        "logical volume {} on {} can be read, and every write to it fails: {cause}; then restart its \
         pods, since a file system stays read-only after a failed write",
        spec.path(),
        spec.node
    );
    VolumeHealth::Impaired(ReportedError::new(reason::READ_ONLY, message))
}

/// Judges a volume with a part on a missing disk.
fn judge_partial(spec: &VolumeSpec, vg: &Vg, lv: &Lv, pool: Option<&Lv>) -> VolumeHealth {
    let path = spec.path();
    let node = &spec.node;
    let group = &vg.name;
    let disks = missing_disks(vg, lv, pool);
    if lv.segment_type == SegmentType::Cached && lv.missing_part == MissingPart::Cache {
        return cache::judge_lost(spec, &disks);
    }
    if lv.segment_type == SegmentType::Raid && survives(spec, lv) {
        let message = format!(
            "logical volume {path} on {node} works with less redundancy: volume group {group} lacks \
             {disks}; reconnect the disk, or replace it with `lvconvert --repair {path}`"
        );
        return VolumeHealth::Impaired(ReportedError::new(reason::DEGRADED, message));
    }
    let message = format!(
        "logical volume {path} on {node} has failed: a part of it is on {disks}, which volume group \
         {group} lacks; reconnect the disk, then `vgextend --restoremissing {group} DEVICE` if \
         `pvs` still shows it as missing, and `lvchange --refresh {path}`; if it is lost, delete \
         the claim and restore its data from a backup"
    );
    VolumeHealth::Failed(ReportedError::new(reason::FAILED, message))
}

/// Returns whether a RAID's data are complete without its missing images.
fn survives(spec: &VolumeSpec, lv: &Lv) -> bool {
    match spec.layout {
        Layout::Raid { level, .. } => level.survives(&lv.missing_images),
        // An admin converted it: every level survives one lost image.
        Layout::Linear | Layout::Striped(_) | Layout::Thin | Layout::Cached => {
            lv.missing_images.len() <= 1
        }
    }
}

/// Names the missing disks with a part of the volume or its pool: by uuid, since LVM no longer knows
/// their devices.
fn missing_disks(vg: &Vg, lv: &Lv, pool: Option<&Lv>) -> String {
    let mut missing = Vec::new();
    for pv in vg.pvs.iter().filter(|pv| pv.is_missing) {
        let has_part = |lv: &Lv| lv.shares.contains_key(&pv.uuid);
        if has_part(lv) || pool.is_some_and(has_part) {
            missing.push(format!("physical volume {}", pv.uuid));
        }
    }
    if missing.is_empty() {
        "a disk".to_owned()
    } else {
        missing.join(" and ")
    }
}

/// Judges a volume whose thin pool has a fault.
fn judge_pool(spec: &VolumeSpec, pool: &Lv, state: &PoolState, fault: &PoolFault) -> VolumeHealth {
    let message = format!(
        "logical volume {} on {} is in thin pool {}/{}: {fault} ({} % of its data and {} % of its \
         metadata are in use)",
        spec.path(),
        spec.node,
        spec.group,
        pool.name,
        state.data_used,
        state.metadata_used
    );
    let reason = match fault {
        PoolFault::Failed { .. } => {
            return VolumeHealth::Failed(ReportedError::new(reason::FAILED, message));
        }
        PoolFault::DataFull => reason::POOL_FULL,
        PoolFault::MetadataReadOnly { .. } if state.metadata_used >= 100 => {
            reason::POOL_METADATA_FULL
        }
        PoolFault::MetadataReadOnly { .. } => reason::POOL_READ_ONLY,
    };
    VolumeHealth::Impaired(ReportedError::new(reason, message))
}
