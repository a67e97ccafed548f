//! What is stated about an adopted volume: by the admin in the Adoption, or else by the tags of the
//! logical volume. Pure.

use crds::Adoption;
use crds::adoption::{AdoptableVolume, AdoptingClaim, StorageKind};
use crds::layout::{Layout, LayoutType};
use crds::logical_volume::Filesystem;
use crds::{StorageBackend, ValidationError};
use host::lvm::tags::{CLAIM_NAME, CLAIM_UID, MARKED};

use crate::volume_record::{DEFAULT_ACCESS_MODE, VolumeRecord};
use placement::claim::VOLUME_PREFIX;
use placement::class;

/// The access mode that a PersistentVolume can have only alone.
const ONE_POD: &str = "ReadWriteOncePod";

/// The access modes of Kubernetes.
const ACCESS_MODES: [&str; 4] = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", ONE_POD];

/// What a LogicalVolume needs that LVM does not store.
#[derive(Clone, Debug, PartialEq)]
pub struct AdoptionSettings {
    /// Claim that gets the volume.
    pub claim: AdoptingClaim,
    /// Uid of the claim that the volume was created for; the Adoption's own for a logical volume that
    /// FlexLVM did not create.
    pub claim_uid: String,
    /// Name of the StorageBackend.
    pub backend: String,
    /// Name of the StorageClass.
    pub storage_class: String,
    /// The layout.
    pub layout: Layout,
    /// The file system.
    pub filesystem: Filesystem,
    /// Access modes of the PersistentVolume.
    pub access_modes: Vec<String>,
    /// Size in bytes of the logical volume when its format marker was written; `None` if unknown.
    pub created_size: Option<u64>,
}

/// Returns the logical volume that the agent reported for the present spec.
#[must_use]
pub fn reported(adoption: &Adoption) -> Option<&AdoptableVolume> {
    let report = adoption.status.as_ref()?.report.as_ref()?;
    let is_current = Some(report.generation) == adoption.metadata.generation;
    report.volume.as_ref().filter(|_| is_current)
}

