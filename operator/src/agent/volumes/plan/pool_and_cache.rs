//! The thin pool and the cache of a volume: created before the volume needs them, removed when they
//! are unused. Pure.

use crds::condition::reason;
use host::Extents;
use host::lvm::{Layout, Lv, PoolCost, SegmentType, Vg};

use super::{Step, allocation};
use crate::agent::volumes::outcome::{ConditionUpdate, Outcome};
use crate::agent::volumes::spec::{PoolSpec, VolumeSpec};

/// Checks that the pool of a new volume exists and is usable.
///
/// # Errors
/// The step to execute first.
pub(super) fn pool_for_new(spec: &VolumeSpec, pool: &PoolSpec, vg: &Vg) -> Result<(), Step> {
    let at = format!("thin pool {}/{} on {}", vg.name, pool.name, spec.node);
    let refused = |reason, message| Err(Outcome::not_ready(reason, message).into());
    match (vg.lv(pool.name.as_str()), &pool.create) {
        (None, None) => refused(reason::THIN_POOL_MISSING, format!("{at} does not exist")),
        (None, Some(create)) => {
            let cost = match PoolCost::new(create.first, Some(create.metadata), vg.extent_size) {
                Ok(cost) => cost,
                Err(error) => {
                    return refused(
                        reason::LAYOUT_UNSUITABLE,
                        format!("can't create {at}: {error}"),
                    );
                }
            };
            match allocation::for_pool(spec, create, cost.total(), vg) {
                Ok(devices) => Err(Step::CreatePool(cost, create.most, devices)),
                Err(message) => refused(reason::INSUFFICIENT_SPACE, message),
            }
        }
        (Some(lv), create) => match fault(pool, create.is_some(), lv) {
            None => Ok(()),
            Some((reason, why)) => refused(reason, format!("can't create volumes in {at}: {why}")),
        },
    }
}

/// Returns why volumes can't be created in the logical volume with the pool's name.
fn fault(pool: &PoolSpec, is_ours: bool, lv: &Lv) -> Option<(&'static str, String)> {
    if lv.segment_type != SegmentType::ThinPool {
        return Some((
            reason::FOREIGN_LOGICAL_VOLUME,
            "it is not a thin pool".to_owned(),
        ));
    }
    if is_ours && !lv.has_tag(pool.identity.as_str()) {
        let why = format!(
            "FlexLVM did not create it: it lacks the tag {}",
            pool.identity
        );
        return Some((reason::FOREIGN_LOGICAL_VOLUME, why));
    }
    let fault = lv.state.as_ref().and_then(|state| state.fault.clone());
    fault.map(|why| (reason::THIN_POOL_UNUSABLE, why))
}

/// Returns the next step towards a volume's cache; `None` if the volume has it.
pub(super) fn cache_for(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> Option<Step> {
    let cache = spec
        .cache
        .as_ref()
        .filter(|_| spec.published.is_none() && lv.is_only(SegmentType::Plain))?;
    if let Some(made) = vg.lv(cache.name.as_str()) {
        if made.has_tag(spec.identity.as_str()) {
            return Some(Step::AttachCache);
        }
        let message = format!(
            "logical volume {}/{} on {} has the name of the volume's cache, but lacks the tag {}; rename or remove it",
            vg.name, cache.name, spec.node, spec.identity
        );
        return Some(Outcome::not_ready(reason::FOREIGN_LOGICAL_VOLUME, message).into());
    }
    Some(match allocation::for_cache(spec, cache, vg) {
        Ok(devices) => Step::CreateCache(cache.size.extents_up(vg.extent_size), devices),
        Err(message) => Outcome::not_ready(reason::INSUFFICIENT_SPACE, message).into(),
    })
}

/// Returns the removal of an unused part of a volume that is gone: a cache that was never attached,
/// or a pool without volumes.
pub(super) fn leftover(spec: &VolumeSpec, vg: &Vg) -> Option<Step> {
    let is_ours = |lv: &&Lv, tag: &host::LvTag| lv.has_tag(tag.as_str());
    if let Some(cache) = &spec.cache
        && let Some(lv) = vg
            .lv(cache.name.as_str())
            .filter(|lv| is_ours(lv, &spec.identity) && lv.is_only(SegmentType::Plain))
    {
        return Some(Step::RemoveCache(lv.uuid.clone()));
    }
    let pool = spec.pool.as_ref().filter(|pool| pool.create.is_some())?;
    let lv = vg
        .lv(pool.name.as_str())
        .filter(|lv| is_ours(lv, &pool.identity) && lv.is_only(SegmentType::ThinPool))?;
    let is_empty = vg
        .lvs
        .iter()
        .all(|other| other.pool.as_deref() != Some(pool.name.as_str()));
    is_empty.then(|| Step::RemovePool(lv.uuid.clone()))
}

/// Returns why a volume can't be extended because of its pool: the pool is full or failed, or spec
/// and volume disagree about being thin, so that the space was never reserved.
pub(super) fn growth_fault(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> Option<ConditionUpdate> {
    if (spec.layout == Layout::Thin) != (lv.segment_type == SegmentType::Thin) {
        let message = format!(
            "logical volume {} on {} was converted to another layout than its spec's, so it is not extended",
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
        "can't extend the volume in thin pool {}/{} on {}: {why}",
        vg.name, pool.name, spec.node
    );
    Some(ConditionUpdate {
        status: false,
        reason: reason::THIN_POOL_UNUSABLE,
        message,
    })
}

/// Returns the new data size of a pool that FlexLVM created, if its usage is at least `at` percent
/// and its volumes' reservations allow it to grow.
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
