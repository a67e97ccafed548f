//! The validated spec of a LogicalVolume, in the types that are used in LVM's command lines. Pure.

mod pool_and_cache;

use std::collections::BTreeMap;

use crds::logical_volume::{LogicalVolumeStatus, ReclaimPolicy, State};
use crds::{Erase, LogicalVolume, ValidationError, quantity};
use host::lvm::tags::{CLAIM_NAME, CLAIM_UID, OBJECT_UID, RESTORED};
use host::lvm::{Layout, Lv};
use host::{Bytes, Extents, KeyDigest, LvName, LvTag, LvUuid, VgName};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use placement::layout;

use crate::volume_record::VolumeRecord;

pub use pool_and_cache::{CacheSpec, PoolCreation, PoolSpec};

/// Minimum volume size: a smaller one has no space for the format marker.
const SMALLEST: Bytes = Bytes(4 << 20);

/// The validated spec, and the part of the status that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Name of the node, for messages.
    pub node: String,
    /// Volume group of the volume.
    pub group: VgName,
    /// Name of the logical volume.
    pub name: LvName,
    /// The tag that identifies the logical volume as this object's. It is written at creation, and
    /// no volume without it is ever removed.
    pub identity: LvTag,
    /// The tag that identifies the object. It is written at creation, so that a volume without a
    /// published uuid is known to be of this object, or of one that was restored from a backup.
    pub object: LvTag,
    /// An informational tag with namespace and name of the claim that the volume is bound to.
    pub trace: Option<LvTag>,
    /// Digest of the volume's key.
    pub key: KeyDigest,
    /// Minimum size in bytes.
    pub size: Bytes,
    /// Layout on the disks.
    pub layout: Layout,
    /// Bytes reserved on each physical volume; empty if the spec does not assign disks.
    pub disks: BTreeMap<LvUuid, Bytes>,
    /// The thin pool of the volume.
    pub pool: Option<PoolSpec>,
    /// The cache of the volume.
    pub cache: Option<CacheSpec>,
    /// Whether the volume should exist.
    pub state: State,
    /// What happens to the volume when its claim is deleted.
    pub reclaim_policy: ReclaimPolicy,
    /// The uuid in the status: once it was published, other components may have used the volume. It
    /// may be wrong, so it alone identifies no volume.
    pub published: Option<LvUuid>,
    /// Whether the object has a deletion timestamp.
    pub deleted: bool,
    /// What happens to the volume's content when it is removed.
    pub erase: Erase,
    /// Uid of the object.
    pub object_uid: String,
    /// Generation of the object's spec; 0 if the object has none.
    pub generation: i64,
    /// Whether the claim of a retained volume was deleted.
    pub released: bool,
    /// The existing logical volume that an Adoption made the object for.
    pub adopted: Option<AdoptedLv>,
    /// What the tag records from which an Adoption can make the object again.
    pub record: VolumeRecord,
}

/// The existing logical volume that an Adoption names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedLv {
    /// LVM's uuid of it.
    pub uuid: LvUuid,
    /// Its size when its format marker was written; `None` if unknown.
    pub created_size: Option<Bytes>,
}

impl VolumeSpec {
    /// Validates a LogicalVolume, with its latest status.
    ///
    /// # Errors
    /// About the first invalid field.
    pub fn read(
        object: &LogicalVolume,
        status: &LogicalVolumeStatus,
    ) -> Result<Self, ValidationError> {
        let spec = &object.spec;
        let size = read_size(object)?;
        let published = status.uuid.as_ref().map(LvUuid::new).transpose();
        let published = published.map_err(invalid("status.uuid"))?;
        let identity = LvTag::new(format!("{CLAIM_UID}{}", spec.claim.uid));
        let identity = identity.map_err(invalid("spec.claim.uid"))?;
        let name = LvName::new(object.name_any()).map_err(invalid("metadata.name"))?;
        let object_uid = object.uid().unwrap_or_default();
        if object_uid.is_empty() {
            return Err(ValidationError::new("metadata.uid", "must not be empty"));
        }
        let object_tag = LvTag::new(format!("{OBJECT_UID}{object_uid}"));
        let claim = spec.current_claim();
        Ok(Self {
            node: spec.node.clone(),
            group: VgName::new(&spec.volume_group).map_err(invalid("spec.volumeGroup"))?,
            pool: pool_and_cache::read_pool(object)?,
            cache: pool_and_cache::read_cache(object, &name)?,
            name,
            identity,
            object: object_tag.map_err(invalid("metadata.uid"))?,
            trace: LvTag::new(format!("{CLAIM_NAME}{}/{}", claim.namespace, claim.name)).ok(),
            key: read_key_digest(&spec.key_digest)?,
            size,
            layout: read_layout(object)?,
            disks: pool_and_cache::read_shares("spec.physicalVolumes", &spec.physical_volumes)?,
            state: spec.state,
            reclaim_policy: spec.reclaim_policy,
            published,
            deleted: object.metadata.deletion_timestamp.is_some(),
            erase: spec.erase,
            object_uid,
            generation: object.metadata.generation.unwrap_or_default(),
            released: spec.released,
            adopted: read_adopted(object)?,
            record: VolumeRecord::of(spec),
        })
    }

