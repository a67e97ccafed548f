//! Which thin pools are to be made larger. Pure.

use crds::thin_pool::ThinPoolSettings;
use host::lvm::tags::THIN_POOL;
use host::lvm::{Lv, LvKind, Vg};
use host::{Extents, LvName, VgName};

use crate::agent::volumes::plan::extended;
use crate::agent::volumes::spec::{PoolCreation, VolumeSpec};

/// A pool that is to be made larger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The volume group.
    pub group: VgName,
    /// The pool.
    pub pool: LvName,
    /// The size of its data then.
    pub extents: Extents,
    /// The devices that have room for it.
    pub disks: Vec<String>,
}

/// The pools that are to be made larger.
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
    // What was promised for a volume ends with it.
    let is_in =
        |spec: &&VolumeSpec| spec.group.as_str() == vg.name && vg.lv(spec.name.as_str()).is_some();
    let in_it = specs
        .iter()
        .filter(is_in)
        .filter_map(|spec| spec.pool.as_ref());
    let promised: Vec<&PoolCreation> = in_it
        .filter(|pool| pool.name.as_str() == lv.name)
        .filter_map(|pool| pool.create.as_ref())
        .collect();
    let most = promised
        .iter()
        .map(|make| make.most.extents_up(vg.extent_size))
        .max()?;
    let extents = extended(
        lv,
        most,
        vg.extent_size,
        rules.extend_at(),
        rules.extend_by(),
    )?;
    let is_promised = |uuid| promised.iter().any(|make| make.disks.contains_key(uuid));
    let with_room = vg
        .pvs
        .iter()
        .filter(|pv| pv.available().0 > 0 && is_promised(&pv.uuid));
    Some(Growth {
        group: VgName::new(&vg.name).ok()?,
        pool: LvName::new(&lv.name).ok()?,
        extents,
        disks: with_room.map(|pv| pv.name.clone()).collect(),
    })
}

/// The backend that an agent made the pool for.
pub(super) fn backend_of(lv: &Lv) -> Option<&str> {
    let tags = (lv.kind == LvKind::ThinPool).then_some(&lv.tags)?;
    tags.iter().find_map(|tag| tag.strip_prefix(THIN_POOL))
}

#[cfg(test)]
mod tests;
