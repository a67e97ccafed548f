//! What a volume needs beside extents of its own: a thin pool that it is in, or a cache in front of
//! it. Pure. A part of an order.

use std::collections::BTreeMap;

use crds::cache::{CacheMode, VolumeCache};
use crds::layout::LayoutType;
use crds::logical_volume::State;
use crds::thin_pool::{ThinPoolCreation, VolumeThinPool};
use crds::{LogicalVolume, Share, quantity};
use host::lvm::tags::THIN_POOL;
use host::{Bytes, LvName, LvTag, LvUuid};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A thin pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Its name in the volume group.
    pub name: LvName,
    /// The tag that makes it ours; no pool without it is ever extended or removed.
    pub identity: LvTag,
    /// How it is made; `None` where an admin has made it.
    pub create: Option<PoolCreation>,
}

/// How a pool is made, and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolCreation {
    /// Its data at first.
    pub first: Bytes,
    /// Its data at most.
    pub most: Bytes,
    /// Its metadata.
    pub metadata: Bytes,
    /// The physical volumes on which the space of all of it was promised.
    pub disks: BTreeMap<LvUuid, Bytes>,
}

/// A cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSpec {
    /// The name of the logical volume that becomes the cache.
    pub name: LvName,
    /// Its size.
    pub size: Bytes,
    /// When a write counts as done.
    pub mode: CacheMode,
    /// The physical volumes on which its space was promised.
    pub disks: BTreeMap<LvUuid, Bytes>,
}

/// The pool of an object of layout `Thin`. A wrong one keeps no volume from being removed.
pub(super) fn read_pool(object: &LogicalVolume) -> Result<Option<PoolSpec>, String> {
    let spec = &object.spec;
    match (&spec.thin_pool, spec.layout.type_) {
        (_, type_) if type_ != LayoutType::Thin => Ok(None),
        (Some(pool), _) => allow_removal(object, pool_of(pool, &spec.backend)),
        (None, _) => allow_removal(
            object,
            Err("spec.thinPool: a volume of layout Thin needs one".to_owned()),
        ),
    }
}

/// The cache of an object of layout `Cached`. A wrong one keeps no volume from being removed.
pub(super) fn read_cache(
    object: &LogicalVolume,
    name: &LvName,
) -> Result<Option<CacheSpec>, String> {
    let spec = &object.spec;
    match (&spec.cache, spec.layout.type_) {
        (_, type_) if type_ != LayoutType::Cached => Ok(None),
        (Some(cache), _) => allow_removal(object, cache_of(cache, name)),
        (None, _) => allow_removal(
            object,
            Err("spec.cache: a volume of layout Cached needs one".to_owned()),
        ),
    }
}

fn allow_removal<T>(object: &LogicalVolume, part: Result<T, String>) -> Result<Option<T>, String> {
    match part {
        Err(_) if object.spec.state != State::Present => Ok(None),
        part => part.map(Some),
    }
}

fn pool_of(pool: &VolumeThinPool, backend: &str) -> Result<PoolSpec, String> {
    Ok(PoolSpec {
        name: LvName::new(&pool.name).map_err(|error| format!("spec.thinPool.name: {error}"))?,
        identity: LvTag::new(format!("{THIN_POOL}{backend}"))
            .map_err(|error| format!("spec.backend: {error}"))?,
        create: pool.create.as_ref().map(read_plan).transpose()?,
    })
}

fn read_plan(plan: &ThinPoolCreation) -> Result<PoolCreation, String> {
    let bytes = |field: &str, quantity: &Quantity| {
        quantity::parse(quantity)
            .map(Bytes)
            .map_err(|error| format!("spec.thinPool.create.{field}: {error}"))
    };
    Ok(PoolCreation {
        first: bytes("size", &plan.size)?,
        most: bytes("maximumSize", &plan.maximum_size)?,
        metadata: bytes("metadataSize", &plan.metadata_size)?,
        disks: read_shares(
            "spec.thinPool.create.physicalVolumes",
            &plan.physical_volumes,
        )?,
    })
}

fn cache_of(cache: &VolumeCache, name: &LvName) -> Result<CacheSpec, String> {
    Ok(CacheSpec {
        name: name
            .cache()
            .map_err(|error| format!("metadata.name: {error}"))?,
        size: quantity::parse(&cache.size)
            .map(Bytes)
            .map_err(|error| format!("spec.cache.size: {error}"))?,
        mode: cache.mode,
        disks: read_shares("spec.cache.physicalVolumes", &cache.physical_volumes)?,
    })
}

/// What was promised of which physical volume.
pub(super) fn read_shares(
    field: &str,
    shares: &[Share],
) -> Result<BTreeMap<LvUuid, Bytes>, String> {
    let read = |share: &Share| {
        let uuid = LvUuid::new(&share.uuid).map_err(|error| format!("{field}: {error}"))?;
        let size = quantity::parse(&share.size).map_err(|error| format!("{field}: {error}"))?;
        Ok((uuid, Bytes(size)))
    };
    shares.iter().map(read).collect()
}
