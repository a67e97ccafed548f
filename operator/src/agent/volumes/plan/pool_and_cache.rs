//! The thin pool and the cache of a volume: created before the volume needs them, removed when they
//! are unused. Pure.

use crds::condition::reason;
use host::Extents;
use host::lvm::{Layout, Lv, PoolCost, SegmentType, Vg};

use super::{LvmChange, allocation};
use crate::agent::condition::ReportedError;
use crate::agent::volumes::spec::{PoolCreation, PoolSpec, VolumeSpec};

/// Returns the creation of a new volume's pool; `None` if the pool exists.
///
/// # Errors
/// Why the volume can't be created in the pool.
pub(super) fn pool_for_new(
    spec: &VolumeSpec,
    pool: &PoolSpec,
    vg: &Vg,
) -> Result<Option<LvmChange>, ReportedError> {
    match (vg.lv(pool.name.as_str()), &pool.create) {
        (Some(lv), _) => {
            check_pool(spec, pool, vg, lv)?;
            Ok(None)
        }
        (None, Some(create)) => {
            check_not_renamed(spec, pool, vg)?;
            create_pool(spec, pool, create, vg).map(Some)
        }
        (None, None) => {
            let message = format!("{} does not exist", place(spec, pool, vg));
            Err(ReportedError::new(reason::THIN_POOL_MISSING, message))
        }
    }
}

fn place(spec: &VolumeSpec, pool: &PoolSpec, vg: &Vg) -> String {
    format!("thin pool {}/{} on {}", vg.name, pool.name, spec.node)
}

/// Checks that the pool does not exist under another name: a second one would take its reserved
/// space.
fn check_not_renamed(spec: &VolumeSpec, pool: &PoolSpec, vg: &Vg) -> Result<(), ReportedError> {
    let Some(renamed) = vg
        .lvs
        .iter()
        .find(|lv| lv.segment_type == SegmentType::ThinPool && lv.has_tag(pool.identity.as_str()))
    else {
        return Ok(());
    };
    let group = &vg.name;
    let message = format!(
        "{} was renamed to {group}/{}, so no volumes are created in it; rename it back: `lvrename {group} {} {}`",
        place(spec, pool, vg),
        renamed.name,
        renamed.name,
        pool.name
    );
    Err(ReportedError::new(reason::THIN_POOL_MISSING, message))
}

fn create_pool(
    spec: &VolumeSpec,
    pool: &PoolSpec,
    create: &PoolCreation,
    vg: &Vg,
) -> Result<LvmChange, ReportedError> {
    let cost =
        PoolCost::new(create.first, Some(create.metadata), vg.extent_size).map_err(|error| {
            let message = format!("can't create {}: {error}", place(spec, pool, vg));
            ReportedError::new(reason::LAYOUT_UNSUITABLE, message)
        })?;
    Ok(LvmChange::CreatePool {
        pool: pool.name.clone(),
        tag: pool.identity.clone(),
        cost,
        extent: vg.extent_size,
        most: create.most,
        disks: allocation::for_pool(spec, create, cost.total(), vg)?,
    })
}

/// Checks that volumes can be created in the logical volume with the pool's name.
fn check_pool(spec: &VolumeSpec, pool: &PoolSpec, vg: &Vg, lv: &Lv) -> Result<(), ReportedError> {
    let is_foreign = pool.create.is_some() && !lv.has_tag(pool.identity.as_str());
    let (reason, why) = if lv.segment_type != SegmentType::ThinPool {
        let why = "it is not a thin pool".to_owned();
        (reason::FOREIGN_LOGICAL_VOLUME, why)
    } else if is_foreign {
        let why = format!(
            "FlexLVM did not create it: it lacks the tag {}",
            pool.identity
        );
        (reason::FOREIGN_LOGICAL_VOLUME, why)
    } else if let Some(fault) = lv.state.as_ref().and_then(|state| state.fault.as_ref()) {
        (reason::THIN_POOL_UNUSABLE, fault.to_string())
    } else {
        return Ok(());
    };
    let at = place(spec, pool, vg);
    let message = format!("can't create volumes in {at}: {why}");
    Err(ReportedError::new(reason, message))
}

/// Returns the next change towards a volume's cache; `None` if the volume has it.
///
/// # Errors
/// Why it can't get the cache.
pub(super) fn cache_for(
    spec: &VolumeSpec,
    vg: &Vg,
    lv: &Lv,
) -> Result<Option<LvmChange>, ReportedError> {
    let Some(cache) = &spec.cache else {
        return Ok(None);
    };
    // An admin may have detached the cache of a published volume on purpose.
    if spec.published.is_some() || !lv.is_only(SegmentType::Plain) {
        return Ok(None);
    }
    let Some(created) = vg.lv(cache.name.as_str()) else {
        return Ok(Some(LvmChange::CreateCache {
            cache: cache.name.clone(),
            extents: cache.size.extents_up(vg.extent_size),
            disks: allocation::for_cache(spec, cache, vg)?,
        }));
    };
    if !created.has_tag(spec.identity.as_str()) {
        let message = format!(
            "logical volume {}/{} on {} has the name of the volume's cache, but lacks the tag {}; rename or remove it",
            vg.name, cache.name, spec.node, spec.identity
        );
        return Err(ReportedError::new(reason::FOREIGN_LOGICAL_VOLUME, message));
    }
    Ok(Some(LvmChange::AttachCache {
        cache: cache.name.clone(),
        mode: cache.mode,
    }))
}

/// Returns the removal of an unused part of a volume that is gone: a cache that was never attached,
/// or a pool without volumes.
pub(super) fn leftover(spec: &VolumeSpec, vg: &Vg) -> Option<LvmChange> {
    if let Some(cache) = &spec.cache
        && let Some(lv) = vg.lv(cache.name.as_str())
        && lv.has_tag(spec.identity.as_str())
        && lv.is_only(SegmentType::Plain)
    {
        return Some(LvmChange::RemoveCache {
            cache: cache.name.clone(),
            uuid: lv.uuid.clone(),
        });
    }
    let pool = spec.pool.as_ref().filter(|pool| pool.create.is_some())?;
    let lv = vg.lv(pool.name.as_str())?;
    let is_ours = lv.has_tag(pool.identity.as_str()) && lv.is_only(SegmentType::ThinPool);
    let is_empty = vg
        .lvs
        .iter()
        .all(|other| other.pool.as_deref() != Some(pool.name.as_str()));
    if !is_ours || !is_empty {
        return None;
    }
    Some(LvmChange::RemovePool {
        pool: pool.name.clone(),
        tag: pool.identity.clone(),
        uuid: lv.uuid.clone(),
    })
}

/// Checks that a volume can be extended as far as its pool is concerned.
///
/// # Errors
/// The pool is full or failed; or spec and volume disagree about being thin, so that the space was
/// never reserved.
pub(super) fn check_growth(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> Result<(), ReportedError> {
    if (spec.layout == Layout::Thin) != (lv.segment_type == SegmentType::Thin) {
        let message = format!(
            "logical volume {} on {} was converted to another layout than its spec's, so it is not extended",
            spec.path(),
            spec.node
        );
        return Err(ReportedError::new(reason::LAYOUT_UNSUITABLE, message));
    }
    if let Some(pool) = &spec.pool
        && let Some(lv) = vg.lv(pool.name.as_str())
        && let Some(state) = &lv.state
        && let Some(why) = &state.fault
    {
        let message = format!(
            "can't extend the volume in {}: {why}",
            place(spec, pool, vg)
        );
        return Err(ReportedError::new(reason::THIN_POOL_UNUSABLE, message));
    }
    Ok(())
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
