//! Tests of classes: accepted and rejected parameters.

use super::{ValidationError, host_filesystem, read, validate_default};
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

/// Returns the file system of a class whose backend has this default.
fn filesystem(value: Value, default: &Filesystem) -> Filesystem {
    read(&class(value), Some(default)).unwrap().filesystem
}

/// Returns the file system type of a class with these parameters.
fn type_of(mut parameters: Value) -> Result<FilesystemType, ValidationError> {
    parameters["backend"] = json!("b");
    read(&class(json!({"parameters": parameters})), None).map(|class| class.filesystem.type_)
}

#[test]
fn all_settings_of_a_class_are_read() {
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
fn backend_provides_file_system_defaults() {
    let default = json!({"type": "xfs", "mountOptions": ["noatime"], "fsck": "never"});
    let default: Filesystem = serde_json::from_value(default).unwrap();
    assert_eq!(
        filesystem(json!({"parameters": {"backend": "b"}}), &default),
        default
    );
    let own = filesystem(
        json!({"parameters": {"backend": "b", "fsck": "auto"}, "mountOptions": ["nodiratime"]}),
        &default,
    );
    assert_eq!(
        (own.type_, own.fsck, own.mount_options),
        (
            FilesystemType::Xfs,
            Fsck::Auto,
            vec!["nodiratime".to_owned()]
        )
    );
    // The default's options are for another type.
    let other = filesystem(
        json!({"parameters": {"backend": "b", "fsType": "ext4"}}),
        &default,
    );
    assert_eq!(
        (other.type_, other.mount_options.len(), other.fsck),
        (FilesystemType::Ext4, 0, Fsck::Auto)
    );

    let bad = Filesystem {
        mount_options: vec!["loop".to_owned()],
        ..default
    };
    assert_eq!(
        validate_default(&bad).unwrap_err().field,
        "filesystem.mountOptions"
    );
    let rejected = read(&class(json!({"parameters": {"backend": "b"}})), Some(&bad)).unwrap_err();
    assert!(
        rejected
            .to_string()
            .starts_with("StorageBackend b: filesystem.mountOptions: "),
        "{rejected}"
    );
}

#[test]
fn csi_fstype_is_read_as_fs_type() {
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
            type_of(json!({key: "ext4", "fsType": "xfs"}))
                .unwrap_err()
                .to_string(),
            format!(
                "StorageClass fast: parameters {key} \"ext4\" and fsType \"xfs\" contradict each other; remove one of them"
            )
        );
        let rejected = type_of(json!({key: "ntfs"})).unwrap_err().to_string();
        assert!(
            rejected.contains(key) && rejected.contains("\"ntfs\""),
            "{rejected}"
        );
    }
    // Other parameters of CSI's sidecars have no counterpart in FlexLVM.
    let rejected = type_of(json!({"csi.storage.k8s.io/provisioner-secret-name": "s"}))
        .unwrap_err()
        .to_string();
    assert!(rejected.contains("unknown parameter"), "{rejected}");
}

#[test]
fn every_file_system_exists_in_the_driver() {
    for type_ in FilesystemType::ALL {
        assert_eq!(host_filesystem(type_).name(), type_.as_str());
    }
    assert_eq!(
        FilesystemType::ALL.len(),
        storage_model::Filesystem::ALL.len()
    );
}

#[test]
fn invalid_parameters_are_rejected_by_name() {
    for (value, parts) in [
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
        let text = read(&class(value), None).unwrap_err().to_string();
        assert!(
            text.starts_with("StorageClass fast: ") && parts.iter().all(|part| text.contains(part)),
            "{text}"
        );
    }
}
