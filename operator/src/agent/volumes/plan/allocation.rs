//! Selects the disks for a volume's extents: those on which the controller reserved space. Pure.

use std::collections::BTreeMap;

use crds::condition::reason;
use crds::quantity::human;
use host::Extents;
use host::lvm::{Cost, Lv, Vg};

use crate::agent::condition::ReportedError;
use crate::agent::volumes::spec::{CacheSpec, PoolCreation, VolumeSpec};

/// Returns the devices for a new volume; empty if LVM may choose.
///
/// # Errors
/// A message with numbers if the space is insufficient.
pub(super) fn for_new(
    spec: &VolumeSpec,
    cost: Cost,
    vg: &Vg,
) -> Result<Vec<String>, ReportedError> {
    let wanted = spec.shares(vg.extent_size).collect::<Vec<_>>();
    let on_disks = with_space(spec, vg, wanted.iter().copied());
    if spec.layout.is_divisible() {
        // A linear volume may use any disks of the group.
        return if cost.total() <= vg.available() {
            Ok(on_disks.unwrap_or_default())
        } else {
            Err(full(spec, vg, cost.total(), "needed"))
        };
    }
    if wanted.is_empty() && cost.total() > vg.available() {
        return Err(full(spec, vg, cost.total(), "needed"));
    }
    on_disks
}

/// Returns the devices for the extension of a volume.
///
/// Images grow on their own disks: another disk may hold another image.
///
/// # Errors
/// A message with numbers if the space is insufficient.
pub(super) fn for_growth(
    spec: &VolumeSpec,
    cost: Cost,
    vg: &Vg,
    lv: &Lv,
) -> Result<Vec<String>, ReportedError> {
    let on_disks = lv.shares.values().map(|extents| extents.0).sum();
    let has = if spec.layout.is_divisible() {
        lv.size.extents_up(vg.extent_size).0
    } else {
        on_disks
    };
    let more = Extents(cost.total().0.saturating_sub(has));
    if more > vg.available() {
        return Err(full(spec, vg, more, "more needed"));
    }
    if spec.layout.is_divisible() {
        let wanted = spec.shares(vg.extent_size).map(|(uuid, extents)| {
            let has = lv.shares.get(uuid).copied().unwrap_or_default();
            (uuid, missing(extents, has))
        });
        return Ok(with_space(spec, vg, wanted).unwrap_or_default());
    }
    with_space(
        spec,
        vg,
        lv.shares
            .iter()
            .map(|(uuid, has)| (uuid, missing(cost.image, *has))),
    )
}

/// Returns the devices for a new thin pool with this initial size; its space may be on several of
/// the reserved disks.
///
/// # Errors
/// A message with numbers if the space is insufficient.
pub(super) fn for_pool(
    spec: &VolumeSpec,
    create: &PoolCreation,
    wanted: Extents,
    vg: &Vg,
) -> Result<Vec<String>, ReportedError> {
    if create.disks.is_empty() && wanted <= vg.available() {
        return Ok(Vec::new());
    }
    fitting(&create.disks, wanted, vg)
        .map_err(|free| full_for(spec, vg, "the thin pool", free, wanted))
}

/// Returns the devices for a cache: only the reserved ones, since others may be slow.
///
/// # Errors
/// A message with numbers if the space is insufficient.
pub(super) fn for_cache(
    spec: &VolumeSpec,
    cache: &CacheSpec,
    vg: &Vg,
) -> Result<Vec<String>, ReportedError> {
    let wanted = cache.size.extents_up(vg.extent_size);
    fitting(&cache.disks, wanted, vg).map_err(|free| full_for(spec, vg, "the cache", free, wanted))
}

/// Returns the reserved devices if they have enough free extents together; else their free extents.
fn fitting(
    reserved: &BTreeMap<host::LvUuid, host::Bytes>,
    wanted: Extents,
    vg: &Vg,
) -> Result<Vec<String>, Extents> {
    let disks: Vec<_> = reserved.keys().filter_map(|uuid| vg.pv(uuid)).collect();
    let free = Extents(disks.iter().map(|pv| pv.available().0).sum());
    if free < wanted {
        Err(free)
    } else {
        Ok(disks.iter().map(|pv| pv.name.clone()).collect())
    }
}

/// Returns the extents that a volume with `has` extents still needs.
fn missing(wanted: Extents, has: Extents) -> Extents {
    Extents(wanted.0.saturating_sub(has.0))
}

fn full_for(
    spec: &VolumeSpec,
    vg: &Vg,
    what: &str,
    free: Extents,
    wanted: Extents,
) -> ReportedError {
    let free = size(vg, free);
    let wanted = size(vg, wanted);
    let message = format!(
        "no space for {what} on its disks of volume group {} on {}: {free} free, {wanted} needed",
        spec.group, spec.node
    );
    ReportedError::new(reason::INSUFFICIENT_SPACE, message)
}

/// Returns the devices of all disks with wanted extents, if each has enough free.
fn with_space<'a>(
    spec: &VolumeSpec,
    vg: &Vg,
    wanted: impl Iterator<Item = (&'a host::LvUuid, Extents)>,
) -> Result<Vec<String>, ReportedError> {
    let mut names = Vec::new();
    for (uuid, extents) in wanted.filter(|(_, extents)| extents.0 > 0) {
        let at = format!("volume group {} on {}", spec.group, spec.node);
        let Some(pv) = vg.pv(uuid) else {
            let message = format!("disk {uuid} is missing in {at}");
            return Err(ReportedError::new(reason::INSUFFICIENT_SPACE, message));
        };
        if pv.available() < extents {
            let free = size(vg, pv.available());
            let wanted = size(vg, extents);
            let message = format!(
                "no space on disk {} of {at}: {free} free, {wanted} needed",
                pv.name
            );
            return Err(ReportedError::new(reason::INSUFFICIENT_SPACE, message));
        }
        names.push(pv.name.clone());
    }
    Ok(names)
}

fn full(spec: &VolumeSpec, vg: &Vg, extents: Extents, needed: &str) -> ReportedError {
    let free = size(vg, vg.available());
    let missing = size(vg, extents);
    let message = format!(
        "no space in volume group {} on {}: {free} free, {missing} {needed}",
        spec.group, spec.node
    );
    ReportedError::new(reason::INSUFFICIENT_SPACE, message)
}

/// Returns a number of extents as a size for users.
fn size(vg: &Vg, extents: Extents) -> String {
    human(extents.bytes(vg.extent_size).0)
}
