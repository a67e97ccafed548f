//! Reads a StorageClass: backend, file system and its options. Unknown parameters are rejected,
//! never ignored. Pure.

use std::collections::BTreeMap;

use crds::ValidationError;
use crds::logical_volume::{Filesystem, FilesystemType, Fsck, ReclaimPolicy};
use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

const BACKEND: &str = "backend";
const FS_TYPE: &str = "fsType";
/// The parameter `fsType` in classes for CSI drivers. external-provisioner ignores its case.
const CSI_FS_TYPE: &str = "csi.storage.k8s.io/fstype";
const MKFS_OPTIONS: &str = "mkfsOptions";
const FSCK: &str = "fsck";
const KNOWN: [&str; 5] = [BACKEND, FS_TYPE, CSI_FS_TYPE, MKFS_OPTIONS, FSCK];

/// The reason why a claim's class can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    /// The claim names no class.
    #[error("the claim names no StorageClass")]
    NotNamed,
    /// The class doesn't exist. Holds its name.
    #[error("StorageClass {0} does not exist")]
    NotFound(String),
    /// The class's volumes come from another provisioner.
    #[error("StorageClass {class} names provisioner {provisioner}")]
    OtherProvisioner {
        /// The class's name.
        class: String,
        /// Its provisioner.
        provisioner: String,
    },
    /// A setting of the class or of its backend's default file system is invalid.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
}

/// A validated StorageClass.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// The name of the StorageBackend.
    pub backend: String,
    /// The file system of its volumes.
    pub filesystem: Filesystem,
    /// Whether its volumes are removed when their claims are deleted.
    pub reclaim_policy: ReclaimPolicy,
    /// True if volumes wait until the scheduler selects a node.
    pub waits_for_consumer: bool,
    /// Terms of which one must allow the node, unless the scheduler selected it; empty allows all
    /// nodes.
    pub allowed_topologies: Vec<TopologySelectorTerm>,
}

/// Returns the name of the StorageBackend that a class names.
#[must_use]
pub fn backend_of(class: &StorageClass) -> Option<&str> {
    class.parameters.as_ref()?.get(BACKEND).map(String::as_str)
}

/// Returns true if volumes of a class wait until the scheduler selects a node.
#[must_use]
pub fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// Validates the default file system of a backend.
///
/// # Errors
/// The first invalid option.
pub fn validate_default(default: &Filesystem) -> Result<(), ValidationError> {
    validate_options(default, "filesystem.mkfsOptions", "filesystem.mountOptions")
}

/// Reads the class of a claim, if its volumes come from FlexLVM.
///
/// # Errors
/// If they don't, and the first invalid parameter.
pub fn read_ours(class: &StorageClass, default: Option<&Filesystem>) -> Result<Class, ClassError> {
    if class.provisioner != crds::GROUP {
        return Err(ClassError::OtherProvisioner {
            class: class.name_any(),
            provisioner: class.provisioner.clone(),
        });
    }
    Ok(read(class, default)?)
}

/// Reads a class. File system settings that it doesn't have come from the backend's default.
///
/// # Errors
/// The first invalid parameter, with its value and the valid values.
pub fn read(class: &StorageClass, default: Option<&Filesystem>) -> Result<Class, ValidationError> {
    let object = format!("StorageClass {}", class.name_any());
    let parameters = class.parameters.clone().unwrap_or_default();
    if let Some(unknown) = parameters.keys().find(|key| !is_known(key)) {
        let problem = format!("unknown parameter {unknown:?}");
        return Err(ValidationError::new(object, problem)
            .with_hint(format!("valid parameters are {}", KNOWN.join(", "))));
    }
    let Some(backend) = parameter(&parameters, BACKEND) else {
        let problem =
            format!("parameter {BACKEND:?} is missing: set it to the name of a StorageBackend");
        return Err(ValidationError::new(object, problem));
    };
    if let Some(default) = default {
        validate_default(default)
            .map_err(|error| error.of(&format!("StorageBackend {backend}")))?;
    }
    let filesystem = read_filesystem(class, &parameters, default)?;
    validate_options(&filesystem, MKFS_OPTIONS, "mountOptions")
        .map_err(|error| error.of(&object))?;
    Ok(Class {
        backend: backend.to_owned(),
        filesystem,
        reclaim_policy: reclaim_policy(class.reclaim_policy.as_deref()),
        waits_for_consumer: waits_for_consumer(class),
        allowed_topologies: class.allowed_topologies.clone().unwrap_or_default(),
    })
}

/// Returns the value of a parameter that is not empty.
fn parameter<'a>(parameters: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    let value = parameters.get(key)?.as_str();
    if value.is_empty() { None } else { Some(value) }
}

