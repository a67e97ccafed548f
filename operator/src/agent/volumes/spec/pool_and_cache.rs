//! Thin pool and cache of a volume spec. Pure.

use std::collections::BTreeMap;

use crds::cache::{CacheMode, VolumeCache};
use crds::layout::LayoutType;
use crds::logical_volume::State;
use crds::thin_pool::{ThinPoolCreation, VolumeThinPool};
use crds::{LogicalVolume, Share, ValidationError};
use host::lvm::tags::THIN_POOL;
use host::{Bytes, LvName, LvTag, LvUuid};

use super::{invalid, read_bytes};

/// The thin pool of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Name in the volume group.
    pub name: LvName,
    /// The tag that identifies FlexLVM's pool; no pool without it is ever extended or removed.
    pub identity: LvTag,
    /// How the agent creates the pool; `None` if an admin has created it.
    pub create: Option<PoolCreation>,
}

/// Sizes of a new pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolCreation {
    /// Initial data size in bytes.
    pub first: Bytes,
    /// Maximum data size in bytes.
    pub most: Bytes,
    /// Metadata size in bytes.
    pub metadata: Bytes,
    /// Bytes reserved for the whole pool on each physical volume.
    pub disks: BTreeMap<LvUuid, Bytes>,
}

/// The cache of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSpec {
    /// Name of the logical volume that becomes the cache.
    pub name: LvName,
    /// Size in bytes.
    pub size: Bytes,
    /// Whether writes complete in the cache or on the volume.
    pub mode: CacheMode,
    /// Bytes reserved on each physical volume.
    pub disks: BTreeMap<LvUuid, Bytes>,
}

/// Reads the pool of a volume of layout `Thin`. An invalid one does not block removal.
pub(super) fn read_pool(object: &LogicalVolume) -> Result<Option<PoolSpec>, ValidationError> {
    let spec = &object.spec;
    match (&spec.thin_pool, spec.layout.type_) {
        (_, type_) if type_ != LayoutType::Thin => Ok(None),
        (Some(pool), _) => allow_removal(object, pool_of(pool, &spec.backend)),
        (None, _) => allow_removal(
            object,
            Err(ValidationError::new(
                "spec.thinPool",
                "a volume of layout Thin needs one",
            )),
        ),
    }
}

/// Reads the cache of a volume of layout `Cached`. An invalid one does not block removal.
pub(super) fn read_cache(
    object: &LogicalVolume,
    name: &LvName,
) -> Result<Option<CacheSpec>, ValidationError> {
    let spec = &object.spec;
    match (&spec.cache, spec.layout.type_) {
        (_, type_) if type_ != LayoutType::Cached => Ok(None),
        (Some(cache), _) => allow_removal(object, cache_of(cache, name)),
        (None, _) => allow_removal(
            object,
            Err(ValidationError::new(
                "spec.cache",
                "a volume of layout Cached needs one",
            )),
        ),
    }
}

fn allow_removal<T>(
    object: &LogicalVolume,
    part: Result<T, ValidationError>,
) -> Result<Option<T>, ValidationError> {
    match part {
        Err(_) if object.spec.state != State::Present => Ok(None),
        part => part.map(Some),
    }
}

fn pool_of(pool: &VolumeThinPool, backend: &str) -> Result<PoolSpec, ValidationError> {
    let identity = LvTag::new(format!("{THIN_POOL}{backend}"));
    Ok(PoolSpec {
        name: LvName::new(&pool.name).map_err(invalid("spec.thinPool.name"))?,
        identity: identity.map_err(invalid("spec.backend"))?,
        create: pool.create.as_ref().map(read_plan).transpose()?,
    })
}

fn read_plan(plan: &ThinPoolCreation) -> Result<PoolCreation, ValidationError> {
    Ok(PoolCreation {
        first: read_bytes("spec.thinPool.create.size", &plan.size)?,
        most: read_bytes("spec.thinPool.create.maximumSize", &plan.maximum_size)?,
        metadata: read_bytes("spec.thinPool.create.metadataSize", &plan.metadata_size)?,
        disks: read_shares(
            "spec.thinPool.create.physicalVolumes",
            &plan.physical_volumes,
        )?,
    })
}

fn cache_of(cache: &VolumeCache, name: &LvName) -> Result<CacheSpec, ValidationError> {
    Ok(CacheSpec {
        name: name.cache().map_err(invalid("metadata.name"))?,
        size: read_bytes("spec.cache.size", &cache.size)?,
        mode: cache.mode,
        disks: read_shares("spec.cache.physicalVolumes", &cache.physical_volumes)?,
    })
}

/// Reads the bytes reserved on each physical volume.
pub(super) fn read_shares(
    field: &str,
    shares: &[Share],
) -> Result<BTreeMap<LvUuid, Bytes>, ValidationError> {
    let mut disks = BTreeMap::new();
    for share in shares {
        let uuid = LvUuid::new(&share.uuid).map_err(invalid(field))?;
        disks.insert(uuid, read_bytes(field, &share.size)?);
    }
    Ok(disks)
}
