//! The entry of a volume that the agent has just created, as LVM's next report will have it. Pure.

use std::collections::BTreeMap;

use host::lvm::{Lv, LvHealth, LvRole, MissingPart, Pv, RaidParts, Vg};
use host::{Bytes, Extents, LvUuid};

use super::plan::{self, NewVolume};
use super::spec::VolumeSpec;

/// Returns the extents that a new volume occupies on each disk, if that is certain.
pub(super) fn shares(
    spec: &VolumeSpec,
    vg: &Vg,
    new: &NewVolume,
) -> Option<BTreeMap<LvUuid, Extents>> {
    let NewVolume::OnDisks { extents, disks } = new else {
        // A thin volume occupies no extents of its own.
        return Some(BTreeMap::new());
    };
    let used: Vec<&Pv> = match vg.pvs.as_slice() {
        [only] => vec![only],
        all => all.iter().filter(|pv| disks.contains(&pv.name)).collect(),
    };
    let images = usize::try_from(spec.layout.images()).ok()?;
    if used.len() != images {
        return None;
    }
    let size = extents.bytes(vg.extent_size);
    let cost = spec.layout.cost(size, vg.extent_size).ok()?;
    let shares = used.iter().map(|pv| (pv.uuid.clone(), cost.image));
    Some(shares.collect())
}

/// Returns the entry that a report would contain for a new volume.
pub(super) fn build(
    spec: &VolumeSpec,
    uuid: LvUuid,
    size: Bytes,
    shares: BTreeMap<LvUuid, Extents>,
) -> Lv {
    Lv {
        name: spec.name.to_string(),
        uuid,
        size,
        tags: spec.tags(size).iter().map(ToString::to_string).collect(),
        active: true,
        open: false,
        segment_type: plan::initial_type(spec),
        role: LvRole::Volume,
        shares,
        integrity: spec.layout.has_integrity(),
        pool: spec.pool.as_ref().map(|pool| pool.name.to_string()),
        state: None,
        health: LvHealth::Good,
        missing_images: [].into(),
        missing_part: MissingPart::None,
        sync: None,
        integrity_mismatches: 0,
        is_in_transition: false,
        raid_parts: RaidParts::Hidden,
        raid_mismatches: 0,
        has_stale_blocks: false,
    }
}
