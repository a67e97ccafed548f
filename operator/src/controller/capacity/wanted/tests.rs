//! Tests of the computed capacities.

use std::sync::Arc;
use std::time::Duration;

use crds::{NodeStorage, StorageBackend};
use host::Bytes;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::StorageClass;
use placement::request::Candidate;
use placement::reservations::{Location, Reservations};
use serde_json::{Value, json};

use super::wanted;
use crate::controller::capacity::object::{self, Capacity};

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn class(name: &str, extra: Value) -> Arc<StorageClass> {
    let mut class = json!({"metadata": {"name": name}, "provisioner": "flexlvm.dev", "parameters": {"backend": "fast"},
        "volumeBindingMode": "WaitForFirstConsumer"});
    for (key, value) in extra.as_object().unwrap() {
        class[key] = value.clone();
    }
    Arc::new(from(class))
}

fn backend(extra: Value) -> Arc<StorageBackend> {
    let mut spec = json!({"volumeGroup": "vg0", "nodeSelector": {"matchLabels": {"disk": "ssd"}}});
    for (key, value) in extra.as_object().unwrap() {
        spec[key] = value.clone();
    }
    Arc::new(from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": "fast"}, "spec": spec}),
    ))
}

fn node(name: &str, labels: Value) -> (Node, NodeStorage) {
    let ready = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let group = json!({"name": "vg0", "uuid": "u", "size": "1Gi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0"});
    let storage = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": name}, "spec": {},
        "status": {"conditions": [ready], "volumeGroups": [group]}});
    (
        from(json!({"metadata": {"name": name, "labels": labels}})),
        from(storage),
    )
}

/// A node `n1` that the backend selects.
fn n1() -> (Node, NodeStorage) {
    node(
        "n1",
        json!({"disk": "ssd", "kubernetes.io/hostname": "host-1"}),
    )
}

/// Returns what is published for these classes of a backend on these nodes: class, host and largest
/// claim in MiB.
fn published(
    classes: &[Arc<StorageClass>],
    backend: &Arc<StorageBackend>,
    nodes: &[(Node, NodeStorage)],
    reservations: &Reservations,
) -> Vec<(String, String, u64)> {
    let candidates: Vec<_> = nodes
        .iter()
        .map(|(node, storage)| Candidate {
            node,
            storage: Some(storage),
            silent_for: None,
        })
        .collect();
    let backends = std::slice::from_ref(backend);
    let wanted = wanted(classes, backends, &candidates, reservations, |_| true);
    wanted
        .into_values()
        .map(
            |Capacity {
                 class,
                 host,
                 largest,
                 ..
             }| (class, host, largest.0 >> 20),
        )
        .collect()
}

#[test]
fn each_class_has_a_capacity_per_hostname() {
    let classes = [class("a", json!({})), class("b", json!({}))];
    let backend = backend(json!({}));
    let other = node("n2", json!({"disk": "hdd", "kubernetes.io/hostname": "n2"}));
    let nameless = node("n3", json!({"disk": "ssd"}));
    let mut reservations = Reservations::default();
    reservations.reserve(
        "v",
        &Location {
            node: "n1".into(),
            volume_group: "vg0".into(),
        },
        Bytes(24 << 20),
    );
    let found = published(&classes, &backend, &[n1(), other, nameless], &reservations);
    let expected = ["a", "b"].map(|class| (class.to_owned(), "host-1".to_owned(), 1000));
    assert_eq!(found, expected);
    let (node, storage) = n1();
    let candidates = [Candidate {
        node: &node,
        storage: Some(&storage),
        silent_for: None,
    }];
    let wanted = wanted(&classes, &[backend], &candidates, &reservations, |_| true);
    assert!(
        wanted.contains_key(&object::name("a", "n1")),
        "named after the node, not its label"
    );
}

#[test]
fn node_with_silent_agent_has_no_capacity() {
    let classes = [class("a", json!({}))];
    let (node, storage) = n1();
    for (silent_for, count) in [(None, 1), (Some(Duration::from_mins(1)), 0)] {
        let candidates = [Candidate {
            node: &node,
            storage: Some(&storage),
            silent_for,
        }];
        let backends = [backend(json!({}))];
        let reservations = Reservations::default();
        let wanted = wanted(&classes, &backends, &candidates, &reservations, |_| true);
        assert_eq!(wanted.len(), count, "{silent_for:?}");
    }
}

/// Returns whether capacity is published for a class and a backend with these fields.
fn publishes(class_fields: Value, spec: Value) -> bool {
    let classes = [class("a", class_fields)];
    !published(&classes, &backend(spec), &[n1()], &Reservations::default()).is_empty()
}

