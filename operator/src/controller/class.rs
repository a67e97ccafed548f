//! What a StorageClass says: which backend, which file system, with which options. What it says and we don't know is
//! refused, never ignored.
//! Pure.

use crds::logical_volume::{Filesystem, FilesystemType, Fsck, ReclaimPolicy};
use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

const BACKEND: &str = "backend";
const FS_TYPE: &str = "fsType";
const MKFS_OPTIONS: &str = "mkfsOptions";
const FSCK: &str = "fsck";
const KNOWN: [&str; 4] = [BACKEND, FS_TYPE, MKFS_OPTIONS, FSCK];

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
    /// Where volumes may be when nobody selected a node: on a node that one of these allows; empty allows all.
    pub allowed_topologies: Vec<TopologySelectorTerm>,
}

/// Reads a class.
///
/// # Errors
/// One sentence that names the parameter, its value and what is possible.
pub fn read(class: &StorageClass) -> Result<Class, String> {
    let name = class.name_any();
    let parameters = class.parameters.clone().unwrap_or_default();
    if let Some(unknown) = parameters.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!(
            "StorageClass {name}: parameter {unknown:?} is not known; possible are {}",
            KNOWN.join(", ")
        ));
    }
    let Some(backend) = parameters.get(BACKEND).filter(|backend| !backend.is_empty()) else {
        return Err(format!("StorageClass {name}: parameter {BACKEND:?} is missing: it names a StorageBackend"));
    };
    let type_ = match parameters.get(FS_TYPE).map(String::as_str) {
        None | Some("") => FilesystemType::default(),
        Some(type_) => FilesystemType::from_name(type_).ok_or_else(|| {
            format!(
                "StorageClass {name}: parameter {FS_TYPE} {type_:?} is not possible; possible are {}",
                host::Filesystem::NAMES
            )
        })?,
    };
    let fsck = match parameters.get(FSCK).map(String::as_str) {
        None | Some("" | "auto") => Fsck::Auto,
        Some("never") => Fsck::Never,
        Some(other) => {
            return Err(format!(
                "StorageClass {name}: parameter {FSCK} {other:?} is not possible; possible are auto and never"
            ));
        }
    };
    let mkfs_options: Vec<String> = parameters
        .get(MKFS_OPTIONS)
        .map(|options| options.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default();
    let mount_options = class.mount_options.clone().unwrap_or_default();
    let prefix =
        |what: &str, error: driver::OptionError| format!("StorageClass {name}: {what}: {}", host::error::chain(&error));
    let filesystem = host_filesystem(type_);
    driver::mkfs_options::check(filesystem, &mkfs_options).map_err(|error| prefix(MKFS_OPTIONS, error))?;
    driver::mount_options::check(filesystem, &mount_options).map_err(|error| prefix("mountOptions", error))?;
    Ok(Class {
        backend: backend.clone(),
        filesystem: Filesystem { type_, mkfs_options, mount_options, fsck },
        reclaim_policy: reclaim_policy(class.reclaim_policy.as_deref()),
        waits_for_consumer: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
        allowed_topologies: class.allowed_topologies.clone().unwrap_or_default(),
    })
}

/// The driver's word for a file system of ours.
fn host_filesystem(type_: FilesystemType) -> host::Filesystem {
    match type_ {
        FilesystemType::Ext4 => host::Filesystem::Ext4,
        FilesystemType::Xfs => host::Filesystem::Xfs,
        FilesystemType::Btrfs => host::Filesystem::Btrfs,
    }
}

/// A reclaim policy as Kubernetes spells it. Classes know no third one; of a PersistentVolume's `Recycle` nothing of
/// ours is removed, so it counts as Retain.
#[must_use]
pub fn reclaim_policy(text: Option<&str>) -> ReclaimPolicy {
    match text {
        None | Some("Delete") => ReclaimPolicy::Delete,
        Some(_) => ReclaimPolicy::Retain,
    }
}

#[cfg(test)]
mod tests {
    use super::{host_filesystem, read};
    use crds::logical_volume::{FilesystemType, Fsck, ReclaimPolicy};
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
        let class = class(json!({"parameters": {"backend": "b", "fsType": "xfs", "fsck": "never"},
            "mountOptions": ["noatime"],
            "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}));
        let class = read(&class).unwrap();
        assert_eq!((class.backend.as_str(), class.filesystem.type_), ("b", FilesystemType::Xfs));
        assert_eq!((class.filesystem.mount_options, class.filesystem.fsck), (vec!["noatime".to_owned()], Fsck::Never));
        assert_eq!((class.reclaim_policy, class.waits_for_consumer), (ReclaimPolicy::Retain, true));
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
            (json!({"parameters": {"backend": "b", "fstype": "xfs"}}), ["\"fstype\"", "fsType", "mkfsOptions"]),
            (json!({"parameters": {}}), ["backend", "missing", "StorageBackend"]),
            (json!({"parameters": {"backend": "b", "fsType": "ntfs"}}), ["ntfs", "ext4, xfs", "btrfs"]),
            (json!({"parameters": {"backend": "b", "fsck": "always"}}), ["always", "auto", "never"]),
        ] {
            let text = read(&class(value)).unwrap_err();
            assert!(text.starts_with("StorageClass fast: ") && words.iter().all(|word| text.contains(word)), "{text}");
        }
    }
}
