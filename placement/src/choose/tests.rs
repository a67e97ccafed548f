//! Tests of the choice of a node.

use crds::portion::Portion;
use crds::{LogicalVolume, NodeStorage, StorageBackend, StorageBackendSpec};
use k8s_openapi::api::core::v1::Node;
use proptest::prelude::*;
use serde_json::{Value, json};
use storage_model::Bytes;

use super::{Candidate, Choice, choose};
use crate::growth::grown;
use crate::request::PlacementRequest;
use crate::reservations::{Location, Reservations};

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn backend() -> StorageBackend {
    from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": "fast"},
        "spec": {"volumeGroup": "vg0", "nodeSelector": {"matchLabels": {"disk": "ssd"}}}}),
    )
}

fn node(name: &str) -> Node {
    from(
        json!({"metadata": {"name": name, "labels": {"disk": "ssd", "zone": "a", "kubernetes.io/hostname": name}}}),
    )
}

fn storage(name: &str, groups: Value) -> NodeStorage {
    from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": name}, "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "volumeGroups": groups}}),
    )
}

fn group(size: &str, other: &str) -> Value {
    json!([{"name": "vg0", "uuid": "u", "size": size, "extentSize": "4Mi", "usedByOthers": other, "free": "0"}])
}

fn request<'a>(
    backend: &'a StorageBackend,
    bytes: u64,
    selected: Option<&'a str>,
) -> PlacementRequest<'a> {
    PlacementRequest {
        backend,
        size: Bytes(bytes),
        selected,
        topologies: &[],
    }
}

fn candidate<'a>(node: &'a Node, storage: Option<&'a NodeStorage>) -> Candidate<'a> {
    Candidate {
        node,
        storage,
        silent_for: None,
    }
}

fn message(choice: &Choice) -> String {
    match choice {
        Choice::Here(fit) => panic!("placed on {}", fit.location.node),
        Choice::Elsewhere(message) | Choice::Nowhere(message) => message.clone(),
    }
}

#[test]
fn volume_is_placed_on_selected_node_in_whole_extents() {
    let backend = backend();
    let node = node("n1");
    let storage = storage("n1", group("1Gi", "0"));
    let candidates = [candidate(&node, Some(&storage))];
    let Choice::Here(fit) = choose(
        &request(&backend, (4 << 20) + 1, Some("n1")),
        &candidates,
        &Reservations::default(),
    ) else {
        panic!("not placed")
    };
    assert_eq!(
        (fit.size, fit.location.node.as_str()),
        (Bytes(8 << 20), "n1")
    );
}

#[test]
fn node_with_most_free_space_is_chosen_if_none_is_selected() {
    let backend = backend();
    let n1 = node("n1");
    let n2 = node("n2");
    let n3 = node("n3");
    let s1 = storage("n1", group("1Gi", "512Mi"));
    let s2 = storage("n2", group("1Gi", "0"));
    let s3 = storage("n3", group("1Gi", "0"));
    let mut cordoned = node("n4");
    cordoned.spec = Some(from(json!({"unschedulable": true})));
    let s4 = storage("n4", group("100Gi", "0"));
    let mut down = node("n5");
    down.status = Some(from(
        json!({"conditions": [{"type": "Ready", "status": "Unknown"}]}),
    ));
    let s5 = storage("n5", group("100Gi", "0"));
    let all = [
        (&n1, &s1),
        (&n2, &s2),
        (&n3, &s3),
        (&cordoned, &s4),
        (&down, &s5),
    ];
    let candidates: Vec<_> = all
        .iter()
        .map(|(node, storage)| candidate(node, Some(storage)))
        .collect();
    let mut reservations = Reservations::default();
    let mut choices = Vec::new();
    for name in ["a", "b", "c"] {
        let Choice::Here(fit) = choose(
            &request(&backend, 256 << 20, None),
            &candidates,
            &reservations,
        ) else {
            panic!("not placed")
        };
        reservations.reserve(name, &fit.location, fit.reservation);
        choices.push(fit.location.node);
    }
    assert_eq!(choices, ["n2", "n3", "n2"]);
}

