//! Reads a claim, and checks whether FlexLVM can serve it. Pure.

use crds::logical_volume::ClaimReference;
use crds::quantity::{self, QuantityError};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt as _;
use storage_model::Bytes;

/// Annotation of a claim: its provisioner, which the PersistentVolume controller writes.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";

/// The same annotation before Kubernetes 1.23.
pub const STORAGE_PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";

/// Annotation of a claim: the name of the node that the scheduler selected for its first pod.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Prefix of the names of all volumes; the uid of the claim follows.
pub const VOLUME_PREFIX: &str = "pvc-";

/// The annotation with the class, which preceded the field.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The annotations of a claim that FlexLVM reads.
pub const READ_ANNOTATIONS: [&str; 5] = [
    STORAGE_PROVISIONER,
    STORAGE_PROVISIONER_BETA,
    SELECTED_NODE,
    CLASS,
    crate::node_loss::RELEASE_ON_DRAIN,
];

/// API group of Kubernetes' snapshots.
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// Returns the provisioner that the PersistentVolume controller wrote into the claim.
#[must_use]
pub fn provisioner(claim: &PersistentVolumeClaim) -> Option<&str> {
    let annotations = claim.annotations();
    let provisioner = annotations
        .get(STORAGE_PROVISIONER)
        .or_else(|| annotations.get(STORAGE_PROVISIONER_BETA));
    provisioner.map(String::as_str)
}

/// Returns the node that the scheduler selected for the claim's first pod.
#[must_use]
pub fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim
        .annotations()
        .get(SELECTED_NODE)
        .map(String::as_str)
        .filter(|node| !node.is_empty())
}

/// Returns true if the claim waits for a volume of FlexLVM (as in sig-storage-lib's
/// `shouldProvision`, without the checks of the class).
#[must_use]
pub fn is_waiting(claim: &PersistentVolumeClaim) -> bool {
    provisioner(claim) == Some(crds::GROUP) && is_unbound(claim)
}

/// Returns true if the claim has neither a volume nor a provisioner yet.
///
/// For a class that waits for the scheduler, the provisioner is written only once a node is
/// selected.
#[must_use]
pub fn has_no_provisioner(claim: &PersistentVolumeClaim) -> bool {
    provisioner(claim).is_none() && is_unbound(claim)
}

fn is_unbound(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.deletion_timestamp.is_none()
        && claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.as_deref())
            .is_none_or(str::is_empty)
}

/// Returns the name of the claim's volume: of its PersistentVolume, its LogicalVolume, and the
/// logical volume on the node.
#[must_use]
pub fn volume_name(claim: &PersistentVolumeClaim) -> Option<String> {
    claim.uid().map(|uid| format!("{VOLUME_PREFIX}{uid}"))
}

/// Returns the name of the claim's class, from the field or the annotation that preceded it.
#[must_use]
pub fn class_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    let annotation = claim.annotations().get(CLASS).map(String::as_str);
    annotation.or_else(|| {
        claim
            .spec
            .as_ref()
            .and_then(|spec| spec.storage_class_name.as_deref())
    })
}

/// Returns the access modes that the claim requests.
#[must_use]
pub fn access_modes(claim: &PersistentVolumeClaim) -> Vec<String> {
    let spec = claim.spec.as_ref();
    let modes = spec.and_then(|spec| spec.access_modes.clone());
    modes.unwrap_or_default()
}

/// Returns the reference to the claim in FlexLVM's objects.
#[must_use]
pub fn reference(claim: &PersistentVolumeClaim) -> ClaimReference {
    ClaimReference {
        namespace: claim.namespace().unwrap_or_default(),
        name: claim.name_any(),
        uid: claim.uid().unwrap_or_default(),
    }
}

/// Returns the claim to which a PersistentVolume is bound, or was bound last.
///
/// `None` while it is not bound, and while an admin reserved it for a claim by name alone.
#[must_use]
pub fn bound_to(volume: &PersistentVolume) -> Option<ClaimReference> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(ClaimReference {
        namespace: reference.namespace.clone()?,
        name: reference.name.clone()?,
        uid: reference.uid.clone().filter(|uid| !uid.is_empty())?,
    })
}

/// Returns the name of the volume that the claim is bound to, if the volume may be FlexLVM's and was
/// created for another claim.
#[must_use]
pub fn adopted_volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    let name = claim.spec.as_ref()?.volume_name.as_deref()?;
    if name.starts_with(VOLUME_PREFIX) && volume_name(claim).as_deref() != Some(name) {
        Some(name)
    } else {
        None
    }
}

