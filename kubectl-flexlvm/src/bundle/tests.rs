//! A bundle has no key, in no field of any object; and it answers as the cluster does.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{files, read, write};
use crate::doctor::diagnose;
use crate::fixture::{KEY, Objects, VOLUME, condition};
use crate::output::Report as _;

/// Returns the change that writes a text into one of the places where an admin, a tenant or a
/// program may write one.
fn place(number: usize, text: &str) -> (String, Value) {
    let volume = format!("PersistentVolume/{VOLUME}");
    let annotation = json!({"metadata": {"annotations":
        {"kubectl.kubernetes.io/last-applied-configuration": text}}});
    let container = json!({"name": "c", "env": [{"name": "A", "value": text}], "args": [text]});
    let source = json!({"driver": "flexlvm.dev/lvm", "options": {"key": text}});
    match number {
        0 => (
            volume,
            json!({"spec": {"flexVolume": {"options": {"key": text}}}}),
        ),
        1 => (
            volume,
            json!({"spec": {"flexVolume": {"options": {"kee": text}}}}),
        ),
        2 => (
            volume,
            json!({"spec": {"flexVolume": {"options": {"mkfsOptions": text}}}}),
        ),
        3 => (volume, annotation),
        4 => (
            volume,
            json!({"spec": {"flexVolume": {"secretRef": {"name": text}}}}),
        ),
        5 => ("PersistentVolumeClaim/data".into(), annotation),
        6 => (
            "Pod/web".into(),
            json!({"spec": {"containers": [container]}}),
        ),
        7 => (
            "Pod/inline".into(),
            json!({"metadata": {"namespace": "shop"}, "spec": {"containers": [container],
                "volumes": [{"name": "x", "flexVolume": source}]}}),
        ),
        8 => (
            "Event/e".into(),
            json!({"metadata": {"namespace": "shop"}, "reason": "FailedMount", "message":
                format!("MountVolume flexlvm.dev/lvm {text}"), "involvedObject": {"name": "web"}}),
        ),
        9 => (
            "StorageClass/other".into(),
            json!({"provisioner": "other.dev", "parameters": {"secret": text}}),
        ),
        10 => (
            "NodeStorage/n1".into(),
            json!({"status": {"lvmWarnings": [text],
                "conditions": [condition("Ready", "False", "LvmFailed", text)]}}),
        ),
        _ => (
            "DaemonSet/flexlvm-agent".into(),
            json!({"spec": {"template": {"spec": {"containers": [container]}}}}),
        ),
    }
}

proptest! {
    #[test]
    fn no_file_has_a_key(
        key in "[0-9a-f]{32}",
        number in 0..12_usize,
        before in "[g-z \"\\\\=:,]{0,8}",
        after in "[g-z \"\\\\=:,]{0,8}",
    ) {
        let mut objects = Objects::healthy();
        let (object, change) = place(number, &format!("{before}{key}{after}"));
        objects.patch(&object, change);
        for file in files(&objects.snapshot()).unwrap() {
            prop_assert!(!file.text.contains(&key), "{}", file.name);
            prop_assert!(!file.text.contains(KEY), "{}", file.name);
        }
    }
}

#[test]
fn snapshot_holds_no_key() {
    let snapshot = Objects::healthy().snapshot();
    assert!(!format!("{snapshot:?}").contains(KEY));
    assert_eq!(snapshot.persistent_volumes.len(), 1);
}

#[test]
fn bundle_is_read_back_with_the_same_findings() {
    let mut objects = Objects::healthy();
    objects.patch("Node/n1", Value::Null);
    let snapshot = objects.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle");
    write(&path, &files(&snapshot).unwrap()).unwrap();
    assert!(
        write(&path, &[]).is_err(),
        "an existing folder is not overwritten"
    );
    let again = read(&path).unwrap();
    assert_eq!(again.now, snapshot.now);
    let findings = diagnose(&snapshot).text(true);
    assert!(findings.contains("node-gone"), "{findings}");
    assert_eq!(diagnose(&again).text(true), findings);
}

#[test]
fn bundle_has_no_variable_of_containers_that_an_admin_added() {
    let secret = json!([{"name": "PROXY_PASSWORD", "value": "swordfish"}]);
    let container = json!({"name": "c", "env": secret});
    for kind in ["DaemonSet/flexlvm-agent", "Deployment/flexlvm-controller"] {
        for place in ["containers", "initContainers"] {
            let mut objects = Objects::healthy();
            objects.patch(
                kind,
                json!({"spec": {"template": {"spec": {place: [container]}}}}),
            );
            for file in files(&objects.snapshot()).unwrap() {
                assert!(!file.text.contains("swordfish"), "{kind} {place}");
            }
        }
    }
}