    /// Returns the tags of the logical volume, which has or had this size when it was created.
    #[must_use]
    pub fn tags(&self, created_size: Bytes) -> Vec<LvTag> {
        let key = LvTag::new(self.key.tag()).ok();
        let record = VolumeRecord {
            created_size: Some(created_size.0),
            ..self.record.clone()
        };
        [
            Some(self.identity.clone()),
            Some(self.object.clone()),
            self.trace.clone(),
            key,
            record.tag(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns whether the status has the uuid of this logical volume.
    #[must_use]
    pub fn has_published(&self, lv: &Lv) -> bool {
        self.published.as_ref() == Some(&lv.uuid)
    }

    /// Returns whether the status has the uuid of another logical volume.
    #[must_use]
    pub fn has_published_another(&self, lv: &Lv) -> bool {
        self.published.as_ref().is_some_and(|uuid| *uuid != lv.uuid)
    }

    /// Returns whether tags prove that the logical volume was created for this object, or that an
    /// admin has found the data of its claim on it.
    #[must_use]
    pub fn is_proven_by_tags(&self, lv: &Lv) -> bool {
        lv.has_tag(self.identity.as_str())
            && (lv.has_tag(self.object.as_str()) || lv.has_tag(RESTORED))
    }

    /// Returns the extents reserved on each physical volume.
    pub fn shares(&self, extent: Bytes) -> impl Iterator<Item = (&LvUuid, Extents)> {
        self.disks
            .iter()
            .map(move |(uuid, bytes)| (uuid, bytes.extents_up(extent)))
    }

    /// Returns all extents reserved for the volume and its cache.
    #[must_use]
    pub fn reserved(&self, extent: Bytes) -> Extents {
        let cache = self
            .cache
            .as_ref()
            .map_or(0, |cache| cache.size.extents_up(extent).0);
        let own = if self.disks.is_empty() {
            self.size.extents_up(extent).0
        } else {
            self.shares(extent)
                .map(|(_, extents)| extents.0)
                .fold(0, u64::saturating_add)
        };
        Extents(own.saturating_add(cache))
    }

    /// Returns the extents reserved on one physical volume for the volume and its cache.
    #[must_use]
    pub fn reserved_on(&self, uuid: &LvUuid, extent: Bytes) -> Extents {
        let of_volume = self.disks.get(uuid);
        let of_cache = self.cache.as_ref().and_then(|cache| cache.disks.get(uuid));
        let mut reserved: u64 = 0;
        for bytes in [of_volume, of_cache].into_iter().flatten() {
            reserved = reserved.saturating_add(bytes.extents_up(extent).0);
        }
        Extents(reserved)
    }

    /// Returns the logical volume's name with its group, as in `vg0/pvc-1`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }
}

/// Reads the layout; an invalid layout does not block removal.
fn read_layout(object: &LogicalVolume) -> Result<Layout, ValidationError> {
    match layout::to_lvm(&object.spec.layout) {
        Ok(layout) => Ok(layout),
        Err(_) if object.spec.state != State::Present => Ok(Layout::Linear),
        Err(error) => Err(ValidationError {
            field: format!("spec.{}", error.field),
            ..error
        }),
    }
}

fn read_adopted(object: &LogicalVolume) -> Result<Option<AdoptedLv>, ValidationError> {
    let Some(adopted) = &object.spec.adopted else {
        return Ok(None);
    };
    let created_size = match &adopted.created_size {
        Some(size) => Some(read_bytes("spec.adopted.createdSize", size)?),
        None => None,
    };
    Ok(Some(AdoptedLv {
        uuid: LvUuid::new(&adopted.uuid).map_err(invalid("spec.adopted.uuid"))?,
        created_size,
    }))
}

fn read_key_digest(digest: &str) -> Result<KeyDigest, ValidationError> {
    let problem = "must be 64 hexadecimal digits (0-9, a-f)";
    KeyDigest::new(digest).ok_or_else(|| ValidationError::new("spec.keyDigest", problem))
}

/// Reads a size in bytes.
fn read_bytes(field: &str, size: &Quantity) -> Result<Bytes, ValidationError> {
    quantity::parse(size).map(Bytes).map_err(invalid(field))
}

/// Returns a conversion of the error about a field: `map_err(invalid("spec.size"))`.
fn invalid<E: std::error::Error>(field: &str) -> impl FnOnce(E) -> ValidationError {
    move |error| ValidationError::new(field, error.to_string())
}

/// Reads the size in bytes; an invalid size is 0 and does not block removal.
fn read_size(object: &LogicalVolume) -> Result<Bytes, ValidationError> {
    if object.spec.state != State::Present {
        return Ok(Bytes(quantity::parse(&object.spec.size).unwrap_or(0)));
    }
    let size = read_bytes("spec.size", &object.spec.size)?;
    if size < SMALLEST {
        let least = quantity::human(SMALLEST.0);
        let size = quantity::human(size.0);
        let problem = format!("{size} is too small, the minimum is {least}");
        return Err(ValidationError::new("spec.size", problem));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::VolumeSpec;
    use crds::{LogicalVolume, ValidationError};
    use host::Bytes;
    use serde_json::{Value, json};

    const KEY_DIGEST: &str = "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a";

    fn read(path: &str, value: Value) -> Result<VolumeSpec, ValidationError> {
        let mut object = json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
            "metadata": {"name": "pvc-1", "uid": "2"},
            "spec": {"node": "node1", "backend": "b", "volumeGroup": "vg0", "size": "1Gi", "storageClass": "s",
                "claim": {"namespace": "default", "name": "data", "uid": "1"}, "keyDigest": KEY_DIGEST, "reclaimPolicy": "Delete",
                "filesystem": {"type": "ext4"}, "layout": {}, "physicalVolumes": [], "thinPool": null, "cache": null},
            "status": {},
        });
        *object.pointer_mut(path).unwrap() = value;
        let object: LogicalVolume = serde_json::from_value(object).unwrap();
        VolumeSpec::read(&object, object.status.as_ref().unwrap())
    }

    #[test]
    fn spec_has_path_tags_and_size() {
        let spec = read("/metadata/name", json!("pvc-1")).unwrap();
        assert_eq!(spec.path(), "vg0/pvc-1");
        let tags: Vec<_> = spec
            .tags(Bytes(1 << 30))
            .iter()
            .map(ToString::to_string)
            .collect();
        let key = format!("flexlvm.dev/claim-key={KEY_DIGEST}");
        assert_eq!(
            tags,
            [
                "flexlvm.dev/claim-uid=1",
                "flexlvm.dev/logicalvolume-uid=2",
                "flexlvm.dev/claim=default/data",
                key.as_str(),
                "flexlvm.dev/volume=backend=b:class=s:fs=ext4:size=1073741824",
            ]
        );
        assert_eq!((spec.size.0, spec.published), (1 << 30, None));
    }

    #[test]
    fn error_names_the_invalid_field() {
        for (path, value, sentence) in [
            ("/spec/size", json!("1Xi"), "spec.size: "),
            (
                "/spec/size",
                json!("1Mi"),
                "spec.size: 1 MiB is too small, the minimum is 4 MiB",
            ),
            ("/spec/volumeGroup", json!("-rf"), "spec.volumeGroup: "),
            ("/spec/claim/uid", json!("a b"), "spec.claim.uid: "),
            ("/metadata/name", json!("a_rimage_0"), "metadata.name: "),
            ("/metadata/uid", json!("a b"), "metadata.uid: "),
            ("/metadata/uid", json!(""), "metadata.uid: must not"),
            (
                "/spec/keyDigest",
                json!("00000000000000000000000000000000"),
                "spec.keyDigest: must be 64",
            ),
            ("/status", json!({"uuid": "x"}), "status.uuid: "),
            (
                "/spec/layout",
                json!({"type": "RAID1", "copies": 1}),
                "spec.layout.copies: ",
            ),
            (
                "/spec/physicalVolumes",
                json!([{"uuid": "u", "size": "4Mi"}]),
                "spec.physicalVolumes: ",
            ),
            ("/spec/layout", json!({"type": "Thin"}), "spec.thinPool: "),
            ("/spec/layout", json!({"type": "Cached"}), "spec.cache: "),
        ] {
            let error = read(path, value).unwrap_err().to_string();
            assert!(error.starts_with(sentence), "{error}");
        }
    }
}
