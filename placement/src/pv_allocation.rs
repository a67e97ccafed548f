//! Assigns a volume's space to the disks of a volume group.
//!
//! Each image of a volume needs a disk of its own with space for the whole image; a linear volume
//! stays on one disk if possible. Pure.

use std::collections::BTreeMap;

use storage_model::{Bytes, Cost, Layout};

use crate::allocation::Allocation;
use crate::free_space::{FreeDisk, FreeSpace};
use crate::rejection::Rejection;

/// Assigns a new volume to disks, those with the most free space first.
///
/// This order leaves space for the largest number of volumes with several images.
///
/// # Errors
/// The reason why it doesn't fit.
pub fn assign(layout: Layout, cost: Cost, space: &FreeSpace) -> Result<Allocation, Rejection> {
    let total = cost.total().bytes(space.extent_size);
    if total > space.free {
        return Err(space.too_little());
    }
    let disks = by_free_space(&space.disks);
    if layout.is_divisible() {
        // Agents of earlier versions report no disks.
        return if disks.is_empty() {
            Ok(total.into())
        } else {
            fill(&disks, total).ok_or_else(|| space.too_little())
        };
    }
    let image = cost.image.bytes(space.extent_size);
    let images = usize::try_from(cost.images).unwrap_or(usize::MAX);
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

/// Checks that the volume group has as many disks as the layout needs, full or not.
///
/// # Errors
/// The number of disks, and the number that the layout needs.
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

/// Assigns the growth of a volume to disks. Its images stay where they are.
///
/// # Errors
/// The reason why it doesn't fit.
pub fn extend(
    layout: Layout,
    cost: Cost,
    own: &Allocation,
    space: &FreeSpace,
) -> Result<Allocation, Rejection> {
    let total = cost.total().bytes(space.extent_size);
    let more = total.saturating_sub(own.total);
    if more > space.free {
        return Err(space.too_little());
    }
    if own.disks.is_empty() || space.disks.is_empty() {
        return Ok(Allocation {
            total,
            disks: own.disks.clone(),
        });
    }
    if layout.is_divisible() {
        let mut disks: Vec<&FreeDisk> = space.disks.iter().collect();
        disks.sort_by(|a, b| {
            let a_is_own = own.on(&a.uuid) > Bytes(0);
            let b_is_own = own.on(&b.uuid) > Bytes(0);
            b_is_own
                .cmp(&a_is_own)
                .then(b.free.cmp(&a.free))
                .then_with(|| a.uuid.cmp(&b.uuid))
        });
        let mut grown = own.clone();
        grown.add(&fill(&disks, more).ok_or_else(|| space.too_little())?);
        return Ok(grown);
    }
    let image = cost.image.bytes(space.extent_size);
    let mut grown = BTreeMap::new();
    for (uuid, has) in &own.disks {
        let missing = image.saturating_sub(*has);
        let disk = space.disks.iter().find(|disk| disk.uuid == *uuid);
        let disk = disk.or_else(|| replacement(space, own, &grown, *has));
        let free = disk.map(|disk| disk.free).unwrap_or_default();
        if missing > free {
            let name = disk.map_or_else(|| uuid.clone(), |disk| disk.name.clone());
            return Err(Rejection::DiskFull {
                group: space.location.volume_group.clone(),
                name,
                free,
                needs: missing,
            });
        }
        grown.insert(disk.map_or(uuid, |disk| &disk.uuid).clone(), image);
    }
    Ok(grown.into_iter().collect())
}

/// Finds the disk that has an image of size `has` whose own disk is no longer in the volume group.
///
/// After `lvconvert --repair` and `vgreduce --removemissing`, the image is on another disk, where it
/// counts as used by others until the volume's spec names that disk. Of several such disks, the one
/// with the most free space: the agent extends the image on the disk that has it.
fn replacement<'a>(
    space: &'a FreeSpace,
    own: &Allocation,
    grown: &BTreeMap<String, Bytes>,
    has: Bytes,
) -> Option<&'a FreeDisk> {
    by_free_space(&space.disks).into_iter().find(|disk| {
        disk.used_by_others >= has
            && !own.disks.contains_key(&disk.uuid)
            && !grown.contains_key(&disk.uuid)
    })
}

/// Returns the disks sorted by free space, largest first; equal ones by uuid.
#[must_use]
pub fn by_free_space(disks: &[FreeDisk]) -> Vec<&FreeDisk> {
    let mut disks: Vec<&FreeDisk> = disks.iter().collect();
    disks.sort_by(|a, b| b.free.cmp(&a.free).then_with(|| a.uuid.cmp(&b.uuid)));
    disks
}

/// Takes `size` from the first disk that has all of it free, otherwise from one disk after the
/// other. Returns `None` if all disks together have less.
#[must_use]
pub fn fill(disks: &[&FreeDisk], size: Bytes) -> Option<Allocation> {
    let mut allocation = Allocation::default();
    if size == Bytes(0) {
        return Some(allocation);
    }
    if let Some(disk) = disks.iter().find(|disk| disk.free >= size) {
        return Some(Allocation::from_iter([(disk.uuid.clone(), size)]));
    }
    let mut missing = size;
    for disk in disks {
        let part = missing.min(disk.free);
        missing = missing.saturating_sub(part);
        if part > Bytes(0) {
            allocation.add(&Allocation::from_iter([(disk.uuid.clone(), part)]));
        }
    }
    if missing > Bytes(0) {
        None
    } else {
        Some(allocation)
    }
}

#[cfg(test)]
mod tests;
