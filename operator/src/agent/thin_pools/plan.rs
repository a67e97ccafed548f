//! Plans the extension of thin pools. Pure.

use crds::thin_pool::ThinPoolSettings;
use host::lvm::tags::THIN_POOL;
use host::lvm::{Lv, SegmentType, Vg};
use host::{Extents, LvName, VgName};

use crate::agent::volumes::plan::extended;
use crate::agent::volumes::spec::{PoolCreation, VolumeSpec};

/// The planned extension of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Volume group of the pool.
    pub group: VgName,
    /// Name of the pool.
    pub pool: LvName,
    /// New size of its data.
    pub extents: Extents,
    /// Devices with reserved and free space for it.
    pub disks: Vec<String>,
}

/// Returns the pools to extend, with their new sizes.
#[must_use]
pub fn plan(
    groups: &[Vg],
    specs: &[VolumeSpec],
    rules: impl Fn(&str) -> Option<ThinPoolSettings>,
) -> Vec<Growth> {
    let pools = groups
        .iter()
        .filter(|vg| vg.fault.is_none())
        .flat_map(|vg| vg.lvs.iter().map(move |lv| (vg, lv)));
    pools
        .filter_map(|(vg, lv)| grow(vg, lv, specs, rules(backend_of(lv)?).unwrap_or_default()))
        .collect()
}

fn grow(vg: &Vg, lv: &Lv, specs: &[VolumeSpec], rules: ThinPoolSettings) -> Option<Growth> {
    // A reservation ends with its volume.
    let reserved: Vec<&PoolCreation> = specs
        .iter()
        .filter(|spec| spec.group.as_str() == vg.name && vg.lv(spec.name.as_str()).is_some())
        .filter_map(|spec| spec.pool.as_ref())
        // An admin may have renamed it: its volumes still need its space.
        .filter(|pool| pool.name.as_str() == lv.name || lv.has_tag(pool.identity.as_str()))
        .filter_map(|pool| pool.create.as_ref())
        .collect();
    let most = reserved
        .iter()
        .map(|create| create.most.extents_up(vg.extent_size))
        .max()?;
    let extents = extended(
        lv,
        most,
        vg.extent_size,
        rules.extend_at(),
        rules.extend_by(),
    )?;
    let with_space = vg.pvs.iter().filter(|pv| {
        let is_reserved = reserved
            .iter()
            .any(|create| create.disks.contains_key(&pv.uuid));
        pv.available().0 > 0 && is_reserved
    });
    Some(Growth {
        group: VgName::new(&vg.name).ok()?,
        pool: LvName::new(&lv.name).ok()?,
        extents,
        disks: with_space.map(|pv| pv.name.clone()).collect(),
    })
}

/// Returns the backend for which an agent created the pool.
pub(super) fn backend_of(lv: &Lv) -> Option<&str> {
    let tags = (lv.segment_type == SegmentType::ThinPool).then_some(&lv.tags)?;
    tags.iter().find_map(|tag| tag.strip_prefix(THIN_POOL))
}

#[cfg(test)]
mod tests;