/// Returns the reference to a claim in Events and PersistentVolumes.
#[must_use]
pub fn object_reference(claim: &ClaimReference) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: Some(claim.namespace.clone()),
        name: Some(claim.name.clone()),
        uid: Some(claim.uid.clone()),
        ..ObjectReference::default()
    }
}

/// The reason why a claim can never be served as it is: the field, its value and the valid values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The volume mode is not `Filesystem`. Holds the mode.
    #[error(
        "spec.volumeMode {0} is not supported: FlexVolume only mounts file systems; remove it or set Filesystem"
    )]
    VolumeMode(String),
    /// An access mode needs a volume that several nodes can mount. Holds the mode.
    #[error(
        "spec.accessModes {0} is not supported: the volume is on one node's disks; use ReadWriteOnce or ReadWriteOncePod"
    )]
    AccessMode(String),
    /// The claim selects existing volumes.
    #[error("spec.selector is not supported for dynamic provisioning; remove it")]
    Selector,
    /// The claim requests a copy of another volume, or of a snapshot.
    #[error("spec.dataSource {kind} {name} is not supported: volumes are created empty; remove it")]
    DataSource {
        /// The kind of the source.
        kind: String,
        /// The source's name.
        name: String,
    },
    /// The claim names a VolumeAttributesClass. Holds its name.
    #[error(
        "spec.volumeAttributesClassName {0} is not supported: FlexLVM volumes have no modifiable attributes; remove it"
    )]
    AttributesClass(String),
    /// The claim requests no size.
    #[error(
        "spec.resources.requests.storage is missing: set the size of the volume, for example 10Gi"
    )]
    NoSize,
    /// The claim requests 0 bytes.
    #[error("spec.resources.requests.storage is 0: request at least one byte")]
    ZeroSize,
    /// The requested size is not a number of bytes.
    #[error("spec.resources.requests.storage: {0}")]
    InvalidSize(QuantityError),
}

/// Returns the requested size.
///
/// # Errors
/// If the request is missing or invalid.
pub fn size(claim: &PersistentVolumeClaim) -> Result<Bytes, ClaimError> {
    let requests = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.resources.as_ref())
        .and_then(|r| r.requests.as_ref());
    let Some(request) = requests.and_then(|requests| requests.get("storage")) else {
        return Err(ClaimError::NoSize);
    };
    match quantity::parse(request) {
        Ok(0) => Err(ClaimError::ZeroSize),
        Ok(bytes) => Ok(Bytes(bytes)),
        Err(error) => Err(ClaimError::InvalidSize(error)),
    }
}

/// Returns API group, kind and name of the claim's data source.
fn data_source(claim: &PersistentVolumeClaim) -> Option<(&str, &str, &str)> {
    let spec = claim.spec.as_ref()?;
    if let Some(source) = &spec.data_source_ref {
        let group = source.api_group.as_deref().unwrap_or_default();
        return Some((group, &source.kind, &source.name));
    }
    let source = spec.data_source.as_ref()?;
    let group = source.api_group.as_deref().unwrap_or_default();
    Some((group, &source.kind, &source.name))
}

/// A data source that a volume populator fills the claim's volume from: the populator has a volume
/// provisioned for a claim of its own, and hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopulatorSource<'a> {
    /// API group of the source.
    pub group: &'a str,
    /// Kind of the source.
    pub kind: &'a str,
    /// Name of the source.
    pub name: &'a str,
}

/// Returns the claim's data source if a volume populator may be responsible for it: its kind is
/// neither Kubernetes' own nor that of a snapshot.
#[must_use]
pub fn populator_source(claim: &PersistentVolumeClaim) -> Option<PopulatorSource<'_>> {
    let (group, kind, name) = data_source(claim)?;
    if group.is_empty() || group == SNAPSHOTS {
        return None;
    }
    Some(PopulatorSource { group, kind, name })
}

