//! Whether a volume fits on a node, and which space it takes there. All other code uses this one
//! definition of a volume's space. Pure.

use crds::cache::{Cache, VolumeCache};
use crds::devices::NodeDevice;
use crds::layout::LayoutType;
use crds::node_storage::{PhysicalVolume, VolumeGroup};
use crds::thin_pool::VolumeThinPool;
use crds::{LogicalVolume, StorageBackend, StorageBackendSpec, condition, quantity};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use storage_model::{Bytes, Cost, Layout};

use crate::allocation::{PoolAllocation, Reservation};
use crate::free_space::{FreeDisk, FreeSpace};
use crate::rejection::Rejection;
use crate::request::{Candidate, PlacementRequest};
use crate::reservations::{Location, Reservations};
use crate::{filter, layout, pv_allocation, thin, volume_limit};

/// A place for a volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Node and volume group.
    pub location: Location,
    /// The volume's size: the requested size, rounded up to whole extents.
    pub size: Bytes,
    /// The space to reserve for the volume.
    pub reservation: Reservation,
    /// Space that was free before this volume.
    pub free: Bytes,
}

/// Fits the request on one node.
///
/// # Errors
/// The reason why it doesn't fit.
pub fn fit(
    request: &PlacementRequest<'_>,
    candidate: Candidate<'_>,
    reservations: &Reservations,
) -> Result<Fit, Rejection> {
    filter::check(request, candidate.node)?;
    free_space_for(request.backend, candidate, reservations)?
        .fit_new(&request.backend.spec, request.size)
}

impl FreeSpace {
    /// Fits a new volume of at least `size`.
    ///
    /// # Errors
    /// The reason why it doesn't fit.
    pub fn fit_new(self, backend: &StorageBackendSpec, size: Bytes) -> Result<Fit, Rejection> {
        let volume = self.allocate(backend, size)?;
        Ok(Fit {
            location: self.location,
            size: volume.size,
            reservation: volume.reservation,
            free: self.free,
        })
    }

    /// Allocates the space for a new volume of at least `size`.
    pub(crate) fn allocate(
        &self,
        backend: &StorageBackendSpec,
        size: Bytes,
    ) -> Result<NewVolume, Rejection> {
        let (layout, cost) = self.cost(&backend.layout, size)?;
        let size = cost.size.bytes(self.extent_size);
        let reservation = match (&self.pool, &backend.cache) {
            (Some(pool), _) => pool.allocate(size, Bytes(0))?,
            (None, Some(cache)) if layout == Layout::Cached => {
                let own = pv_allocation::assign(layout, cost, self)?;
                Reservation {
                    cache: Some(self.cache(cache, size)?),
                    ..own.into()
                }
            }
            (None, _) => pv_allocation::assign(layout, cost, self)?.into(),
        };
        Ok(NewVolume { size, reservation })
    }

    /// Fits an existing volume that is to have at least `size`. Its cache keeps its size.
    ///
    /// # Errors
    /// The reason why it doesn't fit.
    pub fn fit_growth(
        self,
        logical_volume: &LogicalVolume,
        backend: &StorageBackendSpec,
        size: Bytes,
        group: &VolumeGroup,
        reservations: &Reservations,
    ) -> Result<Fit, Rejection> {
        let (layout, cost) = self.cost(&logical_volume.spec.layout, size)?;
        let size = cost.size.bytes(self.extent_size);
        let has = Reservation::from_volume(logical_volume);
        let reservation = match &has.pool {
            Some(PoolAllocation { spec, size: has }) => {
                let rules = backend.thin_pool.clone().unwrap_or_default();
                thin::pool_free_space(&rules, &spec.name, group, &self, reservations)?
                    .allocate(size, *has)?
            }
            None => Reservation {
                own: pv_allocation::extend(layout, cost, &has.own, &self)?,
                ..has
            },
        };
        Ok(Fit {
            location: self.location,
            size,
            reservation,
            free: self.free,
        })
    }

    /// Returns the cache for a volume of this size.
    fn cache(&self, cache: &Cache, volume: Bytes) -> Result<VolumeCache, Rejection> {
        let size = cache
            .bytes(volume.0)
            .map_err(|error| Rejection::unsuitable(&self.location.volume_group, &error))?;
        let size = Bytes(size).round_up(self.extent_size);
        let disks = pv_allocation::by_free_space(&self.fast);
        let allocation = pv_allocation::fill(&disks, size).ok_or_else(|| Rejection::CacheFull {
            group: self.location.volume_group.clone(),
            free: disks.iter().map(|disk| disk.free).sum(),
            needs: size,
        })?;
        Ok(VolumeCache {
            size: quantity::format(size),
            mode: cache.mode,
            physical_volumes: allocation.shares(),
        })
    }

