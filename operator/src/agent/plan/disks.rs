//! From which disks a volume's extents come: those on which the controller promised them. Called by `plan`.
//! Pure.

use crds::quantity::human;
use host::Extents;
use host::lvm::{Cost, Lv, Vg};

use crate::agent::order::Order;

/// The devices for a new volume; none named means that LVM may choose.
///
/// # Errors
/// One sentence, when there is no room.
pub(super) fn for_new(order: &Order, cost: Cost, vg: &Vg) -> Result<Vec<String>, String> {
    let wanted = order.shares(vg.extent_size).collect::<Vec<_>>();
    let on_disks = named(order, vg, wanted.iter().copied());
    if order.layout.is_divisible() {
        // Where a linear volume is matters to nobody, as long as it is there.
        return if cost.total() <= vg.available() {
            Ok(on_disks.unwrap_or_default())
        } else {
            Err(full(order, vg, cost.total(), "wanted"))
        };
    }
    if wanted.is_empty() && cost.total() > vg.available() {
        return Err(full(order, vg, cost.total(), "wanted"));
    }
    on_disks
}

/// The devices for a volume that is too small. Images grow where they are: another disk may hold another image.
///
/// # Errors
/// As above.
pub(super) fn for_growth(order: &Order, cost: Cost, vg: &Vg, lv: &Lv) -> Result<Vec<String>, String> {
    let on_disks = lv.shares.values().map(|extents| extents.0).sum();
    let has = if order.layout.is_divisible() { lv.size.extents_up(vg.extent_size).0 } else { on_disks };
    let more = Extents(cost.total().0.saturating_sub(has));
    if more > vg.available() {
        return Err(full(order, vg, more, "more wanted"));
    }
    let missing = |wanted: Extents, has: Extents| Extents(wanted.0.saturating_sub(has.0));
    if order.layout.is_divisible() {
        let on = |uuid| lv.shares.get(uuid).copied().unwrap_or_default();
        let wanted = order.shares(vg.extent_size).map(|(uuid, extents)| (uuid, missing(extents, on(uuid))));
        return Ok(named(order, vg, wanted).unwrap_or_default());
    }
    named(order, vg, lv.shares.iter().map(|(uuid, has)| (uuid, missing(cost.image, *has))))
}

/// The devices of those of which something is wanted, if each has it.
fn named<'a>(
    order: &Order,
    vg: &Vg,
    wanted: impl Iterator<Item = (&'a host::LvUuid, Extents)>,
) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for (uuid, extents) in wanted.filter(|(_, extents)| extents.0 > 0) {
        let at = format!("volume group {} on {}", order.group, order.node);
        let pv = vg.pv(uuid).ok_or_else(|| format!("disk {uuid} is not in {at} any more"))?;
        if pv.available() < extents {
            let bytes = |extents: Extents| human(extents.bytes(vg.extent_size).0);
            let (free, wanted) = (bytes(pv.available()), bytes(extents));
            return Err(format!("no space on disk {} of {at}: {free} free, {wanted} wanted", pv.name));
        }
        names.push(pv.name.clone());
    }
    Ok(names)
}

fn full(order: &Order, vg: &Vg, extents: Extents, wanted: &str) -> String {
    let bytes = |extents: Extents| human(extents.bytes(vg.extent_size).0);
    let (free, needed) = (bytes(vg.available()), bytes(extents));
    format!("no space in volume group {} on {}: {free} free, {needed} {wanted}", order.group, order.node)
}