/// Returns the error about a parameter's value.
fn invalid(class: &StorageClass, key: &str, value: &str, valid: &str) -> ValidationError {
    let object = format!("StorageClass {}", class.name_any());
    ValidationError::new(object, format!("parameter {key} {value:?} is invalid"))
        .with_hint(format!("valid values are {valid}"))
}

/// Returns the file system that a class requests.
fn read_filesystem(
    class: &StorageClass,
    parameters: &BTreeMap<String, String>,
    default: Option<&Filesystem>,
) -> Result<Filesystem, ValidationError> {
    let type_ = match fs_type(class, parameters)? {
        None => default.map(|default| default.type_).unwrap_or_default(),
        Some((key, type_)) => FilesystemType::from_name(type_)
            .ok_or_else(|| invalid(class, key, type_, storage_model::Filesystem::NAMES))?,
    };
    // The backend's options apply to its own file system type only.
    let default = default.filter(|default| default.type_ == type_);
    let fsck = match parameter(parameters, FSCK) {
        None => default.map(|default| default.fsck).unwrap_or_default(),
        Some("auto") => Fsck::Auto,
        Some("never") => Fsck::Never,
        Some(other) => return Err(invalid(class, FSCK, other, "auto and never")),
    };
    let mkfs_options = parameter(parameters, MKFS_OPTIONS)
        .map(|options| options.split_whitespace().map(str::to_owned).collect())
        .or_else(|| default.map(|default| default.mkfs_options.clone()));
    let mount_options = class
        .mount_options
        .clone()
        .filter(|options| !options.is_empty());
    let mount_options =
        mount_options.or_else(|| default.map(|default| default.mount_options.clone()));
    Ok(Filesystem {
        type_,
        mkfs_options: mkfs_options.unwrap_or_default(),
        mount_options: mount_options.unwrap_or_default(),
        fsck,
    })
}

fn is_known(key: &str) -> bool {
    KNOWN.contains(&key) || key.eq_ignore_ascii_case(CSI_FS_TYPE)
}

/// Returns the file system that a class names, and the parameter that names it.
///
/// Classes for CSI drivers have their own name for that parameter, and admins reuse such classes.
///
/// # Errors
/// If two parameters name different file systems.
fn fs_type<'a>(
    class: &StorageClass,
    parameters: &'a BTreeMap<String, String>,
) -> Result<Option<(&'a str, &'a str)>, ValidationError> {
    let mut first: Option<(&'a str, &'a str)> = None;
    for (key, type_) in parameters {
        let names_type = key == FS_TYPE || key.eq_ignore_ascii_case(CSI_FS_TYPE);
        if !names_type || type_.is_empty() {
            continue;
        }
        match first {
            None => first = Some((key, type_)),
            Some((_, other)) if other == type_ => {}
            Some((other_key, other)) => {
                let object = format!("StorageClass {}", class.name_any());
                let problem = format!(
                    "parameters {other_key} {other:?} and {key} {type_:?} contradict each other"
                );
                return Err(ValidationError::new(object, problem).with_hint("remove one of them"));
            }
        }
    }
    Ok(first)
}

/// Validates the options with the driver's own rules; `mkfs` and `mount` are their fields.
fn validate_options(
    filesystem: &Filesystem,
    mkfs: &str,
    mount: &str,
) -> Result<(), ValidationError> {
    let type_ = host_filesystem(filesystem.type_);
    flexvolume::option_lists::mkfs::check(type_, &filesystem.mkfs_options)
        .map_err(|error| ValidationError::new(mkfs, storage_model::error::chain(&error)))?;
    flexvolume::option_lists::mount::check(type_, &filesystem.mount_options)
        .map_err(|error| ValidationError::new(mount, storage_model::error::chain(&error)))
}

/// Returns the driver's type for a file system of the API.
fn host_filesystem(type_: FilesystemType) -> storage_model::Filesystem {
    match type_ {
        FilesystemType::Ext4 => storage_model::Filesystem::Ext4,
        FilesystemType::Xfs => storage_model::Filesystem::Xfs,
        FilesystemType::Btrfs => storage_model::Filesystem::Btrfs,
    }
}

/// Parses a reclaim policy.
///
/// Classes have no third policy. For a PersistentVolume's `Recycle` FlexLVM removes nothing, so it
/// counts as Retain.
#[must_use]
pub fn reclaim_policy(text: Option<&str>) -> ReclaimPolicy {
    match text {
        None | Some("Delete") => ReclaimPolicy::Delete,
        Some(_) => ReclaimPolicy::Retain,
    }
}

#[cfg(test)]
mod tests;
