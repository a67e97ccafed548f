//! Tests of what the schema of a StorageBackend can't express.

use super::StorageBackendSpec;
use serde_json::json;

/// Returns the error about a spec with these fields.
fn fault(extra: serde_json::Value) -> Option<String> {
    let mut spec = json!({"volumeGroup": "vg0"});
    spec.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    let spec: StorageBackendSpec = serde_json::from_value(spec).unwrap();
    spec.validate().err().map(|error| error.to_string())
}

#[test]
fn contradictions_name_the_field() {
    assert_eq!(
        fault(json!({"reserve": "5%", "volumeSize": {"minimum": "1Gi", "maximum": "1Gi"}})),
        None
    );
    let text = fault(json!({"volumeSize": {"minimum": "2Gi", "maximum": "1Gi"}})).unwrap();
    assert_eq!(
        text,
        "volumeSize: the minimum, 2 GiB, is more than the maximum, 1 GiB"
    );
    assert!(
        fault(json!({"volumeSize": {"maximum": "ten"}}))
            .unwrap()
            .contains("volumeSize.maximum")
    );
    assert!(
        fault(json!({"devices": ["/etc/passwd"]}))
            .unwrap()
            .contains("devices")
    );
    assert!(
        fault(json!({"reserve": "101%"}))
            .unwrap()
            .contains("reserve")
    );
    for (value, words) in [
        (
            json!({"thinPool": {"size": "1Gi"}}),
            "thinPool: it is for layout type Thin, and the layout type is Linear",
        ),
        (
            json!({"layout": {"type": "Thin"}}),
            "thinPool: layout type Thin",
        ),
        (
            json!({"layout": {"type": "Thin"}, "thinPool": {}}),
            "thinPool.size",
        ),
        (
            json!({"layout": {"type": "Cached"}}),
            "cache: layout type Cached",
        ),
        (
            json!({"layout": {"type": "RAID1"}, "cache": {"devices": ["/dev/sdb"], "size": "1Gi"}}),
            "cache: it is for",
        ),
        (
            json!({"layout": {"type": "Thin"}, "thinPool": {"size": "1Gi"}, "cache": {"devices": ["/dev/sdb"], "size": "1Gi"}}),
            "cache: it is for layout type Cached, and the layout type is Thin",
        ),
    ] {
        let fault = fault(value.clone()).unwrap_or_else(|| panic!("{value} is accepted"));
        assert!(fault.starts_with(words), "{value}: {fault}");
    }
    assert_eq!(
        fault(json!({"layout": {"type": "Thin"}, "thinPool": {"name": "pool0"}})),
        None
    );
}

#[test]
fn thin_and_cached_volumes_are_not_erased() {
    let thin = json!({"layout": {"type": "Thin"}, "thinPool": {"size": "1Gi"}, "erase": "Zero"});
    let fault = fault(thin).unwrap();
    assert!(fault.starts_with("erase: volumes of layout type Thin can't be erased"));
}
