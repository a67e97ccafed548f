//! Creates a logical volume, and then zeroes its ends and writes its format marker.

use std::sync::Arc;

use host::fs::NewBlocks;
use host::lvm::{Lv, NewLv};
use host::{Bytes, Error, LvUuid};

use super::{Progress, VolumeExecutor, lv_path};
use crate::agent::blocking::blocking;
use crate::agent::lvm::state::LockedLvm;
use crate::agent::volumes::new_entry;
use crate::agent::volumes::plan::{Content, NewVolume};
use crate::agent::volumes::spec::VolumeSpec;

/// A volume that `lvcreate` has just created, without a format marker.
#[derive(Debug)]
pub(super) struct UnmarkedVolume {
    uuid: LvUuid,
    blocks: NewBlocks,
}

/// Whether the cached report describes a volume that was just created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CachedReport {
    /// It has the volume's entry.
    Current,
    /// LVM must report the volume first.
    Outdated,
}

impl VolumeExecutor {
    /// Creates the volume with LVM.
    ///
    /// Inserts it into the cached report without running LVM again, if its extents on each disk are
    /// known.
    pub(super) fn create(
        &self,
        locked: &LockedLvm,
        spec: &VolumeSpec,
        new: &NewVolume,
    ) -> Result<(UnmarkedVolume, CachedReport), Error> {
        let lvm = locked.commands();
        let tags = spec.tags(new_size(locked, spec, new));
        match new {
            NewVolume::OnDisks { extents, disks } => {
                let new = NewLv {
                    extents: *extents,
                    layout: spec.layout,
                    disks,
                    tags: &tags,
                };
                lvm.create(&spec.group, &spec.name, &new)?;
            }
            NewVolume::InPool { pool, size, .. } => {
                lvm.create_thin(&spec.group, pool, &spec.name, *size, &tags)?;
            }
        }
        let (uuid, size) = self.devices.identify(lv_path(spec))?;
        let unmarked = UnmarkedVolume {
            uuid: uuid.clone(),
            blocks: new.blocks(),
        };
        let is_inserted = locked.insert(&spec.group, |vg| {
            let shares = new_entry::shares(spec, vg, new)?;
            let built = new_entry::build(spec, uuid, size, shares);
            Some(Lv {
                has_stale_blocks: new.blocks() == NewBlocks::Stale,
                ..built
            })
        });
        let report = if is_inserted {
            CachedReport::Current
        } else {
            CachedReport::Outdated
        };
        Ok((unmarked, report))
    }

    /// Zeroes the ends of the volume that this pass has created, and writes its format marker: no
    /// other program uses it yet.
    ///
    /// Runs no LVM command, so it does not hold the lock: LVM creates the next volume meanwhile. If
    /// the agent ends before or during this, the plan finds a volume whose uuid was never published,
    /// and completes it.
    pub(super) async fn mark_created(
        &self,
        spec: &Arc<VolumeSpec>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let Some(UnmarkedVolume { uuid, blocks }) = progress.unmarked.take() else {
            return Ok(());
        };
        let devices = self.devices.clone();
        let spec = spec.clone();
        blocking(move || {
            devices.mark_new(lv_path(&spec), &uuid, blocks)?;
            // Best effort: saves the driver an LVM command.
            let _ = devices.record_key(&uuid, &spec.key);
            Ok(())
        })
        .await?;
        progress.content = Some(Content::Unformatted);
        Ok(())
    }
}

/// Returns the size in bytes that a new volume gets.
fn new_size(locked: &LockedLvm, spec: &VolumeSpec, new: &NewVolume) -> Bytes {
    match new {
        NewVolume::InPool { size, .. } => *size,
        NewVolume::OnDisks { extents, .. } => {
            let groups = locked.groups();
            let group = groups.iter().find(|vg| vg.name == spec.group.as_str());
            group.map_or(spec.size, |vg| extents.bytes(vg.extent_size))
        }
    }
}
