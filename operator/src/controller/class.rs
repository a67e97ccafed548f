//! What a StorageClass says: which backend, which file system, with which options. What it says and
//! we don't know is refused, never ignored. Pure.

use std::collections::BTreeMap;

use crds::logical_volume::{Filesystem, FilesystemType, Fsck, ReclaimPolicy};
use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

const BACKEND: &str = "backend";
const FS_TYPE: &str = "fsType";
/// The name of `fsType` in classes for CSI drivers. external-provisioner ignores its case.
const CSI_FS_TYPE: &str = "csi.storage.k8s.io/fstype";
const MKFS_OPTIONS: &str = "mkfsOptions";
const FSCK: &str = "fsck";
const KNOWN: [&str; 5] = [BACKEND, FS_TYPE, CSI_FS_TYPE, MKFS_OPTIONS, FSCK];

/// A class, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// The name of the StorageBackend.
    pub backend: String,
    /// The file system of its volumes.
    pub filesystem: Filesystem,
    /// What becomes of its volumes when their claims are deleted.
    pub reclaim_policy: ReclaimPolicy,
    /// True when volumes wait for the scheduler to choose a node.
    pub waits_for_consumer: bool,
    /// Where volumes may be when nobody selected a node: on a node that one of these allows; empty
    /// allows all.
    pub allowed_topologies: Vec<TopologySelectorTerm>,
}

/// The name of the StorageBackend that a class names.
#[must_use]
pub fn backend_of(class: &StorageClass) -> Option<&str> {
    class.parameters.as_ref()?.get(BACKEND).map(String::as_str)
}

/// Whether volumes of a class wait for the scheduler to select a node.
#[must_use]
pub fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// What is wrong with the default file system of a backend, in one sentence that names the field.
#[must_use]
pub fn default_fault(default: &Filesystem) -> Option<String> {
    check(default, "filesystem.mkfsOptions", "filesystem.mountOptions").err()
}

/// Reads a class. What it does not say of the file system, the backend's default says.
///
/// # Errors
/// One sentence that names the parameter, its value and what is possible.
pub fn read(class: &StorageClass, default: Option<&Filesystem>) -> Result<Class, String> {
    let name = class.name_any();
    let parameters = class.parameters.clone().unwrap_or_default();
    if let Some(unknown) = parameters.keys().find(|key| !is_known(key)) {
        return Err(format!(
            "StorageClass {name}: parameter {unknown:?} is not known; possible are {}",
            KNOWN.join(", ")
        ));
    }
    let Some(backend) = parameters
        .get(BACKEND)
        .filter(|backend| !backend.is_empty())
    else {
        return Err(format!(
            "StorageClass {name}: parameter {BACKEND:?} is missing: it names a StorageBackend"
        ));
    };
    if let Some(fault) = default.and_then(default_fault) {
        return Err(format!("StorageBackend {backend}: {fault}"));
    }
    let filesystem = filesystem(class, &parameters, default)
        .map_err(|fault| format!("StorageClass {name}: {fault}"))?;
    Ok(Class {
        backend: backend.clone(),
        filesystem,
        reclaim_policy: reclaim_policy(class.reclaim_policy.as_deref()),
        waits_for_consumer: waits_for_consumer(class),
        allowed_topologies: class.allowed_topologies.clone().unwrap_or_default(),
    })
}

/// Reads the file system of a class. What the class does not name, the backend's default does.
///
/// # Errors
/// One sentence that names the parameter, its value and what is possible.
fn filesystem(
    class: &StorageClass,
    parameters: &BTreeMap<String, String>,
    default: Option<&Filesystem>,
) -> Result<Filesystem, String> {
    let given = |key: &str| {
        parameters
            .get(key)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    };
    let not_possible = |key: &str, text: &str, possible: &str| {
        format!("parameter {key} {text:?} is not possible; possible are {possible}")
    };
    let type_ = match fs_type(parameters)? {
        None => default.map(|default| default.type_).unwrap_or_default(),
        Some((key, type_)) => FilesystemType::from_name(type_)
            .ok_or_else(|| not_possible(key, type_, host::Filesystem::NAMES))?,
    };
    // Options are for one type.
    let default = default.filter(|default| default.type_ == type_);
    let fsck = match given(FSCK) {
        None => default.map(|default| default.fsck).unwrap_or_default(),
        Some("auto") => Fsck::Auto,
        Some("never") => Fsck::Never,
        Some(other) => return Err(not_possible(FSCK, other, "auto and never")),
    };
    let words = |options: &str| options.split_whitespace().map(str::to_owned).collect();
    let mkfs_options = given(MKFS_OPTIONS)
        .map(words)
        .or_else(|| default.map(|default| default.mkfs_options.clone()));
    let mount_options = class
        .mount_options
        .clone()
        .filter(|options| !options.is_empty())
        .or_else(|| default.map(|default| default.mount_options.clone()));
    let filesystem = Filesystem {
        type_,
        mkfs_options: mkfs_options.unwrap_or_default(),
        mount_options: mount_options.unwrap_or_default(),
        fsck,
    };
    check(&filesystem, MKFS_OPTIONS, "mountOptions")?;
    Ok(filesystem)
}

