//! Whether a volume fits on a node, and what it takes there: the one place that says what a volume
//! takes. Pure.

use crds::cache::{Cache, VolumeCache};
use crds::devices::NodeDevice;
use crds::layout::LayoutType;
use crds::node_storage::{PhysicalVolume, VolumeGroup};
use crds::quantity::QuantityError;
use crds::{LogicalVolume, StorageBackend, StorageBackendSpec, condition, quantity};
use host::Bytes;
use host::lvm::{Cost, Layout};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;

use crate::allocation::{PoolAllocation, Reservation};
use crate::free_space::{FreeDisk, FreeSpace};
use crate::rejection::Rejection;
use crate::request::{Candidate, PlacementRequest};
use crate::reservations::{Location, Reservations};
use crate::{filter, layout, pv_allocation, thin};

/// Room that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Where.
    pub location: Location,
    /// The volume's size in bytes: the order's, in whole extents.
    pub bytes: u64,
    /// What it takes, and where.
    pub reservation: Reservation,
    /// Bytes that nobody has been promised yet, before this volume.
    pub free: u64,
}

/// Room for the order on one node.
///
/// # Errors
/// Why there is none.
pub fn fit(
    request: &PlacementRequest<'_>,
    candidate: Candidate<'_>,
    reservations: &Reservations,
) -> Result<Fit, Rejection> {
    filter::check(request, candidate.node)?;
    free_space_for(request.backend, candidate, reservations)?
        .fit_new(&request.backend.spec, request.bytes)
}

impl FreeSpace {
    /// Room for a volume of so many bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub fn fit_new(self, backend: &StorageBackendSpec, bytes: u64) -> Result<Fit, Rejection> {
        let (bytes, reservation) = self.allocate(backend, bytes)?;
        Ok(Fit {
            location: self.location,
            bytes,
            reservation,
            free: self.free,
        })
    }

    /// What a new volume of at least so many bytes takes here, and its size then.
    pub(crate) fn allocate(
        &self,
        backend: &StorageBackendSpec,
        bytes: u64,
    ) -> Result<(u64, Reservation), Rejection> {
        let (layout, cost) = self.cost(&backend.layout, bytes)?;
        let bytes = cost.size.bytes(Bytes(self.extent)).0;
        let reservation = match (&self.pool, &backend.cache) {
            (Some(pool), _) => pool.allocate(bytes, 0)?,
            (None, Some(cache)) if layout == Layout::Cached => {
                let own = pv_allocation::assign(layout, cost, self)?;
                Reservation {
                    cache: Some(self.cache(cache, bytes)?),
                    ..own.into()
                }
            }
            (None, _) => pv_allocation::assign(layout, cost, self)?.into(),
        };
        Ok((bytes, reservation))
    }

    /// Room for a volume that is here already to have so many bytes. Its cache stays as it is.
    ///
    /// # Errors
    /// Why there is none.
    pub fn fit_growth(
        self,
        logical_volume: &LogicalVolume,
        backend: &StorageBackendSpec,
        bytes: u64,
        group: &VolumeGroup,
        reservations: &Reservations,
    ) -> Result<Fit, Rejection> {
        let (layout, cost) = self.cost(&logical_volume.spec.layout, bytes)?;
        let bytes = cost.size.bytes(Bytes(self.extent)).0;
        let has = Reservation::from_volume(logical_volume);
        let reservation = match &has.pool {
            Some(PoolAllocation { spec, bytes: has }) => {
                let rules = backend.thin_pool.clone().unwrap_or_default();
                thin::pool_free_space(&rules, &spec.name, group, &self, reservations)?
                    .allocate(bytes, *has)?
            }
            None => Reservation {
                own: pv_allocation::extend(layout, cost, &has.own, &self)?,
                ..has
            },
        };
        Ok(Fit {
            location: self.location,
            bytes,
            reservation,
            free: self.free,
        })
    }

    /// The cache of a volume of so many bytes.
    fn cache(&self, cache: &Cache, volume: u64) -> Result<VolumeCache, Rejection> {
        let group = || self.location.volume_group.clone();
        let size = cache
            .bytes(volume)
            .map_err(|fault| Rejection::Unsuitable(group(), fault))?;
        let size = Bytes(size)
            .extents_up(Bytes(self.extent))
            .bytes(Bytes(self.extent))
            .0;
        let disks = pv_allocation::by_free_space(&self.fast);
        let full = || Rejection::CacheFull {
            group: group(),
            free: disks.iter().map(|disk| disk.free).sum(),
            needs: size,
        };
        let allocation = pv_allocation::fill(&disks, size).ok_or_else(full)?;
        Ok(VolumeCache {
            size: quantity::format(size),
            mode: cache.mode,
            physical_volumes: allocation.shares(),
        })
    }

    /// What a volume of so many bytes takes here.
    pub(crate) fn cost(
        &self,
        asked: &crds::layout::Layout,
        bytes: u64,
    ) -> Result<(Layout, Cost), Rejection> {
        let unsuitable =
            |why: String| Rejection::Unsuitable(self.location.volume_group.clone(), why);
        let layout = layout::to_lvm(asked).map_err(unsuitable)?;
        let cost = layout.cost(Bytes(bytes), Bytes(self.extent));
        Ok((layout, cost.map_err(|error| unsuitable(error.to_string()))?))
    }
}

