//! From which disks a volume's extents come: those on which the controller promised them. Pure.

use std::collections::BTreeMap;

use crds::quantity::human;
use host::Extents;
use host::lvm::{Cost, Lv, Vg};

use crate::agent::volumes::spec::{CacheSpec, PoolCreation, VolumeSpec};

/// The devices for a new volume; none named means that LVM may choose.
///
/// # Errors
/// One sentence, when there is no room.
pub(super) fn for_new(spec: &VolumeSpec, cost: Cost, vg: &Vg) -> Result<Vec<String>, String> {
    let wanted = spec.shares(vg.extent_size).collect::<Vec<_>>();
    let on_disks = named(spec, vg, wanted.iter().copied());
    if spec.layout.is_divisible() {
        // Where a linear volume is matters to nobody, as long as it is there.
        return if cost.total() <= vg.available() {
            Ok(on_disks.unwrap_or_default())
        } else {
            Err(full(spec, vg, cost.total(), "wanted"))
        };
    }
    if wanted.is_empty() && cost.total() > vg.available() {
        return Err(full(spec, vg, cost.total(), "wanted"));
    }
    on_disks
}

/// The devices for a volume that is too small. Images grow where they are: another disk may hold
/// another image.
///
/// # Errors
/// As above.
pub(super) fn for_growth(
    spec: &VolumeSpec,
    cost: Cost,
    vg: &Vg,
    lv: &Lv,
) -> Result<Vec<String>, String> {
    let on_disks = lv.shares.values().map(|extents| extents.0).sum();
    let has = if spec.layout.is_divisible() {
        lv.size.extents_up(vg.extent_size).0
    } else {
        on_disks
    };
    let more = Extents(cost.total().0.saturating_sub(has));
    if more > vg.available() {
        return Err(full(spec, vg, more, "more wanted"));
    }
    let missing = |wanted: Extents, has: Extents| Extents(wanted.0.saturating_sub(has.0));
    if spec.layout.is_divisible() {
        let on = |uuid| lv.shares.get(uuid).copied().unwrap_or_default();
        let wanted = spec
            .shares(vg.extent_size)
            .map(|(uuid, extents)| (uuid, missing(extents, on(uuid))));
        return Ok(named(spec, vg, wanted).unwrap_or_default());
    }
    named(
        spec,
        vg,
        lv.shares
            .iter()
            .map(|(uuid, has)| (uuid, missing(cost.image, *has))),
    )
}

/// The devices for a thin pool that takes so much at first; its space may be on several of those
/// that were promised.
///
/// # Errors
/// As above.
pub(super) fn for_pool(
    spec: &VolumeSpec,
    make: &PoolCreation,
    wanted: Extents,
    vg: &Vg,
) -> Result<Vec<String>, String> {
    if make.disks.is_empty() && wanted <= vg.available() {
        return Ok(Vec::new());
    }
    fitting(&make.disks, wanted, vg)
        .map_err(|free| full_for(spec, vg, "the thin pool", free, wanted))
}

/// The devices for a cache: none but those that were promised, since others may be slow.
///
/// # Errors
/// As above.
pub(super) fn for_cache(
    spec: &VolumeSpec,
    cache: &CacheSpec,
    vg: &Vg,
) -> Result<Vec<String>, String> {
    let wanted = cache.size.extents_up(vg.extent_size);
    fitting(&cache.disks, wanted, vg).map_err(|free| full_for(spec, vg, "the cache", free, wanted))
}

/// The promised devices, if together they have so much; else what they have.
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

fn full_for(spec: &VolumeSpec, vg: &Vg, what: &str, free: Extents, wanted: Extents) -> String {
    let bytes = |extents: Extents| human(extents.bytes(vg.extent_size).0);
    let (free, wanted) = (bytes(free), bytes(wanted));
    format!(
        "no space for {what} on its disks of volume group {} on {}: {free} free, {wanted} wanted",
        spec.group, spec.node
    )
}

/// The devices of those of which something is wanted, if each has it.
fn named<'a>(
    spec: &VolumeSpec,
    vg: &Vg,
    wanted: impl Iterator<Item = (&'a host::LvUuid, Extents)>,
) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for (uuid, extents) in wanted.filter(|(_, extents)| extents.0 > 0) {
        let at = format!("volume group {} on {}", spec.group, spec.node);
        let pv = vg
            .pv(uuid)
            .ok_or_else(|| format!("disk {uuid} is not in {at} any more"))?;
        if pv.available() < extents {
            let bytes = |extents: Extents| human(extents.bytes(vg.extent_size).0);
            let (free, wanted) = (bytes(pv.available()), bytes(extents));
            return Err(format!(
                "no space on disk {} of {at}: {free} free, {wanted} wanted",
                pv.name
            ));
        }
        names.push(pv.name.clone());
    }
    Ok(names)
}

fn full(spec: &VolumeSpec, vg: &Vg, extents: Extents, wanted: &str) -> String {
    let bytes = |extents: Extents| human(extents.bytes(vg.extent_size).0);
    let (free, needed) = (bytes(vg.available()), bytes(extents));
    format!(
        "no space in volume group {} on {}: {free} free, {needed} {wanted}",
        spec.group, spec.node
    )
}