/// Validates a claim, and returns the requested size.
///
/// # Errors
/// If the claim can never be served as it is.
pub fn validate(claim: &PersistentVolumeClaim) -> Result<Bytes, ClaimError> {
    let spec = claim.spec.clone().unwrap_or_default();
    if let Some(mode) = spec.volume_mode
        && mode != "Filesystem"
    {
        return Err(ClaimError::VolumeMode(mode));
    }
    for mode in spec.access_modes.unwrap_or_default() {
        if !["ReadWriteOnce", "ReadWriteOncePod"].contains(&mode.as_str()) {
            return Err(ClaimError::AccessMode(mode));
        }
    }
    if spec.selector.is_some() {
        return Err(ClaimError::Selector);
    }
    if let Some((_, kind, name)) = data_source(claim) {
        return Err(ClaimError::DataSource {
            kind: kind.to_owned(),
            name: name.to_owned(),
        });
    }
    if let Some(class) = spec.volume_attributes_class_name
        && !class.is_empty()
    {
        return Err(ClaimError::AttributesClass(class));
    }
    size(claim)
}

#[cfg(test)]
mod tests {
    use super::{
        Bytes, PopulatorSource, has_no_provisioner, is_waiting, populator_source, size, validate,
    };
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use serde_json::{Value, json};

    fn claim(spec: Value) -> PersistentVolumeClaim {
        serde_json::from_value(
            json!({"metadata": {"name": "data", "namespace": "default", "uid": "1", "annotations":
            {"volume.beta.kubernetes.io/storage-provisioner": "flexlvm.dev"}}, "spec": spec}),
        )
        .unwrap()
    }

    fn with(extra: Value) -> PersistentVolumeClaim {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        claim(spec)
    }

    #[test]
    fn ordinary_claim_is_accepted() {
        assert!(is_waiting(&with(json!({}))));
        assert_eq!(
            validate(&with(json!({"volumeMode": "Filesystem"}))),
            Ok(Bytes(1 << 30))
        );
        assert_eq!(size(&with(json!({}))), Ok(Bytes(1 << 30)));
    }

    #[test]
    fn bound_or_foreign_claim_is_ignored() {
        assert!(!is_waiting(&with(json!({"volumeName": "pvc-1"}))));
        let mut foreign = with(json!({}));
        foreign.metadata.annotations.as_mut().unwrap().insert(
            "volume.kubernetes.io/storage-provisioner".into(),
            "other.dev".into(),
        );
        assert!(!is_waiting(&foreign) && !has_no_provisioner(&foreign));
        let mut unassigned = with(json!({}));
        unassigned.metadata.annotations = None;
        assert!(!is_waiting(&unassigned) && has_no_provisioner(&unassigned));
        unassigned.spec.as_mut().unwrap().volume_name = Some("pv-1".into());
        assert!(!has_no_provisioner(&unassigned));
    }

    #[test]
    fn source_of_foreign_kind_is_a_populators() {
        let source = |group: &str| json!({"dataSourceRef": {"kind": "Hello", "name": "x", "apiGroup": group}});
        let claim = with(source("hello.example.com"));
        let expected = PopulatorSource {
            group: "hello.example.com",
            kind: "Hello",
            name: "x",
        };
        assert_eq!(populator_source(&claim), Some(expected));
        for other in [
            source(""),
            source("snapshot.storage.k8s.io"),
            json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "old"}}),
            json!({}),
        ] {
            assert_eq!(populator_source(&with(other)), None);
        }
    }

    #[test]
    fn error_names_field_value_and_remedy() {
        for (extra, parts) in [
            (
                json!({"volumeMode": "Block"}),
                ["volumeMode", "Block", "Filesystem"],
            ),
            (
                json!({"accessModes": ["ReadWriteMany"]}),
                ["accessModes", "ReadWriteMany", "ReadWriteOnce"],
            ),
            (
                json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}),
                ["accessModes", "ReadOnlyMany", "ReadWriteOnce"],
            ),
            (
                json!({"selector": {"matchLabels": {"a": "b"}}}),
                ["selector", "dynamic provisioning", "remove it"],
            ),
            (
                json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "old"}}),
                ["dataSource", "old", "remove it"],
            ),
            (
                json!({"dataSourceRef": {"kind": "Backup", "name": "b1", "apiGroup": "x.y"}}),
                ["Backup", "b1", "remove it"],
            ),
            (
                json!({"resources": {"requests": {"storage": "0"}}}),
                ["requests.storage", "0", "at least"],
            ),
            (
                json!({"resources": {"requests": {"storage": "100E"}}}),
                ["requests.storage", "100E", "2^63"],
            ),
            (
                json!({"resources": {}}),
                ["requests.storage", "missing", "10Gi"],
            ),
        ] {
            let text = validate(&with(extra)).unwrap_err().to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