    /// Returns the layout in LVM's terms, and the extents that a volume of at least `size` takes.
    pub(crate) fn cost(
        &self,
        requested: &crds::layout::Layout,
        size: Bytes,
    ) -> Result<(Layout, Cost), Rejection> {
        let group = &self.location.volume_group;
        let layout =
            layout::to_lvm(requested).map_err(|error| Rejection::unsuitable(group, &error))?;
        let cost = layout
            .cost(size, self.extent_size)
            .map_err(|error| Rejection::unsuitable(group, &error))?;
        Ok((layout, cost))
    }
}

/// A new volume, without its place.
pub(crate) struct NewVolume {
    /// Its size, in whole extents.
    pub(crate) size: Bytes,
    /// The space to reserve for it.
    pub(crate) reservation: Reservation,
}

/// Returns the free space on one node for volumes of the backend's layout.
///
/// # Errors
/// The reason why not even the smallest volume can be created there.
pub fn free_space_for(
    backend: &StorageBackend,
    candidate: Candidate<'_>,
    reservations: &Reservations,
) -> Result<FreeSpace, Rejection> {
    let spec = &backend.spec;
    let (space, group) = group_free_space(spec, candidate, reservations)?;
    if let Some(duration) = candidate.silent_for {
        return Err(Rejection::AgentSilent(duration));
    }
    check_kubelet(candidate)?;
    let (layout, _) = space.cost(&spec.layout, Bytes(1))?;
    volume_limit::check(backend, layout, group)?;
    pv_allocation::check_number(layout, &space)?;
    if spec.layout.type_ == LayoutType::Cached && space.fast.is_empty() {
        return Err(Rejection::NoCacheDisks(spec.volume_group.clone()));
    }
    let Some(rules) = spec.thin_pool.as_ref().filter(|_| layout == Layout::Thin) else {
        return Ok(space);
    };
    let name = volume_limit::pool_name(backend);
    thin::check_not_renamed(&name, group)?;
    let pool = thin::pool_free_space(rules, &name, group, &space, reservations)?;
    if let Some(full) = pool.full {
        return Err(full);
    }
    Ok(FreeSpace {
        size: pool.size,
        free: pool.free,
        pool: Some(pool),
        ..space
    })
}

/// Returns the backend's thin pool on one node, as the LogicalVolumes of its volumes name it, with
/// the space to reserve for it; `None` unless the layout is `Thin`.
///
/// # Errors
/// The reason why the pool can't hold volumes.
pub fn pool_of(
    backend: &StorageBackend,
    candidate: Candidate<'_>,
    reservations: &Reservations,
) -> Result<Option<VolumeThinPool>, Rejection> {
    let spec = &backend.spec;
    let is_thin = spec.layout.type_ == LayoutType::Thin;
    let Some(rules) = spec.thin_pool.as_ref().filter(|_| is_thin) else {
        return Ok(None);
    };
    let (space, group) = group_free_space(spec, candidate, reservations)?;
    let name = volume_limit::pool_name(backend);
    let pool = thin::pool_free_space(rules, &name, group, &space, reservations)?;
    Ok(Some(pool.spec))
}

/// Returns the backend's free space in the volume group of one node, and the volume group.
///
/// # Errors
/// The reason why no volume can be created there.
pub fn group_free_space<'a>(
    backend: &StorageBackendSpec,
    candidate: Candidate<'a>,
    reservations: &Reservations,
) -> Result<(FreeSpace, &'a VolumeGroup), Rejection> {
    let volume_group = backend.volume_group.as_str();
    let group = usable_group(volume_group, candidate)?;
    let size = read(volume_group, &group.size)?;
    let extent_size = read(volume_group, &group.extent_size)?;
    let used_by_others = read(volume_group, &group.used_by_others)?;
    let location = Location {
        node: candidate.node.name_any(),
        volume_group: volume_group.to_owned(),
    };
    let pools = thin::allocated(group, &reservations.pools(&location));
    let mut slow = Vec::new();
    let mut fast = Vec::new();
    let mut fast_size = Bytes(0);
    let mut fast_free = Bytes(0);
    for reported in &group.physical_volumes {
        let reserved = reservations
            .reserved_on(&location, &reported.uuid)
            .saturating_add(pools.on(&reported.uuid));
        let size = read(volume_group, &reported.size)?;
        let free = free_disk(volume_group, reported, size, reserved)?;
        // A disk that any backend names in `cache.devices` holds nothing but caches.
        if reported.cache_paths.is_empty() {
            slow.push(free);
            continue;
        }
        fast_size = fast_size.saturating_add(size);
        fast_free = fast_free.saturating_add(free.free);
        if holds_caches_of(backend, reported) {
            fast.push(free);
        }
    }
    let used = used_by_others
        .saturating_add(reservations.reserved(&location))
        .saturating_add(pools.total)
        .saturating_add(fast_free);
    let slow_size = size.saturating_sub(fast_size);
    let held_back = backend
        .reserve(slow_size.0)
        .map(Bytes)
        .map_err(|error| Rejection::unusable(volume_group, &error))?;
    let space = FreeSpace {
        location,
        extent_size: extent_size.max(Bytes(1)),
        size: slow_size,
        held_back,
        free: size.saturating_sub(used).saturating_sub(held_back),
        disks: slow,
        fast,
        pool: None,
    };
    Ok((space, group))
}

