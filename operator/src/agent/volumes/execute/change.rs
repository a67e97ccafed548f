//! Carries out a change by one LVM command.

use host::fs::NewBlocks;
use host::lvm::{Discard, Layout, NewLv, NewPool, SegmentType};
use host::{Error, Extents, LvUuid};

use super::{VolumeExecutor, lv_path};
use crate::agent::lvm::state::LockedLvm;
use crate::agent::volumes::plan::{self, LvmChange};
use crate::agent::volumes::spec::VolumeSpec;

impl VolumeExecutor {
    pub(super) fn change(
        &self,
        locked: &LockedLvm,
        spec: &VolumeSpec,
        change: &LvmChange,
    ) -> Result<(), Error> {
        let lvm = locked.commands();
        let group = &spec.group;
        let name = &spec.name;
        let as_configured = Discard::AsConfigured;
        match change {
            LvmChange::AddIntegrity => lvm.add_integrity(group, name),
            LvmChange::Extend { extents, disks } => self.extend(locked, spec, *extents, disks),
            LvmChange::Retag { uuid, remove, add } => {
                lvm.change_tags(group, name, uuid, remove, add)?;
                self.correct_key(spec, uuid);
                Ok(())
            }
            LvmChange::Activate { uuid } => lvm.activate(group, name, uuid),
            LvmChange::Remove {
                uuid,
                segment_type,
                discard,
            } => lvm.remove(group, name, uuid, &spec.identity, *segment_type, *discard),
            LvmChange::RemoveNeverActive { uuid } => remove_never_active(locked, spec, uuid),
            LvmChange::CreatePool {
                pool,
                tag,
                cost,
                extent,
                most,
                disks,
            } => {
                let new = NewPool {
                    cost: *cost,
                    extent: *extent,
                    most: *most,
                    disks,
                    tag,
                };
                lvm.create_pool(group, pool, &new)
            }
            LvmChange::RemovePool { pool, tag, uuid } => {
                lvm.remove(group, pool, uuid, tag, SegmentType::ThinPool, as_configured)
            }
            LvmChange::CreateCache {
                cache,
                extents,
                disks,
            } => lvm.create(group, cache, &new_cache(spec, *extents, disks)),
            LvmChange::AttachCache { cache, mode } => {
                lvm.attach_cache(group, name, cache, mode.as_str())
            }
            LvmChange::RemoveCache { cache, uuid } => {
                let tag = &spec.identity;
                lvm.remove(group, cache, uuid, tag, SegmentType::Plain, as_configured)
            }
        }
    }

    /// Corrects the driver's cache, which may have the digest of an adopted volume's former key.
    ///
    /// Best effort: otherwise the driver runs an LVM command.
    fn correct_key(&self, spec: &VolumeSpec, uuid: &LvUuid) {
        if spec.adopted.is_some() {
            let _ = self.devices.record_key(uuid, &spec.key);
        }
    }

    /// Extends the volume, and zeroes its new end.
    ///
    /// Before that, no program uses the new end: a driver or an array would.
    fn extend(
        &self,
        locked: &LockedLvm,
        spec: &VolumeSpec,
        extents: Extents,
        disks: &[String],
    ) -> Result<(), Error> {
        let path = lv_path(spec);
        let mut held = None;
        if let Some(uuid) = locked.uuid(&spec.group, &spec.name) {
            held = self.devices.hold_to_grow(path, &uuid)?;
        }
        let lvm = locked.commands();
        lvm.extend(&spec.group, &spec.name, extents, disks)?;
        match held {
            Some(volume) => {
                let blocks = new_blocks(locked, spec);
                self.devices.zero_new_end(path, volume, blocks)
            }
            None => Ok(()),
        }
    }
}

fn remove_never_active(locked: &LockedLvm, spec: &VolumeSpec, uuid: &LvUuid) -> Result<(), Error> {
    let volume = spec.path();
    tracing::warn!(
        volume,
        "LVM was interrupted while it created the RAID, which was never active; removing it"
    );
    let lvm = locked.commands();
    lvm.remove_never_active(&spec.group, &spec.name, uuid, &spec.object)
}

/// Returns what the blocks contain by which a volume was extended.
fn new_blocks(locked: &LockedLvm, spec: &VolumeSpec) -> NewBlocks {
    let groups = locked.groups();
    let group = groups.iter().find(|vg| vg.name == spec.group.as_str());
    match group.and_then(|vg| vg.lv(spec.name.as_str())) {
        Some(lv) => plan::blocks_of(lv),
        None => NewBlocks::Undefined,
    }
}

/// Returns the logical volume that becomes a volume's cache.
fn new_cache<'a>(spec: &'a VolumeSpec, extents: Extents, disks: &'a [String]) -> NewLv<'a> {
    NewLv {
        extents,
        layout: Layout::Linear,
        disks,
        tags: std::slice::from_ref(&spec.identity),
    }
}
