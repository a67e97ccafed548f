//! Free space of thin pools.
//!
//! The volumes of a pool may together be as large as the backend's overprovisioning allows. The
//! pool itself reserves its maximum size in the volume group with its first volume, so that the
//! agent can always extend it up to that size. Pure.

use std::collections::BTreeMap;

use crds::node_storage::{self, VolumeGroup};
use crds::quantity;
use crds::thin_pool::{PoolSizes, ThinPoolCreation, ThinPoolSettings, VolumeThinPool};
use storage_model::{Bytes, PoolCost};

use crate::allocation::{Allocation, bytes};
use crate::free_space::{FreeSpace, PoolFreeSpace};
use crate::pv_allocation;
use crate::rejection::Rejection;
use crate::reservations::{PoolReservations, Reservations};

/// Returns the space that FlexLVM's pools take in a volume group: the maximum of the reserved and
/// the existing size.
#[must_use]
pub fn allocated(group: &VolumeGroup, reserved: &BTreeMap<&str, PoolReservations>) -> Allocation {
    let mut pools: BTreeMap<&str, Allocation> = reserved
        .iter()
        .map(|(name, pooled)| (*name, pooled.space.clone()))
        .collect();
    for pool in &group.thin_pools {
        let name = pool.original_name.as_deref().unwrap_or(&pool.name);
        let own = pools.entry(name).or_default();
        *own = std::mem::take(own).max_each(&Allocation::from_shares(&pool.physical_volumes));
    }
    let mut all = Allocation::default();
    for pool in pools.values() {
        all.add(pool);
    }
    all
}

/// Checks that no admin has renamed the pool that FlexLVM created with this name: a second one would
/// take the space that is reserved for its growth.
///
/// # Errors
/// The present name, and the remedy.
pub fn check_not_renamed(name: &str, group: &VolumeGroup) -> Result<(), Rejection> {
    let mut pools = group.thin_pools.iter();
    match pools.find(|pool| pool.original_name.as_deref() == Some(name)) {
        None => Ok(()),
        Some(renamed) => {
            let why = format!(
                "it was renamed to {} (rename it back with lvrename)",
                renamed.name
            );
            Err(Rejection::PoolUnusable(name.to_owned(), why))
        }
    }
}

/// Returns the free space of a thin pool in a volume group with this free space.
///
/// # Errors
/// The reason why its volumes may reserve nothing.
pub fn pool_free_space(
    rules: &ThinPoolSettings,
    name: &str,
    group: &VolumeGroup,
    space: &FreeSpace,
    reservations: &Reservations,
) -> Result<PoolFreeSpace, Rejection> {
    let reported = group
        .thin_pools
        .iter()
        .find(|pool| pool.name == name || pool.original_name.as_deref() == Some(name));
    let pooled = reservations.pool(&space.location, name);
    let is_named = rules.name.is_some()
        || pooled
            .spec
            .as_ref()
            .is_some_and(|spec| spec.create.is_none());
    let create = if is_named {
        None
    } else {
        Some(plan(rules, name, reported, &pooled, space)?)
    };
    let size = match (&create, reported) {
        (Some(create), _) => bytes(&create.maximum_size),
        (None, Some(pool)) => bytes(&pool.size),
        (None, None) => return Err(Rejection::NoPool(group.name.clone(), name.to_owned())),
    };
    let full = reported.and_then(|pool| check(rules, pool, size).err());
    let hundredths = rules
        .overprovision()
        .map_err(|error| Rejection::unsuitable(&group.name, &error))?;
    let allowed = u128::from(size.0) * u128::from(hundredths) / 100;
    let other_volumes = reported.map(|pool| bytes(&pool.other_volumes));
    let allocated = pooled
        .volumes
        .saturating_add(other_volumes.unwrap_or_default());
    let free = Bytes(u64::try_from(allowed).unwrap_or(u64::MAX)).saturating_sub(allocated);
    Ok(PoolFreeSpace {
        spec: VolumeThinPool {
            name: name.to_owned(),
            create,
        },
        size,
        free,
        full,
        hundredths,
    })
}

