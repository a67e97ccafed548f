//! The thin pool that a volume is in, and the cache in front of it: made before they are needed,
//! removed when nobody needs them any more. Pure.

use crds::condition::reason;
use host::Extents;
use host::lvm::{Layout, Lv, LvKind, PoolCost, Vg};

use super::{Step, allocation};
use crate::agent::volumes::outcome::{ConditionUpdate, Outcome};
use crate::agent::volumes::spec::{PoolSpec, VolumeSpec};

/// Whether the pool that a new volume is to be in is there.
///
/// # Errors
/// The step to take first.
pub(super) fn pool_for_new(spec: &VolumeSpec, pool: &PoolSpec, vg: &Vg) -> Result<(), Step> {
    let at = format!("thin pool {}/{} on {}", vg.name, pool.name, spec.node);
    let refused = |reason, message| Err(Outcome::not_ready(reason, message).into());
    match (vg.lv(pool.name.as_str()), &pool.create) {
        (None, None) => refused(reason::THIN_POOL_MISSING, format!("there is no {at}")),
        (None, Some(make)) => {
            let cost = match PoolCost::new(make.first, Some(make.metadata), vg.extent_size) {
                Ok(cost) => cost,
                Err(error) => {
                    return refused(
                        reason::LAYOUT_UNSUITABLE,
                        format!("the {at} can't be made: {error}"),
                    );
                }
            };
            match allocation::for_pool(spec, make, cost.total(), vg) {
                Ok(devices) => Err(Step::CreatePool(cost, make.most, devices)),
                Err(message) => refused(reason::INSUFFICIENT_SPACE, message),
            }
        }
        (Some(lv), make) => match fault(pool, make.is_some(), lv) {
            None => Ok(()),
            Some((reason, why)) => refused(reason, format!("no volume can be made in {at}: {why}")),
        },
    }
}

/// Why nothing can be made in what has the pool's name.
fn fault(pool: &PoolSpec, is_ours: bool, lv: &Lv) -> Option<(&'static str, String)> {
    if lv.kind != LvKind::ThinPool {
        return Some((
            reason::FOREIGN_LOGICAL_VOLUME,
            "it is no thin pool, but another logical volume".to_owned(),
        ));
    }
    if is_ours && !lv.has_tag(pool.identity.as_str()) {
        let why = format!(
            "it is not the one that FlexLVM made: it lacks the tag {}",
            pool.identity
        );
        return Some((reason::FOREIGN_LOGICAL_VOLUME, why));
    }
    let fault = lv.state.as_ref().and_then(|state| state.fault.clone());
    fault.map(|why| (reason::THIN_POOL_UNUSABLE, why))
}

/// What is to be done before a volume with a cache is ready; `None` when it has it.
pub(super) fn cache_for(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> Option<Step> {
    let cache = spec
        .cache
        .as_ref()
        .filter(|_| spec.published.is_none() && lv.kind == LvKind::Plain)?;
    if let Some(made) = vg.lv(cache.name.as_str()) {
        if made.has_tag(spec.identity.as_str()) {
            return Some(Step::AttachCache);
        }
        let message = format!(
            "logical volume {}/{} on {} is in the way of the volume's cache: it lacks the tag {}",
            vg.name, cache.name, spec.node, spec.identity
        );
        return Some(Outcome::not_ready(reason::FOREIGN_LOGICAL_VOLUME, message).into());
    }
    Some(match allocation::for_cache(spec, cache, vg) {
        Ok(devices) => Step::CreateCache(cache.size.extents_up(vg.extent_size), devices),
        Err(message) => Outcome::not_ready(reason::INSUFFICIENT_SPACE, message).into(),
    })
}

/// What is left of a volume that is gone, and that nobody else needs: a cache that was never put in
/// front of it, a pool without volumes.
pub(super) fn leftover(spec: &VolumeSpec, vg: &Vg) -> Option<Step> {
    let is_ours = |lv: &&Lv, tag: &host::LvTag| lv.has_tag(tag.as_str());
    if let Some(cache) = &spec.cache
        && let Some(lv) = vg
            .lv(cache.name.as_str())
            .filter(|lv| is_ours(lv, &spec.identity) && lv.kind == LvKind::Plain)
    {
        return Some(Step::RemoveCache(lv.uuid.clone()));
    }
    let pool = spec.pool.as_ref().filter(|pool| pool.create.is_some())?;
    let lv = vg
        .lv(pool.name.as_str())
        .filter(|lv| is_ours(lv, &pool.identity) && lv.kind == LvKind::ThinPool)?;
    let is_empty = vg
        .lvs
        .iter()
        .all(|other| other.pool.as_deref() != Some(pool.name.as_str()));
    is_empty.then(|| Step::RemovePool(lv.uuid.clone()))
}

/// Why a volume can't be made larger, as far as its pool goes: it has no room any more; or one of
/// the two is in a pool, the order or the volume, and the other is not, so that its space was never
/// promised.
pub(super) fn growth_fault(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> Option<ConditionUpdate> {
    if (spec.layout == Layout::Thin) != (lv.kind == LvKind::Thin) {
        let message = format!(
            "logical volume {} on {} was converted: it is not of the layout any more that it was ordered with, so it is not extended",
            spec.path(),
            spec.node
        );
        return Some(ConditionUpdate {
            status: false,
            reason: reason::LAYOUT_UNSUITABLE,
            message,
        });
    }
    let pool = spec.pool.as_ref()?;
    let state = vg.lv(pool.name.as_str())?.state.as_ref()?;
    let why = state.fault.clone()?;
    let message = format!(
        "the volume is not extended in thin pool {}/{} on {}: {why}",
        vg.name, pool.name, spec.node
    );
    Some(ConditionUpdate {
        status: false,
        reason: reason::THIN_POOL_UNUSABLE,
        message,
    })
}

/// The size that a pool of ours is to be extended to, of its data: because so much of it is in use,
/// and its volumes were promised that it may become larger.
#[must_use]
pub fn extended(
    pool: &Lv,
    most: Extents,
    extent: host::Bytes,
    at: u32,
    by: u32,
) -> Option<Extents> {
    let state = pool
        .state
        .as_ref()
        .filter(|state| state.fault.is_none() || state.data_used >= 100)?;
    let has = pool.size.extents_up(extent);
    if state.data_used < at || has >= most {
        return None;
    }
    let used = u128::from(has.0) * u128::from(state.data_used);
    let mut wanted = u128::from(has.0);
    while wanted < u128::from(most.0) && used >= wanted * u128::from(at) {
        wanted += (wanted * u128::from(by)).div_ceil(100).max(1);
    }
    u64::try_from(wanted)
        .ok()
        .map(|wanted| Extents(wanted.min(most.0)))
}