/// The space of a backend on one node that can make volumes of its layout.
///
/// # Errors
/// Why no volume can be made there, however small.
pub fn free_space_for(
    backend: &StorageBackend,
    candidate: Candidate<'_>,
    reservations: &Reservations,
) -> Result<FreeSpace, Rejection> {
    let spec = &backend.spec;
    let (space, group) = group_free_space(spec, candidate, reservations)?;
    let (layout, _) = space.cost(&spec.layout, 1)?;
    pv_allocation::check_number(layout, &space)?;
    if spec.layout.type_ == LayoutType::Cached && space.fast.is_empty() {
        return Err(Rejection::NoCacheDisks(spec.volume_group.clone()));
    }
    let Some(rules) = spec.thin_pool.as_ref().filter(|_| layout == Layout::Thin) else {
        return Ok(space);
    };
    let name = rules
        .name
        .clone()
        .unwrap_or_else(|| crds::thin_pool::pool_name(&backend.name_any()));
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

/// The space of a backend in the volume group of one node, and the group.
///
/// # Errors
/// Why no volume can be made there at all.
pub fn group_free_space<'a>(
    backend: &StorageBackendSpec,
    candidate: Candidate<'a>,
    reservations: &Reservations,
) -> Result<(FreeSpace, &'a VolumeGroup), Rejection> {
    let volume_group = backend.volume_group.as_str();
    let unusable = |why: String| Rejection::Unusable(volume_group.to_owned(), why);
    let group = usable_group(volume_group, candidate)?;
    let read = |quantity: &Quantity| {
        quantity::parse(quantity).map_err(|error| unusable(error.to_string()))
    };
    let (size, extent, other) = (
        read(&group.size)?,
        read(&group.extent_size)?,
        read(&group.used_by_others)?,
    );
    let location = Location {
        node: candidate.node.name_any(),
        volume_group: volume_group.to_owned(),
    };
    let pools = thin::allocated(group, &reservations.pools(&location));
    let mut all = Vec::with_capacity(group.physical_volumes.len());
    for reported in &group.physical_volumes {
        let reserved = reservations
            .reserved_on(&location, &reported.uuid)
            .saturating_add(pools.on(&reported.uuid));
        all.push(
            MeasuredDisk::new(reported, reserved).map_err(|error| unusable(error.to_string()))?,
        );
    }
    // Whichever backend named a disk for its caches, nothing else is put on it.
    let (fast, slow): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|disk| !disk.reported.cache_paths.is_empty());
    let fast_size: u64 = fast.iter().map(|disk| disk.size).sum();
    let fast_free: u64 = fast.iter().map(|disk| disk.free.free).sum();
    let taken = other
        .saturating_add(reservations.reserved(&location))
        .saturating_add(pools.bytes)
        .saturating_add(fast_free);
    let slow_size = size.saturating_sub(fast_size);
    let reserve = backend.reserve(slow_size).map_err(unusable)?;
    let space = FreeSpace {
        location,
        extent: extent.max(1),
        size: slow_size,
        reserve,
        free: size.saturating_sub(taken).saturating_sub(reserve),
        disks: slow.into_iter().map(|disk| disk.free).collect(),
        fast: fast
            .into_iter()
            .filter(|disk| holds_caches_of(backend, disk.reported))
            .map(|disk| disk.free)
            .collect(),
        pool: None,
    };
    Ok((space, group))
}

/// A disk of a volume group, and what of it may still be promised.
struct MeasuredDisk<'a> {
    reported: &'a PhysicalVolume,
    size: u64,
    free: FreeDisk,
}

impl<'a> MeasuredDisk<'a> {
    fn new(reported: &'a PhysicalVolume, reserved: u64) -> Result<Self, QuantityError> {
        let size = quantity::parse(&reported.size)?;
        let others = quantity::parse(&reported.used_by_others)?;
        let free = FreeDisk {
            uuid: reported.uuid.clone(),
            name: reported.name.clone(),
            free: size.saturating_sub(others.saturating_add(reserved)),
        };
        Ok(Self {
            reported,
            size,
            free,
        })
    }
}

/// Whether this backend names the disk for its caches.
fn holds_caches_of(backend: &StorageBackendSpec, disk: &PhysicalVolume) -> bool {
    backend
        .cache
        .iter()
        .flat_map(|cache| &cache.devices)
        .any(|path| disk.cache_paths.contains(path))
}

/// What the agent says of the devices that it would make a volume group of: a clause, or nothing.
fn not_made(devices: &[NodeDevice], volume_group: &str) -> String {
    const SHOWN: usize = 3;
    let of_group: Vec<_> = devices
        .iter()
        .filter(|device| device.volume_group == volume_group)
        .collect();
    let line =
        |device: &&NodeDevice| Some(format!("{}: {}", device.path, device.message.as_deref()?));
    let lines: Vec<_> = of_group.iter().take(SHOWN).filter_map(line).collect();
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

/// The volume group, if its node's agent reports it, and nothing is wrong with it.
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
        Rejection::NoVolumeGroup(name.to_owned(), not_made(&status.devices, name))
    })?;
    match &group.unusable_reason {
        None => Ok(group),
        Some(reason) => Err(Rejection::Unusable(name.to_owned(), reason.clone())),
    }
}