#[test]
fn pack_chooses_the_fullest_node_that_fits() {
    let mut backend = backend();
    backend.spec.placement = crds::storage_backend::Placement::Pack;
    let n1 = node("n1");
    let n2 = node("n2");
    let n3 = node("n3");
    let s1 = storage("n1", group("1Gi", "0"));
    let s2 = storage("n2", group("1Gi", "512Mi"));
    let s3 = storage("n3", group("1Gi", "1000Mi"));
    let all = [(&n1, &s1), (&n2, &s2), (&n3, &s3)];
    let candidates: Vec<_> = all
        .iter()
        .map(|(node, storage)| candidate(node, Some(storage)))
        .collect();
    let Choice::Here(fit) = choose(
        &request(&backend, 256 << 20, None),
        &candidates,
        &Reservations::default(),
    ) else {
        panic!("not placed")
    };
    assert_eq!(fit.location.node, "n2");
}

#[test]
fn allowed_topologies_are_enforced() {
    let backend = backend();
    let node = node("n1");
    let storage = storage("n1", group("1Gi", "0"));
    let candidates = [candidate(&node, Some(&storage))];
    let [in_a, in_b] = ["a", "b"].map(|zone| {
        vec![from(
            json!({"matchLabelExpressions": [{"key": "zone", "values": [zone]}]}),
        )]
    });
    let rejected = choose(
        &PlacementRequest {
            topologies: &in_b,
            ..request(&backend, 1, None)
        },
        &candidates,
        &Reservations::default(),
    );
    assert!(message(&rejected).contains("allowedTopologies"));
    assert!(matches!(
        choose(
            &PlacementRequest {
                topologies: &in_a,
                ..request(&backend, 1, None)
            },
            &candidates,
            &Reservations::default()
        ),
        Choice::Here(_)
    ));
}

#[test]
fn rejected_request_names_nodes_and_numbers() {
    let backend = backend();
    let n1 = node("n1");
    let n2 = node("n2");
    let s1 = storage("n1", group("4Gi", "2Gi"));
    let s2 = storage("n2", json!([]));
    let candidates = [candidate(&n1, Some(&s1)), candidate(&n2, Some(&s2))];
    let nowhere = choose(
        &request(&backend, 10 << 30, None),
        &candidates,
        &Reservations::default(),
    );
    assert_eq!(
        message(&nowhere),
        "no node can provide 10 GiB from StorageBackend fast: n1 has 2 GiB free of 4 GiB in volume group vg0, n2 has no volume group vg0"
    );
}

#[test]
fn full_selected_node_is_deselected_only_if_another_fits() {
    let backend = backend();
    let n1 = node("n1");
    let n2 = node("n2");
    let full = storage("n1", group("1Gi", "1Gi"));
    let empty = storage("n2", group("1Gi", "0"));
    let both = [candidate(&n1, Some(&full)), candidate(&n2, Some(&empty))];
    let on_n1 = request(&backend, 8 << 20, Some("n1"));
    assert!(matches!(
        choose(&on_n1, &both, &Reservations::default()),
        Choice::Elsewhere(_)
    ));
    assert!(matches!(
        choose(&on_n1, &both[..1], &Reservations::default()),
        Choice::Nowhere(_)
    ));
    assert!(matches!(
        choose(
            &request(&backend, 1, Some("gone")),
            &both,
            &Reservations::default()
        ),
        Choice::Elsewhere(_)
    ));
    let mut cordoned = n2.clone();
    cordoned.spec = Some(from(json!({"unschedulable": true})));
    let both = [both[0], candidate(&cordoned, Some(&empty))];
    assert!(
        matches!(
            choose(&on_n1, &both, &Reservations::default()),
            Choice::Nowhere(_)
        ),
        "the scheduler would select n1 again"
    );
}

#[test]
fn node_whose_kubelet_has_not_loaded_the_driver_gets_no_volume() {
    let backend = backend();
    let node = node("n1");
    let mut storage = storage("n1", group("1Gi", "0"));
    let request = request(&backend, 1, Some("n1"));
    let conditions = &mut storage.status.as_mut().unwrap().conditions;
    conditions.push(from(json!({
        "type": "KubeletReady", "status": "False", "reason": "DriverNotLoaded",
        "message": "the kubelet has not loaded the driver", "lastTransitionTime": "2026-01-01T00:00:00Z",
    })));
    let candidate = candidate(&node, Some(&storage));
    let choice = choose(&request, &[candidate], &Reservations::default());
    let words = "can't mount new volumes: the kubelet has not loaded the driver";
    assert!(message(&choice).contains(words), "{choice:?}");
}

