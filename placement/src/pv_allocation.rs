//! On which disks of a volume group a volume's space is promised. A volume of several images needs
//! as many different disks, each with room for a whole one; a linear volume stays on one disk where
//! it can. Pure.

use host::lvm::{Cost, Layout};
use host::{Bytes, Extents};

use crate::allocation::Allocation;
use crate::free_space::{FreeDisk, FreeSpace};
use crate::rejection::Rejection;

/// The disks for a new volume, those with the most room first: so the most volumes of several
/// images find room.
///
/// # Errors
/// Why there is no room.
pub fn assign(layout: Layout, cost: Cost, space: &FreeSpace) -> Result<Allocation, Rejection> {
    let bytes = |extents: Extents| extents.bytes(Bytes(space.extent)).0;
    let total = bytes(cost.total());
    if total > space.free {
        return Err(space.too_little());
    }
    let disks = by_free_space(&space.disks);
    if layout.is_divisible() {
        // An agent of an earlier version reports no disks.
        return if disks.is_empty() {
            Ok(total.into())
        } else {
            fill(&disks, total).ok_or_else(|| space.too_little())
        };
    }
    let (image, images) = (
        bytes(cost.image),
        usize::try_from(cost.images).unwrap_or(usize::MAX),
    );
    check_number(layout, space)?;
    let group = space.location.volume_group.clone();
    let fitting = disks.iter().filter(|disk| disk.free >= image).count();
    if fitting < images {
        return Err(Rejection::DisksTooFull {
            group,
            kind: layout.segtype(),
            fitting,
            needs: images,
            image,
        });
    }
    Ok(disks
        .into_iter()
        .take(images)
        .map(|disk| (disk.uuid.clone(), image))
        .collect())
}

/// Whether there are as many disks as the layout needs, full or not.
///
/// # Errors
/// How many are missing.
pub fn check_number(layout: Layout, space: &FreeSpace) -> Result<(), Rejection> {
    let needs = usize::try_from(layout.images()).unwrap_or(usize::MAX);
    if layout.is_divisible() || space.disks.len() >= needs {
        return Ok(());
    }
    let group = space.location.volume_group.clone();
    Err(Rejection::TooFewDisks {
        group,
        kind: layout.segtype(),
        has: space.disks.len(),
        needs,
    })
}

/// The disks for a volume that grows. Its images stay where they are.
///
/// # Errors
/// Why there is no room.
pub fn extend(
    layout: Layout,
    cost: Cost,
    own: &Allocation,
    space: &FreeSpace,
) -> Result<Allocation, Rejection> {
    let bytes = |extents: Extents| extents.bytes(Bytes(space.extent)).0;
    let total = bytes(cost.total());
    let more = total.saturating_sub(own.bytes);
    if more > space.free {
        return Err(space.too_little());
    }
    if own.disks.is_empty() || space.disks.is_empty() {
        return Ok(Allocation {
            bytes: total,
            disks: own.disks.clone(),
        });
    }
    if layout.is_divisible() {
        let is_own = |disk: &FreeDisk| own.on(&disk.uuid) > 0;
        let mut disks: Vec<&FreeDisk> = space.disks.iter().collect();
        disks.sort_by(|a, b| {
            is_own(b)
                .cmp(&is_own(a))
                .then(b.free.cmp(&a.free))
                .then_with(|| a.uuid.cmp(&b.uuid))
        });
        let mut grown = own.clone();
        grown.add(&fill(&disks, more).ok_or_else(|| space.too_little())?);
        return Ok(grown);
    }
    let image = bytes(cost.image);
    for (uuid, has) in &own.disks {
        let missing = image.saturating_sub(*has);
        let disk = space.disks.iter().find(|disk| disk.uuid == *uuid);
        let free = disk.map_or(0, |disk| disk.free);
        if missing > free {
            let name = disk.map_or_else(|| uuid.clone(), |disk| disk.name.clone());
            return Err(Rejection::DiskFull {
                group: space.location.volume_group.clone(),
                name,
                free,
                needs: missing,
            });
        }
    }
    Ok(own.disks.keys().map(|uuid| (uuid.clone(), image)).collect())
}

/// Those with the most room first.
#[must_use]
pub fn by_free_space(disks: &[FreeDisk]) -> Vec<&FreeDisk> {
    let mut disks: Vec<&FreeDisk> = disks.iter().collect();
    disks.sort_by(|a, b| b.free.cmp(&a.free).then_with(|| a.uuid.cmp(&b.uuid)));
    disks
}

/// So much, from the first disk that has it all, else from one after the other; `None` when all
/// together have not.
#[must_use]
pub fn fill(disks: &[&FreeDisk], bytes: u64) -> Option<Allocation> {
    if let Some(disk) = disks.iter().find(|disk| disk.free >= bytes) {
        return Some(
            [(disk.uuid.clone(), bytes)]
                .into_iter()
                .filter(|(_, bytes)| *bytes > 0)
                .collect(),
        );
    }
    let mut missing = bytes;
    let mut take = |disk: &&FreeDisk| {
        let taken = missing.min(disk.free);
        missing -= taken;
        (disk.uuid.clone(), taken)
    };
    let taken: Allocation = disks
        .iter()
        .map(&mut take)
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    (missing == 0).then_some(taken)
}

#[cfg(test)]
mod tests;
