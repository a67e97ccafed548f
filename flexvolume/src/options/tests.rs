//! Round trip of options between controller and driver, and rejected options.

use proptest::prelude::*;
use serde_json::json;
use storage_model::{Bytes, Filesystem, Key, LvName, LvUuid, VgName};

use super::{Fsck, Options, OptionsError, Proof, VolumeOptions, name, parse};

const UUID: &str = "ABCDEF-1234-5678-90ab-cdef-ghij-klmnop";

fn full() -> serde_json::Value {
    json!({
        "kubernetes.io/fsType": "", "kubernetes.io/readwrite": "rw", "kubernetes.io/pvOrVolumeName": "pvc-1",
        "kubernetes.io/pod.name": "p", "kubernetes.io/secret/x": "c2VjcmV0",
        "volumegroup": "vg0", "volumeID": "pvc-1", "uuid": UUID, "size": "1073741824",
        "key": "0123456789abcdef0123456789abcdef",
    })
}

fn with(key: &str, value: serde_json::Value) -> Result<Options, OptionsError> {
    let mut json = full();
    json[key] = value;
    parse(&json.to_string())
}

#[test]
fn parses_the_kubelets_options() {
    let options = parse(&full().to_string()).unwrap();
    assert_eq!(
        (options.filesystem, options.read_only, &*options.name),
        (Filesystem::Ext4, false, "pvc-1")
    );
    assert_eq!(options.proof.unwrap().size, Bytes(1 << 30));
    let options = with("kubernetes.io/fsType", json!("xfs")).unwrap();
    assert_eq!(options.filesystem, Filesystem::Xfs);
    assert!(
        with("kubernetes.io/readwrite", json!("ro"))
            .unwrap()
            .read_only
    );
    let options = with("mountOptions", json!("noatime,commit=5")).unwrap();
    assert_eq!(options.mount, ["noatime", "commit=5"]);
    assert_eq!(name(&full().to_string()).unwrap(), "pvc-1");
    assert_eq!(
        name(r#"{"kubernetes.io/pvOrVolumeName":"x"}"#).unwrap(),
        "x"
    );
    assert!(
        name("{}").is_err()
            && name("[]").is_err()
            && name(r#"{"kubernetes.io/pvOrVolumeName":"../x"}"#).is_err()
    );
}

#[test]
fn size_is_free_text_without_a_uuid() {
    for size in [None, Some("1000m"), Some("")] {
        let mut json = full();
        json.as_object_mut().unwrap().remove("uuid");
        json.as_object_mut().unwrap().remove("size");
        if let Some(size) = size {
            json["size"] = size.into();
        }
        assert_eq!(parse(&json.to_string()).unwrap().proof, None);
    }
}

#[test]
fn errors_name_the_invalid_option() {
    for (key, value, text) in [
        ("uuid", json!("x"), "\"uuid\" can't be used"),
        ("volumeID", json!("../x"), "\"volumeID\" can't be used"),
        ("volumegroup", json!("-rf"), "\"volumegroup\" can't be used"),
        ("key", json!("ABC"), "\"key\" must be 32"),
        ("size", json!("1Gi"), "number of bytes"),
        ("size", json!("+5"), "number of bytes"),
        ("size", json!(5), "JSON object of strings"),
        ("size", json!(null), "JSON object of strings"),
        ("size", json!({}), "JSON object of strings"),
        (
            "kubernetes.io/fsType",
            json!("zfs"),
            "\"zfs\" is not one of",
        ),
        ("kubernetes.io/readwrite", json!("r"), "rw or ro"),
        ("fsck", json!("always"), "auto or never"),
        ("mountoptions", json!("ro"), "\"mountoptions\" is unknown"),
    ] {
        let error = with(key, value.clone()).unwrap_err().to_string();
        assert!(error.contains(text), "{key} {value}: {error}");
    }
    for key in ["volumegroup", "volumeID", "size", "key"] {
        let mut json = full();
        json.as_object_mut().unwrap().remove(key);
        let error = parse(&json.to_string()).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("missing"), "{error}");
    }
}

#[test]
fn malformed_json_is_rejected_and_not_repeated() {
    for json in [
        "",
        "null",
        "[]",
        "{",
        "{}{}",
        "{\"a\":\"secret\",\"a\":\"secret\"}",
        "{\"secret\":1}",
        "\"secret\"",
    ] {
        let error = parse(json).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

fn volume() -> impl Strategy<Value = VolumeOptions> {
    let words = |pattern| proptest::collection::vec(pattern, 0..4);
    let (name, uuid) = ("[a-zA-Z0-9+_][a-zA-Z0-9+_.-]{0,30}", "[a-zA-Z0-9]{32}");
    let fsck = proptest::sample::select(Fsck::ALL.to_vec());
    (
        name,
        name,
        uuid,
        "[0-9a-f]{32}",
        any::<u64>(),
        words("[a-zA-Z0-9=,^-]{1,9}"),
        words("[a-zA-Z0-9=_]{1,9}"),
        fsck,
    )
        .prop_filter_map(
            "a name that LVM reserves",
            |(group, volume, uuid, key, size, mkfs, mount, fsck)| {
                Some(VolumeOptions {
                    group: VgName::new(group).ok()?,
                    volume: LvName::new(volume).ok()?,
                    uuid: LvUuid::from_plain(&uuid)?,
                    key: Key::new(&key)?,
                    size: Bytes(size),
                    mkfs,
                    mount,
                    fsck,
                })
            },
        )
}

proptest! {
    #[test]
    fn driver_parses_what_the_controller_writes(volume in volume()) {
        let mut map = volume.to_map();
        map.insert("kubernetes.io/fsType".to_owned(), "xfs".to_owned());
        let options = parse(&serde_json::to_string(&map).unwrap()).unwrap();
        prop_assert_eq!((options.group, options.volume), (volume.group, volume.volume));
        let proof = Proof { uuid: volume.uuid, key: volume.key, size: volume.size };
        prop_assert_eq!(options.proof, Some(proof));
        prop_assert_eq!((options.mkfs, options.mount), (volume.mkfs, volume.mount));
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,80}") {
        let _ = parse(&text);
    }
}