fn is_known(key: &str) -> bool {
    KNOWN.contains(&key) || key.eq_ignore_ascii_case(CSI_FS_TYPE)
}

/// Returns the file system that a class names, and the parameter that names it. Classes for CSI
/// drivers have a name of their own for that parameter, and admins reuse such classes.
///
/// # Errors
/// One sentence, when two parameters name different file systems.
fn fs_type(parameters: &BTreeMap<String, String>) -> Result<Option<(&str, &str)>, String> {
    let mut first: Option<(&str, &str)> = None;
    for (key, type_) in parameters {
        let names_type = key == FS_TYPE || key.eq_ignore_ascii_case(CSI_FS_TYPE);
        if !names_type || type_.is_empty() {
            continue;
        }
        match first {
            None => first = Some((key, type_)),
            Some((_, other)) if other == type_ => {}
            Some((other_key, other)) => {
                return Err(format!(
                    "parameters {other_key} {other:?} and {key} {type_:?} contradict each other; remove one of them"
                ));
            }
        }
    }
    Ok(first)
}

/// Asks the driver, which heeds the options, whether they are possible.
fn check(filesystem: &Filesystem, mkfs: &str, mount: &str) -> Result<(), String> {
    let type_ = host_filesystem(filesystem.type_);
    let fault = |what: &str, error: flexvolume::OptionError| {
        format!("{what}: {}", host::error::chain(&error))
    };
    flexvolume::option_lists::mkfs::check(type_, &filesystem.mkfs_options)
        .map_err(|error| fault(mkfs, error))?;
    flexvolume::option_lists::mount::check(type_, &filesystem.mount_options)
        .map_err(|error| fault(mount, error))
}

/// The driver's word for a file system of ours.
fn host_filesystem(type_: FilesystemType) -> host::Filesystem {
    match type_ {
        FilesystemType::Ext4 => host::Filesystem::Ext4,
        FilesystemType::Xfs => host::Filesystem::Xfs,
        FilesystemType::Btrfs => host::Filesystem::Btrfs,
    }
}

/// A reclaim policy as Kubernetes spells it. Classes know no third one; of a PersistentVolume's
/// `Recycle` nothing of ours is removed, so it counts as Retain.
#[must_use]
pub fn reclaim_policy(text: Option<&str>) -> ReclaimPolicy {
    match text {
        None | Some("Delete") => ReclaimPolicy::Delete,
        Some(_) => ReclaimPolicy::Retain,
    }
}

#[cfg(test)]
mod tests {
    use super::{default_fault, host_filesystem, read};
    use crds::logical_volume::{Filesystem, FilesystemType, Fsck, ReclaimPolicy};
    use k8s_openapi::api::storage::v1::StorageClass;
    use serde_json::{Value, json};

    fn class(value: Value) -> StorageClass {
        let mut class = json!({"metadata": {"name": "fast"}, "provisioner": "flexlvm.dev"});
        for (key, value) in value.as_object().unwrap() {
            class[key] = value.clone();
        }
        serde_json::from_value(class).unwrap()
    }

