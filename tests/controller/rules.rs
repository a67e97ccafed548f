//! The CEL rules of the definitions, on servers that support them: each rejects the case that it
//! covers, with its own message, and no other.

use std::fmt::Debug;

use crds::{Adoption, LogicalVolume, StorageBackend};
use harness::apiserver::ApiServer;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::fixture::{Fixture, from};

/// A spec, a merge patch of it, and the message of the rule that rejects it; `None` if accepted.
type Case = (Value, Value, Option<&'static str>);

fn backend(extra: Value) -> Value {
    let mut spec = json!({"volumeGroup": "vg0"});
    spec.as_object_mut()
        .unwrap()
        .append(&mut extra.as_object().unwrap().clone());
    spec
}

fn of_layout(layout: Value) -> Value {
    backend(json!({"layout": layout}))
}

fn of_pool(pool: Value) -> Value {
    backend(json!({"layout": {"type": "Thin"}, "thinPool": pool}))
}

fn of_backends() -> Vec<Case> {
    let group = Some("volumeGroup can't be changed: volumes are in it");
    let mut cases = vec![
        (backend(json!({})), json!({"volumeGroup": "vg1"}), group),
        (
            backend(json!({})),
            json!({"reserve": "5%", "placement": "Pack"}),
            None,
        ),
        (backend(json!({})), json!({"layout": {}}), None),
    ];
    for (layout, edit, refusal) in of_layouts() {
        cases.push((of_layout(layout), json!({"layout": edit}), refusal));
    }
    for (pool, edit, refusal) in of_pools() {
        cases.push((of_pool(pool), json!({"thinPool": edit}), refusal));
    }
    cases
}

/// Layouts, and changes of them.
fn of_layouts() -> Vec<Case> {
    let stripes =
        Some("layout.stripes and layout.stripeSize are for type Striped, RAID5, RAID6 and RAID10");
    let copies = Some("layout.copies is for type RAID1");
    let integrity = Some("layout.integrity is for the RAID types");
    let raid6 = Some("layout.stripes of type RAID6 is at least 3");
    let two_stripes = json!({"type": "Striped", "stripes": 2});
    let small_stripes = json!({"type": "RAID10", "stripeSize": "64Ki"});
    let three_copies = json!({"type": "RAID1", "copies": 3});
    let with_integrity = json!({"type": "RAID1", "integrity": true});
    let without_integrity = json!({"type": "RAID1", "integrity": false});
    let three_stripes = json!({"type": "RAID6", "stripes": 3});
    vec![
        (two_stripes.clone(), json!({"type": "Linear"}), stripes),
        (small_stripes, json!({"type": "RAID1"}), stripes),
        (two_stripes.clone(), json!({"type": "RAID5"}), None),
        (
            two_stripes,
            json!({"type": "Linear", "stripes": null}),
            None,
        ),
        (three_copies.clone(), json!({"type": "RAID10"}), copies),
        (three_copies, json!({"copies": 2}), None),
        (
            with_integrity.clone(),
            json!({"type": "Striped"}),
            integrity,
        ),
        (with_integrity, json!({"type": "RAID6"}), None),
        (without_integrity, json!({"type": "Linear"}), None),
        (three_stripes.clone(), json!({"stripes": 2}), raid6),
        (three_stripes, json!({"type": "RAID5", "stripes": 2}), None),
    ]
}

/// Thin pools, and changes of them.
fn of_pools() -> Vec<Case> {
    let named = Some(
        "thinPool: name selects an existing pool, which FlexLVM does not change; leave out name, or size, maximumSize, metadataSize, extendAt and extendBy",
    );
    let no_size = Some("thinPool: set size to create a pool, or name to use an existing one");
    let pool = json!({"size": "1Gi"});
    let use_and_extend = json!({"name": "pool0", "size": null, "extendAt": 50});
    let limits = json!({"maximumSize": "50%", "overprovision": "1.5"});
    vec![
        (pool.clone(), json!({"name": "pool0"}), named),
        (pool.clone(), use_and_extend, named),
        (pool.clone(), json!({"size": null}), no_size),
        (pool.clone(), limits, None),
        (pool, json!({"name": "pool0", "size": null}), None),
    ]
}

fn of_logical_volumes() -> Vec<Case> {
    let volume = json!({"node": "n1", "backend": "fast", "volumeGroup": "vg0", "size": "1Gi", "keyDigest": "0".repeat(64),
        "claim": {"namespace": "d", "name": "c", "uid": "u"}, "storageClass": "s", "reclaimPolicy": "Delete",
        "filesystem": {"type": "ext4"}, "layout": {"type": "RAID1"}, "thinPool": {"name": "pool0"},
        "cache": {"size": "1Gi", "physicalVolumes": []},
        "adopted": {"uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP", "adoption": "a", "adoptionUid": "1"}});
    [
        (
            json!({"node": "n2"}),
            Some("node can't be changed: the data is there"),
        ),
        (json!({"backend": "slow"}), Some("backend can't be changed")),
        (
            json!({"volumeGroup": "vg1"}),
            Some("volumeGroup can't be changed: the data is there"),
        ),
        (
            json!({"layout": {"type": "Linear"}}),
            Some("layout can't be changed"),
        ),
        (
            json!({"layout": {"copies": 2}}),
            Some("layout can't be changed"),
        ),
        (
            json!({"claim": {"uid": "v"}}),
            Some("claim can't be changed: the data belongs to it"),
        ),
        (
            json!({"thinPool": {"name": "pool1"}}),
            Some("thinPool.name can't be changed: the data is there"),
        ),
        (
            json!({"cache": {"size": "2Gi"}}),
            Some("cache can't be changed"),
        ),
        (
            json!({"adopted": {"adoption": "b"}}),
            Some("adopted can't be changed: the data is there"),
        ),
        (
            json!({"keyDigest": "1".repeat(64)}),
            Some("keyDigest can't be changed: the PersistentVolume holds the key"),
        ),
        (
            json!({"size": "2Gi", "state": "Absent", "reclaimPolicy": "Retain"}),
            None,
        ),
    ]
    .into_iter()
    .map(|(edit, refusal)| (volume.clone(), edit, refusal))
    .collect()
}

fn of_adoptions() -> Vec<Case> {
    let adoption = json!({"node": "n1", "volumeGroup": "vg0", "logicalVolume": "pvc-1"});
    [
        (
            json!({"node": "n2"}),
            Some("node can't be changed: create another Adoption"),
        ),
        (
            json!({"volumeGroup": "vg1"}),
            Some("volumeGroup can't be changed: create another Adoption"),
        ),
        (
            json!({"logicalVolume": "pvc-2"}),
            Some("logicalVolume can't be changed: create another Adoption"),
        ),
        (json!({"backend": "fast", "storageClass": "fast"}), None),
    ]
    .into_iter()
    .map(|(edit, refusal)| (adoption.clone(), edit, refusal))
    .collect()
}

/// Collects the messages of all rules in a definition.
fn messages(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for rule in map
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                found.push(
                    rule["message"]
                        .as_str()
                        .expect("each rule has a message")
                        .to_owned(),
                );
            }
            map.values().for_each(|value| messages(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| messages(item, found)),
        _ => {}
    }
}

