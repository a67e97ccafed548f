//! `capacity` answers as the controller would place as many claims.

use crds::LogicalVolume;
use placement::choose::{self, Choice};
use placement::fit::Fit;
use placement::request::PlacementRequest;
use proptest::prelude::*;
use serde_json::{Value, json};
use storage_model::Bytes;

use super::{Question, answer};
use crate::output::Report as _;
use crate::snapshot::Snapshot;

/// Returns a cluster whose nodes have volume groups of disks of these sizes, in GiB, and a backend.
fn cluster(nodes: &[Vec<u64>], spec: &Value) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut add = |object: Value| snapshot.add(object).unwrap();
    let mut backend = json!({"volumeGroup": "vg0"});
    for (key, value) in spec.as_object().unwrap() {
        backend[key] = value.clone();
    }
    add(json!({"kind": "StorageBackend", "metadata": {"name": "b"}, "spec": backend}));
    for (number, disks) in nodes.iter().enumerate() {
        let name = format!("n{number}");
        let labels = json!({"kubernetes.io/hostname": name});
        add(json!({"kind": "Node", "metadata": {"name": name, "labels": labels}}));
        let sum: u64 = disks.iter().sum();
        let disks: Vec<Value> = disks
            .iter()
            .enumerate()
            .map(|(disk, size)| {
                json!({"uuid": format!("{name}-{disk}"), "name": "/dev/x",
                "size": format!("{size}Gi"), "usedByOthers": "0", "free": "0"})
            })
            .collect();
        let group = json!({"name": "vg0", "uuid": "u", "size": format!("{sum}Gi"),
            "extentSize": "4Mi", "usedByOthers": "0", "free": "0", "physicalVolumes": disks});
        let ready = json!({"type": "Ready", "status": "True", "reason": "Ready",
            "message": "Ready", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        add(
            json!({"kind": "NodeStorage", "metadata": {"name": name}, "spec": {},
            "status": {"conditions": [ready], "volumeGroups": [group]}}),
        );
    }
    snapshot
}

/// Returns the LogicalVolume that the controller creates for a choice.
fn created(number: usize, fit: &Fit, layout: &Value) -> LogicalVolume {
    let claim = json!({"namespace": "d", "name": "c", "uid": "u"});
    let spec = json!({"node": fit.location.node, "backend": "b", "volumeGroup": "vg0",
        "layout": layout, "size": crds::quantity::format(fit.size), "claim": claim,
        "physicalVolumes": fit.reservation.own.shares(), "keyDigest": "0", "storageClass": "s",
        "thinPool": fit.reservation.pool.as_ref().map(|pool| pool.spec.clone()),
        "reclaimPolicy": "Delete", "filesystem": {"type": "ext4"}});
    let name = format!("pvc-{number}");
    serde_json::from_value(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
        "metadata": {"name": name}, "spec": spec}),
    )
    .unwrap()
}

/// Returns the nodes of volumes that are created one after the other, each with the objects that the
/// ones before it left.
fn one_by_one(mut snapshot: Snapshot, size: Bytes, count: usize, layout: &Value) -> Vec<String> {
    let mut nodes = Vec::new();
    for number in 0..count {
        let backend = &snapshot.backends["b"];
        let request = PlacementRequest {
            backend,
            size,
            selected: None,
            topologies: &[],
        };
        let reservations = snapshot.reservations();
        let choice = choose::choose(&request, &snapshot.candidates(), &reservations);
        let Choice::Here(fit) = choice else {
            break;
        };
        nodes.push(fit.location.node.clone());
        let volume = created(number, &fit, layout);
        snapshot
            .logical_volumes
            .insert(format!("pvc-{number}"), volume);
    }
    nodes
}

fn layouts() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({"layout": {"type": "Linear"}}),
        json!({"layout": {"type": "Linear"}, "placement": "Pack"}),
        json!({"layout": {"type": "Striped"}, "reserve": "10%"}),
        json!({"layout": {"type": "RAID1"}}),
        json!({"layout": {"type": "RAID5"}, "volumeSize": {"minimum": "3Gi"}}),
        json!({"layout": {"type": "RAID10"}}),
        json!({"layout": {"type": "Thin"}, "thinPool": {"size": "50%", "overprovision": "1.5"}}),
    ])
}

proptest! {
    #[test]
    fn answer_equals_the_placement_of_as_many_claims(
        nodes in prop::collection::vec(prop::collection::vec(1..60_u64, 1..5), 1..5),
        spec in layouts(),
        size in 1..20_u64,
        count in 1..8_usize,
    ) {
        let snapshot = cluster(&nodes, &spec);
        let question = Question { size: Some(Bytes(size << 30)), count, ..Question::default() };
        let capacity = answer(&snapshot, &question);
        let found = &capacity.backends[0];
        let minimum = snapshot.backends["b"].spec.limits().unwrap().minimum;
        let size = Bytes(minimum.max(size << 30));
        let expected = one_by_one(snapshot, size, count, &spec["layout"]);
        prop_assert_eq!(&found.nodes, &expected);
        prop_assert_eq!(capacity.fits, expected.len() == count);
        prop_assert_eq!(found.rejection.is_none(), capacity.fits);
    }
}

#[test]
fn answer_names_nodes_or_the_reason() {
    let snapshot = cluster(
        &[vec![300, 300], vec![700, 700]],
        &json!({"layout": {"type": "RAID1"}}),
    );
    let mut question = Question {
        size: Some(Bytes(200 << 30)),
        count: 3,
        ..Question::default()
    };
    let capacity = answer(&snapshot, &question);
    assert!(
        capacity
            .text(false)
            .ends_with("yes: 3 × 200 GiB from StorageBackend b, on n0, n1 (2)\n"),
        "{}",
        capacity.text(false)
    );
    question.count = 9;
    let capacity = answer(&snapshot, &question);
    let text = capacity.text(false);
    assert!(text.ends_with("no: at most 4 of them fit\n"), "{text}");
    assert!(
        text.contains("no node can provide 200 GiB from StorageBackend b"),
        "{text}"
    );
    assert!(!capacity.is_good());
    question.layout = Some(crds::layout::LayoutType::Thin);
    let text = answer(&snapshot, &question).text(false);
    assert!(text.ends_with("no StorageBackend matches\n"), "{text}");
    question = Question::default();
    let text = answer(&snapshot, &question).text(false);
    assert!(
        text.contains("b         RAID1    n1     699.99 GiB"),
        "{text}"
    );
}