#[test]
fn node_with_silent_agent_gets_no_volume() {
    let backend = backend();
    let [n1, n2] = ["n1", "n2"].map(node);
    let [s1, s2] =
        [("n1", "8Gi"), ("n2", "1Gi")].map(|(name, size)| storage(name, group(size, "0")));
    let silent = Candidate {
        silent_for: Some(std::time::Duration::from_mins(3)),
        ..candidate(&n1, Some(&s1))
    };
    let both = [silent, candidate(&n2, Some(&s2))];
    let small = choose(&request(&backend, 1, None), &both, &Reservations::default());
    let Choice::Here(fit) = small else {
        panic!("not placed: {small:?}")
    };
    assert_eq!(fit.location.node, "n2", "although n1 has more space");
    let large = choose(
        &request(&backend, 4 << 30, None),
        &both,
        &Reservations::default(),
    );
    let words = "n1 has a FlexLVM agent that has not reported for 3 min";
    assert!(message(&large).contains(words), "{large:?}");
}

#[test]
fn node_without_report_or_with_unusable_group_is_rejected() {
    let backend = backend();
    let node = node("n1");
    let request = request(&backend, 1, Some("n1"));
    let unreported = choose(
        &request,
        &[candidate(&node, None)],
        &Reservations::default(),
    );
    assert!(message(&unreported).contains("no FlexLVM agent"));
    let mut groups = group("1Gi", "0");
    groups[0]["unusableReason"] = json!("exported");
    let exported = storage("n1", groups);
    let choice = choose(
        &request,
        &[candidate(&node, Some(&exported))],
        &Reservations::default(),
    );
    assert!(message(&choice).contains("can't use volume group vg0: exported"));
}

#[test]
fn growth_needs_only_the_difference_to_the_current_size() {
    let node = node("n1");
    let storage = storage("n1", group("100Mi", "0"));
    let volume: LogicalVolume = from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": "pvc-1"},
        "spec": {"node": "n1", "backend": "fast", "volumeGroup": "vg0", "size": "60Mi", "claim": {"namespace": "d", "name": "c", "uid": "1"},
            "storageClass": "s", "reclaimPolicy": "Delete", "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"}}}),
    );
    let mut spec = StorageBackendSpec::new("vg0");
    let mut reservations = Reservations::default();
    reservations.observe(&volume);
    let candidate = Some(candidate(&node, Some(&storage)));
    assert_eq!(
        grown(&volume, &spec, Bytes(100 << 20), candidate, &reservations)
            .unwrap()
            .size,
        Bytes(100 << 20)
    );
    let rejected = grown(&volume, &spec, Bytes(104 << 20), candidate, &reservations).unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "node n1 has 40 MiB free of 100 MiB in volume group vg0"
    );
    assert!(grown(&volume, &spec, Bytes(1), None, &reservations).is_err());
    spec.reserve = Some(Portion("10%".into()));
    assert!(
        grown(&volume, &spec, Bytes(92 << 20), candidate, &reservations)
            .unwrap_err()
            .to_string()
            .contains("30 MiB free")
    );
    spec.volume_size = Some(from(json!({"maximum": "64Mi"})));
    assert!(
        grown(&volume, &spec, Bytes(68 << 20), candidate, &reservations)
            .unwrap_err()
            .to_string()
            .contains("allows 64 MiB")
    );
}

proptest! {
    #[test]
    fn no_extent_is_reserved_twice(sizes in prop::collection::vec(1..64_u64 << 20, 1..60)) {
        let backend = backend();
        let node = node("n1");
        let storage = storage("n1", group("256Mi", "16Mi"));
        let candidates = [candidate(&node, Some(&storage))];
        let mut reservations = Reservations::default();
        let mut reserved = 0;
        for (number, bytes) in sizes.into_iter().enumerate() {
            let request = request(&backend, bytes, None);
            if let Choice::Here(fit) = choose(&request, &candidates, &reservations) {
                prop_assert!(fit.size.0 >= bytes && fit.size.0.is_multiple_of(4 << 20));
                reserved += fit.size.0;
                reservations.reserve(&format!("v{number}"), &fit.location, fit.reservation);
            }
        }
        prop_assert!(reserved <= 240 << 20);
        let location = Location { node: "n1".into(), volume_group: "vg0".into() };
        prop_assert_eq!(reservations.reserved(&location), Bytes(reserved));
    }
}