/// Plans the backend's own pool, with the space to reserve for it: what it has, and what it lacks
/// for its maximum size.
fn plan(
    rules: &ThinPoolSettings,
    name: &str,
    reported: Option<&node_storage::ReportedThinPool>,
    pooled: &PoolReservations,
    space: &FreeSpace,
) -> Result<ThinPoolCreation, Rejection> {
    if reported.is_some_and(|pool| pool.physical_volumes.is_empty()) {
        let why = "FlexLVM did not create it (rename it or set thinPool.name)".to_owned();
        return Err(Rejection::PoolUnusable(name.to_owned(), why));
    }
    let extent_size = space.extent_size;
    let volume_group = space.location.volume_group.as_str();
    let before = pooled.spec.as_ref().and_then(|spec| spec.create.as_ref());
    let sizes = pool_sizes(rules, before, reported, space)?;
    let metadata = match (before, reported) {
        (Some(before), _) => Some(bytes(&before.metadata_size)),
        (None, Some(pool)) => Some(bytes(&pool.metadata_size)),
        (None, None) => rules
            .metadata()
            .map_err(|error| Rejection::unsuitable(volume_group, &error))?
            .map(Bytes),
    };
    let cost = PoolCost::new(Bytes(sizes.maximum), metadata, extent_size)
        .map_err(|error| Rejection::unsuitable(volume_group, &error))?;
    let existing = Allocation::from_shares(reported.map_or(&[][..], |pool| &pool.physical_volumes))
        .max_each(&pooled.space);
    let needs = cost
        .total()
        .bytes(extent_size)
        .saturating_sub(existing.total);
    let reserved = if needs <= space.free {
        pv_allocation::fill(&pv_allocation::by_free_space(&space.disks), needs)
    } else {
        None
    };
    let mut all = reserved.ok_or_else(|| Rejection::NoSpaceForPool {
        group: volume_group.to_owned(),
        pool: name.to_owned(),
        free: space.free,
        needs,
    })?;
    all.add(&existing);
    let size = match before {
        Some(before) => before.size.clone(),
        None => quantity::format(Bytes(sizes.initial).round_up(extent_size)),
    };
    Ok(ThinPoolCreation {
        size,
        maximum_size: quantity::format(cost.data.bytes(extent_size)),
        metadata_size: quantity::format(cost.metadata.bytes(extent_size)),
        physical_volumes: all.shares(),
    })
}

/// Returns the sizes of the backend's own pool: those of the settings, but never less than what is
/// reserved or exists.
fn pool_sizes(
    rules: &ThinPoolSettings,
    before: Option<&ThinPoolCreation>,
    reported: Option<&node_storage::ReportedThinPool>,
    space: &FreeSpace,
) -> Result<PoolSizes, Rejection> {
    let mut sizes = match (rules.sizes(space.size.0), before) {
        (Ok(sizes), _) => sizes,
        // The backend's settings no longer fit the node: the pool keeps the sizes that it was
        // created with.
        (Err(_), Some(before)) => PoolSizes {
            initial: bytes(&before.size).0,
            maximum: bytes(&before.maximum_size).0,
        },
        (Err(error), None) => {
            let volume_group = &space.location.volume_group;
            return Err(Rejection::unsuitable(volume_group, &error));
        }
    };
    sizes.maximum = sizes.maximum.max(sizes.initial);
    if let Some(before) = before {
        sizes.maximum = sizes.maximum.max(bytes(&before.maximum_size).0);
    }
    if let Some(pool) = reported {
        sizes.maximum = sizes.maximum.max(bytes(&pool.size).0);
    }
    Ok(sizes)
}

/// Rejects new reservations if the pool can't be used, or if its usage has reached a guard.
///
/// Data usage counts relative to the pool's maximum size.
fn check(
    rules: &ThinPoolSettings,
    pool: &node_storage::ReportedThinPool,
    maximum: Bytes,
) -> Result<(), Rejection> {
    if let Some(why) = &pool.unusable_reason {
        return Err(Rejection::PoolUnusable(pool.name.clone(), why.clone()));
    }
    let in_use = u128::from(bytes(&pool.size).0) * u128::from(pool.data_used);
    let used = in_use.div_ceil(u128::from(maximum.0.max(1)));
    let used = u64::try_from(used).unwrap_or(u64::MAX);
    for (what, used, guard) in [
        ("data", used, rules.data_guard()),
        (
            "metadata",
            u64::from(pool.metadata_used),
            rules.metadata_guard(),
        ),
    ] {
        if used >= u64::from(guard) {
            return Err(Rejection::PoolGuarded {
                pool: pool.name.clone(),
                what,
                used,
                guard,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