    #[test]
    fn a_class_is_understood_as_a_whole() {
        let class = class(
            json!({"parameters": {"backend": "b", "fsType": "xfs", "fsck": "never"},
            "mountOptions": ["noatime"],
            "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}),
        );
        let class = read(&class, None).unwrap();
        assert_eq!(
            (class.backend.as_str(), class.filesystem.type_),
            ("b", FilesystemType::Xfs)
        );
        assert_eq!(
            (class.filesystem.mount_options, class.filesystem.fsck),
            (vec!["noatime".to_owned()], Fsck::Never)
        );
        assert_eq!(
            (class.reclaim_policy, class.waits_for_consumer),
            (ReclaimPolicy::Retain, true)
        );
    }

    #[test]
    fn the_backend_says_what_the_class_does_not() {
        let default = json!({"type": "xfs", "mountOptions": ["noatime"], "fsck": "never"});
        let default: Filesystem = serde_json::from_value(default).unwrap();
        let read = |value| read(&class(value), Some(&default)).map(|class| class.filesystem);
        assert_eq!(
            read(json!({"parameters": {"backend": "b"}})).unwrap(),
            default
        );
        let own = read(
            json!({"parameters": {"backend": "b", "fsck": "auto"}, "mountOptions": ["nodiratime"]}),
        )
        .unwrap();
        assert_eq!(
            (own.type_, own.fsck, own.mount_options),
            (
                FilesystemType::Xfs,
                Fsck::Auto,
                vec!["nodiratime".to_owned()]
            )
        );
        // Its options are for another type.
        let other = read(json!({"parameters": {"backend": "b", "fsType": "ext4"}})).unwrap();
        assert_eq!(
            (other.type_, other.mount_options.len(), other.fsck),
            (FilesystemType::Ext4, 0, Fsck::Auto)
        );

        let bad = Filesystem {
            mount_options: vec!["loop".to_owned()],
            ..default
        };
        assert!(
            default_fault(&bad)
                .unwrap()
                .starts_with("filesystem.mountOptions: ")
        );
        let refused =
            super::read(&class(json!({"parameters": {"backend": "b"}})), Some(&bad)).unwrap_err();
        assert!(
            refused.starts_with("StorageBackend b: filesystem.mountOptions: "),
            "{refused}"
        );
    }

    #[test]
    fn csi_fstype_is_read_as_fs_type() {
        let type_of = |parameters: Value| {
            let mut parameters = parameters;
            parameters["backend"] = json!("b");
            read(&class(json!({"parameters": parameters})), None)
                .map(|class| class.filesystem.type_)
        };
        for key in ["csi.storage.k8s.io/fstype", "csi.storage.k8s.io/fsType"] {
            assert_eq!(
                type_of(json!({key: "xfs"})),
                Ok(FilesystemType::Xfs),
                "{key}"
            );
            assert_eq!(type_of(json!({key: ""})), Ok(FilesystemType::Ext4), "{key}");
            assert_eq!(
                type_of(json!({key: "btrfs", "fsType": "btrfs"})),
                Ok(FilesystemType::Btrfs)
            );
            assert_eq!(
                type_of(json!({key: "", "fsType": "btrfs"})),
                Ok(FilesystemType::Btrfs)
            );
            assert_eq!(
                type_of(json!({key: "ext4", "fsType": "xfs"})).unwrap_err(),
                format!(
                    "StorageClass fast: parameters {key} \"ext4\" and fsType \"xfs\" contradict each other; remove one of them"
                )
            );
            let refused = type_of(json!({key: "ntfs"})).unwrap_err();
            assert!(
                refused.contains(key) && refused.contains("\"ntfs\""),
                "{refused}"
            );
        }
        // Other parameters of CSI's sidecars have no counterpart here.
        let refused =
            type_of(json!({"csi.storage.k8s.io/provisioner-secret-name": "s"})).unwrap_err();
        assert!(refused.contains("is not known"), "{refused}");
    }

    #[test]
    fn the_driver_knows_every_file_system() {
        for type_ in FilesystemType::ALL {
            assert_eq!(host_filesystem(type_).name(), type_.as_str());
        }
        assert_eq!(FilesystemType::ALL.len(), host::Filesystem::ALL.len());
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (value, words) in [
            (
                json!({"parameters": {"backend": "b", "fstype": "xfs"}}),
                ["\"fstype\"", "fsType", "mkfsOptions"],
            ),
            (
                json!({"parameters": {}}),
                ["backend", "missing", "StorageBackend"],
            ),
            (
                json!({"parameters": {"backend": "b", "fsType": "ntfs"}}),
                ["ntfs", "ext4, xfs", "btrfs"],
            ),
            (
                json!({"parameters": {"backend": "b", "fsck": "always"}}),
                ["always", "auto", "never"],
            ),
        ] {
            let text = read(&class(value), None).unwrap_err();
            assert!(
                text.starts_with("StorageClass fast: ")
                    && words.iter().all(|word| text.contains(word)),
                "{text}"
            );
        }
    }
}