#[test]
fn foreign_and_immediate_classes_and_missing_volume_groups_publish_nothing() {
    assert!(publishes(json!({}), json!({})));
    assert!(!publishes(json!({"provisioner": "other.dev"}), json!({})));
    assert!(!publishes(
        json!({"volumeBindingMode": "Immediate"}),
        json!({})
    ));
    assert!(!publishes(json!({}), json!({"volumeGroup": "missing"})));
    let faulty = json!({"parameters": {"backend": "fast", "fstype": "xfs"}});
    for rest in [
        json!({"provisioner": "other.dev"}),
        json!({"volumeBindingMode": "Immediate"}),
    ] {
        let mut class = faulty.clone();
        class
            .as_object_mut()
            .unwrap()
            .append(&mut rest.as_object().unwrap().clone());
        assert!(!publishes(class, json!({})), "{rest}");
    }
}

#[test]
fn faulty_class_gets_ample_capacity_on_nodes_of_its_backend() {
    let reservations = Reservations::default();
    let other = node("n2", json!({"disk": "hdd", "kubernetes.io/hostname": "n2"}));
    let nameless = node("n3", json!({"disk": "ssd"}));
    let nodes = [n1(), other, nameless];
    let hosts = |classes: Value, backend: &Arc<StorageBackend>| -> Vec<String> {
        let found = published(&[class("a", classes)], backend, &nodes, &reservations);
        assert!(found.iter().all(|(_, _, mebibytes)| *mebibytes == 1 << 40));
        found.into_iter().map(|(_, host, _)| host).collect()
    };
    let unknown = json!({"parameters": {"backend": "fast", "fstype": "xfs"}});
    assert_eq!(hosts(unknown.clone(), &backend(json!({}))), ["host-1"]);
    // No node can provide volumes of this backend either; the admin must still fix the class first.
    let without_group = backend(json!({"volumeGroup": "missing"}));
    assert_eq!(hosts(unknown.clone(), &without_group), ["host-1"]);
    let contradictory = backend(json!({"layout": {"type": "RAID1", "stripes": 2}}));
    assert_eq!(hosts(json!({}), &contradictory), ["host-1"]);
    let mut deleted = backend(json!({}));
    Arc::make_mut(&mut deleted).metadata.deletion_timestamp =
        Some(from(json!("2026-01-01T00:00:00Z")));
    assert_eq!(hosts(json!({}), &deleted), ["host-1"]);

    let mut all = hosts(
        json!({"parameters": {"backend": "another"}}),
        &backend(json!({})),
    );
    all.sort();
    assert_eq!(all, ["host-1", "n2"], "without a backend every node counts");
    assert_eq!(
        hosts(json!({"parameters": {}}), &backend(json!({}))).len(),
        2
    );
}

#[test]
fn fault_is_published_only_after_the_grace_period() {
    let classes = [
        class("a", json!({"parameters": {"backend": "another"}})),
        class("b", json!({})),
    ];
    let (node, storage) = n1();
    let candidates = [Candidate {
        node: &node,
        storage: Some(&storage),
        silent_for: None,
    }];
    let mut asked = Vec::new();
    let found = wanted(
        &classes,
        &[backend(json!({}))],
        &candidates,
        &Reservations::default(),
        |class| {
            asked.push(class.to_owned());
            false
        },
    );
    assert_eq!(asked, ["a"]);
    assert!(found.values().all(|capacity| capacity.class == "b") && found.len() == 1);
}

/// Returns the largest claim in MiB that is published for a class and a backend with these fields.
fn largest(class_fields: Value, spec: Value) -> u64 {
    let classes = [class("a", class_fields)];
    published(&classes, &backend(spec), &[n1()], &Reservations::default())[0].2
}

#[test]
fn capacity_respects_reserve_and_minimum_but_not_maximum() {
    assert_eq!(largest(json!({}), json!({})), 1024);
    assert_eq!(largest(json!({}), json!({"reserve": "50%"})), 512);
    assert_eq!(
        largest(json!({}), json!({"volumeSize": {"maximum": "100Mi"}})),
        1024,
        "the controller rejects more than the maximum with that reason"
    );
    assert_eq!(
        largest(json!({}), json!({"volumeSize": {"minimum": "2Gi"}})),
        0
    );
    assert_eq!(
        largest(json!({}), json!({"reserve": "1000Mi"})),
        0,
        "24 MiB hold no ext4 of ours"
    );
    let xfs = json!({"parameters": {"backend": "fast", "fsType": "xfs"}});
    assert_eq!(
        largest(xfs.clone(), json!({"reserve": "724Mi"})),
        0,
        "300 MiB hold no xfs"
    );
    assert_eq!(largest(xfs, json!({"reserve": "720Mi"})), 304);
}
