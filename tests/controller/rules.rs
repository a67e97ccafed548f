//! The CEL rules of the definitions, on servers that support them: each rejects the case that it
//! covers, with its own message, and no other.

use std::fmt::Debug;

use crds::{LogicalVolume, StorageBackend};
use harness::apiserver::ApiServer;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fixture::{Fixture, from};

/// A spec, a merge patch of it, and the message of the rule that rejects it; `None` if accepted.
type Case = (Value, Value, Option<&'static str>);

fn backend(extra: Value) -> Value {
    let mut spec = json!({"volumeGroup": "vg0"});
    spec.as_object_mut()
        .unwrap()
        .append(&mut extra.as_object().unwrap().clone());
    spec
}

#[expect(clippy::too_many_lines, reason = "the steps of one test")]
fn of_backends() -> Vec<Case> {
    let of = |layout: Value| backend(json!({"layout": layout}));
    let edit = |layout: Value| json!({"layout": layout});
    let stripes =
        Some("layout.stripes and layout.stripeSize are for type Striped, RAID5, RAID6 and RAID10");
    let copies = Some("layout.copies is for type RAID1");
    let integrity = Some("layout.integrity is for the RAID types");
    let raid6 = Some("layout.stripes of type RAID6 is at least 3");
    let thin = || backend(json!({"layout": {"type": "Thin"}, "thinPool": {"size": "1Gi"}}));
    let named = Some(
        "thinPool: name selects an existing pool, which FlexLVM does not change; leave out name, or size, maximumSize, metadataSize, extendAt and extendBy",
    );
    let no_size = Some("thinPool: set size to create a pool, or name to use an existing one");
    vec![
        (
            backend(json!({})),
            json!({"volumeGroup": "vg1"}),
            Some("volumeGroup can't be changed: volumes are in it"),
        ),
        (
            backend(json!({})),
            json!({"reserve": "5%", "placement": "Pack"}),
            None,
        ),
        (backend(json!({})), edit(json!({})), None),
        (
            of(json!({"type": "Striped", "stripes": 2})),
            edit(json!({"type": "Linear"})),
            stripes,
        ),
        (
            of(json!({"type": "RAID10", "stripeSize": "64Ki"})),
            edit(json!({"type": "RAID1"})),
            stripes,
        ),
        (
            of(json!({"type": "Striped", "stripes": 2})),
            edit(json!({"type": "RAID5"})),
            None,
        ),
        (
            of(json!({"type": "Striped", "stripes": 2})),
            edit(json!({"type": "Linear", "stripes": null})),
            None,
        ),
        (
            of(json!({"type": "RAID1", "copies": 3})),
            edit(json!({"type": "RAID10"})),
            copies,
        ),
        (
            of(json!({"type": "RAID1", "copies": 3})),
            edit(json!({"copies": 2})),
            None,
        ),
        (
            of(json!({"type": "RAID1", "integrity": true})),
            edit(json!({"type": "Striped"})),
            integrity,
        ),
        (
            of(json!({"type": "RAID1", "integrity": true})),
            edit(json!({"type": "RAID6"})),
            None,
        ),
        (
            of(json!({"type": "RAID1", "integrity": false})),
            edit(json!({"type": "Linear"})),
            None,
        ),
        (
            of(json!({"type": "RAID6", "stripes": 3})),
            edit(json!({"stripes": 2})),
            raid6,
        ),
        (
            of(json!({"type": "RAID6", "stripes": 3})),
            edit(json!({"type": "RAID5", "stripes": 2})),
            None,
        ),
        (thin(), json!({"thinPool": {"name": "pool0"}}), named),
        (
            thin(),
            json!({"thinPool": {"name": "pool0", "size": null, "extendAt": 50}}),
            named,
        ),
        (thin(), json!({"thinPool": {"size": null}}), no_size),
        (
            thin(),
            json!({"thinPool": {"maximumSize": "50%", "overprovision": "1.5"}}),
            None,
        ),
        (
            thin(),
            json!({"thinPool": {"name": "pool0", "size": null}}),
            None,
        ),
    ]
}

fn of_logical_volumes() -> Vec<Case> {
    let volume = json!({"node": "n1", "backend": "fast", "volumeGroup": "vg0", "size": "1Gi", "key": "0".repeat(32),
        "claim": {"namespace": "d", "name": "c", "uid": "u"}, "storageClass": "s", "reclaimPolicy": "Delete",
        "filesystem": {"type": "ext4"}, "layout": {"type": "RAID1"}, "thinPool": {"name": "pool0"},
        "cache": {"size": "1Gi", "physicalVolumes": []}});
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
            json!({"key": "1".repeat(32)}),
            Some("key can't be changed: the PersistentVolume holds it"),
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
    let cases = [of_backends(), of_logical_volumes()].concat();
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
}
