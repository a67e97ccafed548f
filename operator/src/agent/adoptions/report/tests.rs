//! The report on an Adoption's logical volume, from the report of a real LVM.

use std::sync::Arc;

use crds::adoption::StorageKind;
use crds::condition::reason;
use crds::{Adoption, LogicalVolume};
use host::lvm::Vg;
use serde_json::{Value, json};

use super::build;
use crate::agent::inventory::build::tests::groups;

fn adoption(spec: Value) -> Adoption {
    let mut object = json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "Adoption",
        "metadata": {"name": "a", "uid": "7", "generation": 3},
        "spec": {"node": "node1", "volumeGroup": "vg0", "logicalVolume": "pvc-a"},
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn object(name: &str, claim_uid: &str) -> Vec<Arc<LogicalVolume>> {
    let object = json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": name, "uid": "1"},
        "spec": {"node": "node1", "backend": "b", "volumeGroup": "vg0", "size": "32Mi", "storageClass": "s",
            "claim": {"namespace": "shop", "name": "orders", "uid": claim_uid}, "reclaimPolicy": "Delete",
            "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"}},
    });
    vec![Arc::new(serde_json::from_value(object).unwrap())]
}

/// Returns the reason of the problem.
fn problem(spec: Value, groups: &[Vg], objects: Vec<Arc<LogicalVolume>>) -> String {
    let report = build(&adoption(spec), groups, &objects);
    assert!(report.volume.is_none());
    report.problem.unwrap().reason
}

#[test]
fn report_has_all_that_lvm_knows() {
    let report = build(&adoption(json!({})), &groups(), &[]);
    assert_eq!((report.generation, report.problem), (3, None));
    let volume = report.volume.unwrap();
    assert_eq!(volume.storage, StorageKind::Plain);
    assert!(
        volume
            .tags
            .iter()
            .any(|tag| tag == "flexlvm.dev/claim-uid=a")
    );
    let sizes = volume
        .physical_volumes
        .iter()
        .map(|share| crds::quantity::parse(&share.size));
    let size = crds::quantity::parse(&volume.size).unwrap();
    assert_eq!(sizes.map(Result::unwrap).sum::<u64>(), size);
}

#[test]
fn problems_are_reported_with_their_reason() {
    let all = groups();
    let none = json!({});
    let other = json!({"uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP"});
    let twice = [all.clone(), all.clone()].concat();
    for (spec, groups, objects, reason) in [
        (
            json!({"logicalVolume": "pvc-x"}),
            &all,
            vec![],
            reason::LOGICAL_VOLUME_NOT_FOUND,
        ),
        (other, &all, vec![], reason::LOGICAL_VOLUME_NOT_FOUND),
        (
            json!({"volumeGroup": "vg9"}),
            &all,
            vec![],
            reason::VOLUME_GROUP_MISSING,
        ),
        (none.clone(), &twice, vec![], reason::VOLUME_GROUP_MISSING),
        (none.clone(), &all, object("pvc-a", "b"), reason::CONFLICT),
        (none, &all, object("pvc-b", "a"), reason::CONFLICT),
    ] {
        assert_eq!(problem(spec, groups, objects), reason);
    }
}