/// Reads a size of the agent's report on a volume group.
fn read(volume_group: &str, size: &Quantity) -> Result<Bytes, Rejection> {
    quantity::parse(size)
        .map(Bytes)
        .map_err(|error| Rejection::unusable(volume_group, &error))
}

/// Returns the free space of a disk of this size, on which `reserved` is reserved.
fn free_disk(
    volume_group: &str,
    reported: &PhysicalVolume,
    size: Bytes,
    reserved: Bytes,
) -> Result<FreeDisk, Rejection> {
    let others = read(volume_group, &reported.used_by_others)?;
    Ok(FreeDisk {
        uuid: reported.uuid.clone(),
        name: reported.name.clone(),
        free: size.saturating_sub(others.saturating_add(reserved)),
        used_by_others: others,
    })
}

/// Returns whether this backend names the disk in `cache.devices`.
fn holds_caches_of(backend: &StorageBackendSpec, disk: &PhysicalVolume) -> bool {
    backend
        .cache
        .iter()
        .flat_map(|cache| &cache.devices)
        .any(|path| disk.cache_paths.contains(path))
}

/// Returns why the agent has not created the volume group from the backends' devices, in
/// parentheses; empty if the agent reports no reason.
fn creation_failures(devices: &[NodeDevice], volume_group: &str) -> String {
    const SHOWN: usize = 3;
    let of_group: Vec<_> = devices
        .iter()
        .filter(|device| device.volume_group == volume_group)
        .collect();
    let lines: Vec<_> = of_group
        .iter()
        .take(SHOWN)
        .filter_map(|device| Some(format!("{}: {}", device.path, device.message.as_deref()?)))
        .collect();
    let more = of_group.len().saturating_sub(SHOWN);
    match (lines.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(" ({})", lines.join("; ")),
        (false, _) => format!(
            " ({}; and {more} more in its NodeStorage)",
            lines.join("; ")
        ),
    }
}

/// Checks that the agent does not report a kubelet that has not loaded the driver.
///
/// Without the condition the node counts: its agent does not know yet, or is older.
fn check_kubelet(candidate: Candidate<'_>) -> Result<(), Rejection> {
    let status = candidate
        .storage
        .and_then(|storage| storage.status.as_ref());
    let condition =
        status.and_then(|status| condition::get(&status.conditions, condition::KUBELET_READY));
    match condition {
        Some(condition) if condition.status != "True" => {
            Err(Rejection::KubeletNotReady(condition.message.clone()))
        }
        _ => Ok(()),
    }
}

/// Returns the volume group if the agent reports it as usable.
fn usable_group<'a>(name: &str, candidate: Candidate<'a>) -> Result<&'a VolumeGroup, Rejection> {
    let status = candidate
        .storage
        .and_then(|storage| storage.status.as_ref())
        .ok_or(Rejection::NoReport)?;
    match condition::get(&status.conditions, condition::READY) {
        Some(ready) if ready.status == "True" => {}
        Some(unready) => return Err(Rejection::NotReady(unready.message.clone())),
        None => return Err(Rejection::NoReport),
    }
    let group = status.volume_groups.iter().find(|group| group.name == name);
    let group = group.ok_or_else(|| {
        Rejection::NoVolumeGroup(name.to_owned(), creation_failures(&status.devices, name))
    })?;
    match &group.unusable_reason {
        None => Ok(group),
        Some(reason) => Err(Rejection::unusable(name, reason)),
    }
}