/// Returns the claim that gets the volume; `None` if neither Adoption nor tags name one.
///
/// While the agent reports no volume for the present spec, for example since a disk is missing, the
/// claim stays that of the last report: it must not get another volume meanwhile.
#[must_use]
pub fn claim(adoption: &Adoption) -> Option<AdoptingClaim> {
    if let Some(claim) = &adoption.spec.claim {
        return Some(claim.clone());
    }
    let Some(volume) = reported(adoption) else {
        return adoption.status.as_ref()?.claim.clone();
    };
    let (namespace, name) = tag(volume, CLAIM_NAME)?.split_once('/')?;
    Some(AdoptingClaim {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// Returns the uid of the claim that the volume was created for, or else that of the Adoption.
#[must_use]
pub fn claim_uid(adoption: &Adoption) -> Option<String> {
    match tag(reported(adoption)?, CLAIM_UID) {
        Some(uid) => Some(uid.to_owned()),
        None => adoption.metadata.uid.clone(),
    }
}

/// Returns the name of the StorageBackend; `None` if neither Adoption nor tags name one.
#[must_use]
pub fn backend(adoption: &Adoption) -> Option<String> {
    let record = reported(adoption).and_then(|volume| VolumeRecord::from_tags(&volume.tags));
    let recorded = record.map(|record| record.backend);
    adoption.spec.backend.clone().or(recorded)
}

/// Reads the settings of a logical volume that the agent reported.
///
/// # Errors
/// The first setting that is missing or invalid.
pub fn read(
    adoption: &Adoption,
    volume: &AdoptableVolume,
    backend: Option<&StorageBackend>,
) -> Result<AdoptionSettings, ValidationError> {
    let spec = &adoption.spec;
    let record = VolumeRecord::from_tags(&volume.tags);
    let recorded_class = record.as_ref().map(|record| record.storage_class.clone());
    let recorded_filesystem = record.as_ref().map(|record| record.filesystem.clone());
    let recorded_modes = record.as_ref().map(|record| record.access_modes.clone());
    let name = self::backend(adoption).ok_or_else(|| missing("spec.backend"))?;
    let backend = backend.ok_or_else(|| {
        let problem = format!("StorageBackend {name} does not exist");
        ValidationError::new("spec.backend", problem)
    })?;
    if backend.spec.volume_group != spec.volume_group {
        let problem = format!(
            "the volumes of StorageBackend {name} are in volume group {}, not {}",
            backend.spec.volume_group, spec.volume_group
        );
        return Err(ValidationError::new("spec.backend", problem));
    }
    let filesystem = spec.filesystem.clone().or(recorded_filesystem);
    let filesystem = filesystem.ok_or_else(|| missing("spec.filesystem"))?;
    class::validate_default(&filesystem)?;
    let mut access_modes = spec.access_modes.clone();
    if access_modes.is_empty() {
        access_modes = recorded_modes.unwrap_or_else(|| vec![DEFAULT_ACCESS_MODE.to_owned()]);
    }
    check_access_modes(&access_modes)?;
    Ok(AdoptionSettings {
        claim: claim(adoption).ok_or_else(|| missing("spec.claim"))?,
        claim_uid: read_claim_uid(adoption, volume)?,
        backend: name,
        storage_class: spec
            .storage_class
            .clone()
            .or(recorded_class)
            .ok_or_else(|| missing("spec.storageClass"))?,
        layout: read_layout(volume, record.as_ref(), backend)?,
        filesystem,
        access_modes,
        created_size: created_size(volume, record.as_ref()),
    })
}

/// Checks that a PersistentVolume can have these access modes: the API server rejects others only
/// once the LogicalVolume exists.
fn check_access_modes(modes: &[String]) -> Result<(), ValidationError> {
    const FIELD: &str = "spec.accessModes";
    for mode in modes {
        if !ACCESS_MODES.contains(&mode.as_str()) {
            let problem = format!("{mode} is not an access mode");
            let hint = format!("use {}", ACCESS_MODES.join(", "));
            return Err(ValidationError::new(FIELD, problem).with_hint(hint));
        }
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == ONE_POD) {
        let problem = format!("{ONE_POD} excludes other access modes");
        return Err(ValidationError::new(FIELD, problem));
    }
    Ok(())
}

/// Reads the uid of the claim that the volume was created for.
///
/// The name of the volume must be that of the claim's volume: so no volume of another claim, whose
/// key would be the same, exists under another name. The uid of this Adoption is in the tags if its
/// LogicalVolume was deleted before its end: only this logical volume has it.
fn read_claim_uid(
    adoption: &Adoption,
    volume: &AdoptableVolume,
) -> Result<String, ValidationError> {
    let name = &adoption.spec.logical_volume;
    let Some(uid) = tag(volume, CLAIM_UID) else {
        return Ok(adoption.metadata.uid.clone().unwrap_or_default());
    };
    let wanted = format!("{VOLUME_PREFIX}{uid}");
    if *name == wanted || adoption.metadata.uid.as_deref() == Some(uid) {
        return Ok(uid.to_owned());
    }
    let group = &adoption.spec.volume_group;
    let problem =
        format!("{name} has the tag {CLAIM_UID}{uid} of a claim, but not the name of its volume");
    Err(ValidationError::new("spec.logicalVolume", problem).with_hint(format!(
        "rename it on the node with lvrename {group}/{name} {wanted}, and create the Adoption with that name"
    )))
}

/// Returns the layout: that of the tags, or else of the backend, if LVM stores the volume so.
fn read_layout(
    volume: &AdoptableVolume,
    record: Option<&VolumeRecord>,
    backend: &StorageBackend,
) -> Result<Layout, ValidationError> {
    let layout = record.map_or(&backend.spec.layout, |record| &record.layout);
    let type_ = layout.type_;
    let fits = match volume.storage {
        StorageKind::Plain => matches!(
            type_,
            LayoutType::Linear | LayoutType::Striped | LayoutType::Cached
        ),
        StorageKind::Raid => type_.is_raid(),
        StorageKind::Thin => type_ == LayoutType::Thin,
    };
    if !fits {
        let problem = format!(
            "the layout {} does not fit the logical volume, which LVM stores as {:?}",
            type_.as_str(),
            volume.storage
        );
        return Err(ValidationError::new("spec.backend", problem)
            .with_hint("name a StorageBackend whose layout fits"));
    }
    // Its cache was detached.
    if type_ == LayoutType::Cached {
        return Ok(Layout::default());
    }
    Ok(layout.clone())
}

/// Returns the size of the volume when its format marker was written, as its tags state it.
fn created_size(volume: &AdoptableVolume, record: Option<&VolumeRecord>) -> Option<u64> {
    match record {
        Some(record) => record.created_size,
        None => tag(volume, MARKED)?.parse().ok(),
    }
}

/// Returns what follows this prefix in a tag of the logical volume.
fn tag<'a>(volume: &'a AdoptableVolume, prefix: &str) -> Option<&'a str> {
    let mut tags = volume.tags.iter();
    tags.find_map(|tag| tag.strip_prefix(prefix))
}

fn missing(field: &str) -> ValidationError {
    ValidationError::new(
        field,
        "must be set, since the tags of the logical volume do not state it",
    )
}