#[test]
fn every_rule_has_a_case() {
    let mut rules = Vec::new();
    for definition in crds::all() {
        messages(&serde_json::to_value(definition).unwrap(), &mut rules);
    }
    let cases = [of_backends(), of_logical_volumes(), of_adoptions()].concat();
    let tried: Vec<&str> = cases
        .iter()
        .filter_map(|(_, _, refusal)| *refusal)
        .collect();
    assert!(!rules.is_empty());
    for rule in rules {
        assert!(
            tried.contains(&rule.as_str()),
            "no case of this file breaks the rule {rule:?}"
        );
    }
}

async fn try_all<K>(fixture: &Fixture, cases: Vec<Case>)
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + Debug,
{
    let api: Api<K> = Api::all(fixture.client.clone());
    for (number, (spec, edit, refusal)) in cases.into_iter().enumerate() {
        let name = fixture.name(&number.to_string());
        let object = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec});
        let created = api.create(&PostParams::default(), &from(object)).await;
        assert!(created.is_ok(), "{spec}: {created:?}");
        let patch = Patch::Merge(json!({"spec": edit}));
        match (
            api.patch(&name, &PatchParams::default(), &patch).await,
            refusal,
        ) {
            (Ok(_), None) => {}
            (Err(kube::Error::Api(status)), Some(refusal)) if status.message.contains(refusal) => {}
            (answer, refusal) => {
                panic!("{spec} edited by {edit}: expected {refusal:?}, got {answer:?}")
            }
        }
    }
}

#[tokio::test]
async fn rules_of_definitions_reject_their_cases() {
    if !ApiServer::shared().await.is_since(25) {
        return;
    }
    let fixture = Fixture::new().await;
    try_all::<StorageBackend>(&fixture, of_backends()).await;
    try_all::<LogicalVolume>(&fixture, of_logical_volumes()).await;
    try_all::<Adoption>(&fixture, of_adoptions()).await;
}
