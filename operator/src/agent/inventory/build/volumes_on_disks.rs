//! The LogicalVolumes with a part on each disk: those that its loss affects. Pure.

use crds::node_storage::{MAX_LISTED_VOLUMES, VolumeGroup};
use host::lvm::{Lv, Pv, Vg};

use crate::agent::volumes::spec::VolumeSpec;

/// Returns the names of the LogicalVolumes with a part on a disk, sorted; `ours` are FlexLVM's
/// volumes in the group.
///
/// A thin volume has no extents of its own: those of its pool count.
pub(super) fn find(pv: &Pv, vg: &Vg, ours: &[(&VolumeSpec, &Lv)]) -> Vec<String> {
    let mut names = Vec::new();
    for (spec, lv) in ours {
        let pool = lv.pool.as_deref().and_then(|pool| vg.lv(pool));
        let is_on_it = |lv: &Lv| lv.shares.contains_key(&pv.uuid);
        if is_on_it(lv) || pool.is_some_and(is_on_it) {
            names.push(spec.name.to_string());
        }
    }
    names.sort();
    names
}

/// Limits the names of all disks together, and counts the omitted ones; those of missing disks come
/// first.
pub(super) fn limit(groups: &mut [VolumeGroup]) {
    let mut disks: Vec<_> = groups
        .iter_mut()
        .flat_map(|group| &mut group.physical_volumes)
        .collect();
    disks.sort_by_key(|disk| disk.missing.is_none());
    let mut rest = MAX_LISTED_VOLUMES;
    for disk in disks {
        let all = disk.volumes.len();
        disk.volumes.truncate(rest);
        rest -= disk.volumes.len();
        let omitted = u32::try_from(all - disk.volumes.len()).unwrap_or(u32::MAX);
        disk.omitted_volumes = Some(omitted).filter(|omitted| *omitted > 0);
    }
}
