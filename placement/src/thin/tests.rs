//! Tests of the space that thin pools and caches take, and of what may be reserved of them.

mod caches;
mod property;
mod renamed;

use crds::{LogicalVolume, NodeStorage, StorageBackend};
use k8s_openapi::api::core::v1::Node;
use proptest::prelude::*;
use serde_json::{Value, json};
use storage_model::Bytes;

use crate::fit::{Fit, fit, free_space_for};
use crate::growth::{grown, pool_reservation_outdated};
use crate::request::{Candidate, PlacementRequest};
use crate::reservations::Reservations;

const GIB: u64 = 1 << 30;
const DISK: &str = "abcdef-1234-5678-90AB-CDEF-GHIJ-00000";

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn backend(spec: Value) -> StorageBackend {
    let mut all = json!({"volumeGroup": "vg0", "layout": {"type": "Thin"}});
    all.as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": "thin"}, "spec": all}),
    )
}

fn thin(pool: Value) -> StorageBackend {
    backend(json!({"thinPool": pool}))
}

/// Two disks of 50 GiB, and these pools.
fn storage(pools: Value) -> NodeStorage {
    let disks = [1, 2].map(|number| json!({"uuid": format!("{DISK}{number}"), "name": format!("/dev/sd{number}"), "size": "50Gi", "usedByOthers": "0", "free": "0"}));
    let condition = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": "n1"}, "spec": {},
        "status": {"conditions": [condition], "volumeGroups": [{"name": "vg0", "uuid": "u", "size": "100Gi", "extentSize": "4Mi",
            "usedByOthers": "0", "free": "0", "physicalVolumes": disks, "thinPools": pools}]}}),
    )
}

fn node() -> Node {
    from(json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}}))
}

/// A thin pool in a node's report.
fn pool(name: &str, size: &str, used: u32, shares: Value) -> Value {
    json!({"name": name, "size": size, "metadataSize": "4Mi", "dataUsed": used, "metadataUsed": 1, "otherVolumes": "0", "physicalVolumes": shares})
}

fn place(
    backend: &StorageBackend,
    storage: &NodeStorage,
    reservations: &Reservations,
    bytes: u64,
) -> Result<Fit, String> {
    let request = PlacementRequest {
        backend,
        size: Bytes(bytes),
        selected: None,
        topologies: &[],
    };
    fit(
        &request,
        Candidate {
            node: &node(),
            storage: Some(storage),
            silent_for: None,
        },
        reservations,
    )
    .map_err(|rejection| rejection.to_string())
}

/// Returns the free bytes for volumes of the backend.
fn free(backend: &StorageBackend, storage: &NodeStorage, reservations: &Reservations) -> u64 {
    let node = node();
    let candidate = Candidate {
        node: &node,
        storage: Some(storage),
        silent_for: None,
    };
    free_space_for(backend, candidate, reservations)
        .unwrap()
        .free
        .0
}

/// The LogicalVolume for a fit.
fn object(name: &str, fit: &Fit) -> LogicalVolume {
    from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": name},
        "spec": {"node": "n1", "backend": "thin", "volumeGroup": "vg0", "layout": {"type": "Thin"}, "size": fit.size.0.to_string(),
            "thinPool": fit.reservation.pool.as_ref().map(|pool| &pool.spec), "storageClass": "s", "reclaimPolicy": "Delete",
            "claim": {"namespace": "d", "name": "c", "uid": "u"}, "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a",
            "filesystem": {"type": "ext4"}}}),
    )
}

/// A backend whose pools grow to `maximum`.
fn growing(size: &str, maximum: &str) -> StorageBackend {
    thin(json!({"size": size, "maximumSize": maximum}))
}

fn linear() -> StorageBackend {
    backend(json!({"layout": {"type": "Linear"}}))
}

#[test]
fn first_volume_reserves_maximum_size_of_pool() {
    let backend = thin(json!({"size": "10Gi", "maximumSize": "60Gi", "overprovision": "2"}));
    let storage = storage(json!([]));
    let mut reservations = Reservations::default();
    let fit = place(&backend, &storage, &reservations, 100 * GIB).unwrap();
    let spec = fit.reservation.pool.as_ref().unwrap().spec.clone();
    let make = spec.create.clone().unwrap();
    assert_eq!(
        (
            spec.name.as_str(),
            make.size.0.as_str(),
            make.maximum_size.0.as_str()
        ),
        ("flexlvm-thin", "10Gi", "60Gi")
    );
    assert_eq!(make.metadata_size.0, "60Mi");
    reservations.reserve("a", &fit.location, fit.reservation.clone());
    // Others use the rest of the volume group exactly.
    let rest = 100 * GIB - 60 * GIB - (60 << 20);
    assert_eq!(free(&linear(), &storage, &reservations), rest);
    assert!(
        place(&linear(), &storage, &reservations, rest).is_ok()
            && place(&linear(), &storage, &reservations, rest + 1).is_err()
    );
    // A second volume takes no more of the volume group; the volumes together get twice the pool's
    // size.
    assert_eq!(free(&backend, &storage, &reservations), 20 * GIB);
    let rejected = place(&backend, &storage, &reservations, 21 * GIB).unwrap_err();
    assert_eq!(
        rejected,
        "has 20 GiB unallocated in thin pool flexlvm-thin (60 GiB, overprovision 2.00)"
    );
    let second = place(&backend, &storage, &reservations, 20 * GIB).unwrap();
    reservations.reserve("b", &second.location, second.reservation);
    assert_eq!(free(&linear(), &storage, &reservations), rest);
    reservations.observe(&object("a", &fit));
    assert_eq!(free(&linear(), &storage, &reservations), rest);
    reservations.remove("a");
    reservations.remove("b");
    assert_eq!(free(&linear(), &storage, &reservations), 100 * GIB);
}

#[test]
fn pool_reservation_is_outdated_when_backend_allows_more_and_space_suffices() {
    let storage = storage(json!([]));
    let mut reservations = Reservations::default();
    let fit = place(&growing("10Gi", "20Gi"), &storage, &reservations, GIB).unwrap();
    let volume = object("a", &fit);
    reservations.observe(&volume);
    let node = node();
    let candidate = Candidate {
        node: &node,
        storage: Some(&storage),
        silent_for: None,
    };
    for (maximum, is_outdated) in [
        ("10Gi", false),
        ("20Gi", false),
        ("60Gi", true),
        ("110Gi", false),
    ] {
        let backend = growing("10Gi", maximum).spec;
        assert_eq!(
            pool_reservation_outdated(&volume, &backend, candidate, &reservations),
            is_outdated,
            "{maximum}"
        );
    }
    // The pool's own maximum is allowed, even if the backend allows less for new pools.
    let mut small = growing("10Gi", "60Gi").spec;
    small.volume_size = Some(from(json!({"maximum": "512Mi"})));
    assert!(pool_reservation_outdated(
        &volume,
        &small,
        candidate,
        &reservations
    ));
    // The growth counts once, with the existing metadata; then the reservation is current.
    let more = grown(
        &volume,
        &growing("10Gi", "60Gi").spec,
        Bytes(GIB),
        Some(candidate),
        &reservations,
    )
    .unwrap();
    reservations.reserve("a", &more.location, more.reservation);
    assert!(!pool_reservation_outdated(
        &volume,
        &growing("10Gi", "60Gi").spec,
        candidate,
        &reservations
    ));
    assert_eq!(
        free(&linear(), &storage, &reservations),
        100 * GIB - 60 * GIB - (20 << 20)
    );
}

#[test]
fn full_pool_may_grow_but_its_volumes_may_not() {
    let shares = json!([{"uuid": format!("{DISK}1"), "size": "20500Mi"}]);
    let empty = storage(json!([]));
    let node = node();
    let mut reservations = Reservations::default();
    let volume = object(
        "a",
        &place(&growing("20Gi", "20Gi"), &empty, &reservations, GIB).unwrap(),
    );
    reservations.observe(&volume);
    let mut broken = pool("flexlvm-thin", "20Gi", 100, shares.clone());
    broken["unusableReason"] = json!("its data are full");
    for pool in [pool("flexlvm-thin", "20Gi", 97, shares), broken] {
        let full = storage(json!([pool]));
        let candidate = Candidate {
            node: &node,
            storage: Some(&full),
            silent_for: None,
        };
        // Backends that create no pools, or none on this node.
        let mut other = growing("20Gi", "21Gi");
        other.spec.layout = linear().spec.layout;
        let mut elsewhere = growing("20Gi", "21Gi");
        elsewhere.spec.node_selector = from(json!({"matchLabels": {"disk": "fast"}}));
        for (backend, is_outdated) in [
            (growing("20Gi", "21Gi"), true),
            (growing("20Gi", "20Gi"), false),
            (other, false),
            (elsewhere, false),
        ] {
            assert_eq!(
                pool_reservation_outdated(&volume, &backend.spec, candidate, &reservations),
                is_outdated,
                "{:?}",
                backend.spec
            );
        }
        assert!(
            grown(
                &volume,
                &growing("20Gi", "21Gi").spec,
                Bytes(2 * GIB),
                Some(candidate),
                &reservations
            )
            .is_err()
        );
        assert!(place(&growing("20Gi", "21Gi"), &full, &reservations, GIB).is_err());
    }
    // All volumes are removed, so no pool has a reservation.
    let all = storage(json!([]));
    let candidate = Candidate {
        node: &node,
        storage: Some(&all),
        silent_for: None,
    };
    reservations.remove("a");
    assert!(!pool_reservation_outdated(
        &volume,
        &growing("20Gi", "60Gi").spec,
        candidate,
        &reservations
    ));
}

#[test]
fn pool_without_volumes_counts_while_it_exists() {
    let shares = json!([{"uuid": format!("{DISK}1"), "size": "10244Mi"}]);
    let backend = thin(json!({"size": "10Gi", "maximumSize": "20Gi"}));
    let mut reservations = Reservations::default();
    let there = storage(json!([pool("flexlvm-thin", "10Gi", 1, shares)]));
    // The last volume is gone, and the pool still exists.
    assert_eq!(
        free(&linear(), &there, &reservations),
        100 * GIB - (10 * GIB + (4 << 20))
    );
    // Another volume takes the space that the pool lacks.
    let fit = place(&backend, &there, &reservations, GIB).unwrap();
    reservations.reserve("a", &fit.location, fit.reservation);
    assert_eq!(
        free(&linear(), &there, &reservations),
        100 * GIB - (20 * GIB + (4 << 20))
    );
}

/// Returns the rejection of a volume in this pool, on a node with these pools.
fn rejected(pool: Value, pools: Value) -> String {
    let reservations = Reservations::default();
    place(&thin(pool), &storage(pools), &reservations, GIB).unwrap_err()
}

#[test]
fn pool_rejections_have_exact_messages() {
    let message = rejected(json!({"size": "200Gi"}), json!([]));
    assert_eq!(
        message,
        "has 100 GiB free in volume group vg0 but thin pool flexlvm-thin needs 200.09 GiB more for its maximum size"
    );
    assert_eq!(
        rejected(json!({"name": "pool0"}), json!([])),
        "has no thin pool pool0 in volume group vg0"
    );
    let mine = pool("flexlvm-thin", "1Gi", 1, json!([]));
    assert!(rejected(json!({"size": "1Gi"}), json!([mine])).contains("FlexLVM did not create it"));
    let full = pool("pool0", "10Gi", 93, json!([]));
    assert_eq!(
        rejected(json!({"name": "pool0"}), json!([full])),
        "has thin pool pool0 with 93 % of its data in use (limit 90 % by thinPool.dataGuard; extend it with lvextend)"
    );
    let mut broken = pool("pool0", "10Gi", 1, json!([]));
    broken["unusableReason"] = json!("it has failed");
    assert_eq!(
        rejected(json!({"name": "pool0"}), json!([broken])),
        "can't use thin pool pool0: it has failed"
    );
    // Nearly full at its current size, but it may become ten times as large.
    let small = pool(
        "flexlvm-thin",
        "1Gi",
        95,
        json!([{"uuid": format!("{DISK}1"), "size": "1028Mi"}]),
    );
    assert!(
        place(
            &thin(json!({"size": "1Gi", "maximumSize": "10Gi"})),
            &storage(json!([small])),
            &Reservations::default(),
            GIB
        )
        .is_ok()
    );
}

#[test]
fn named_pool_provides_what_other_volumes_leave() {
    let backend = thin(json!({"name": "pool0", "overprovision": "1.5"}));
    let mut reservations = Reservations::default();
    let mut named = pool("pool0", "10Gi", 1, json!([]));
    named["otherVolumes"] = json!("4Gi");
    let storage = storage(json!([named]));
    assert_eq!(free(&backend, &storage, &reservations), 11 * GIB);
    let fit = place(&backend, &storage, &reservations, 10 * GIB).unwrap();
    reservations.reserve("a", &fit.location, fit.reservation.clone());
    assert_eq!(free(&backend, &storage, &reservations), GIB);
    let node = node();
    let candidate = Some(Candidate {
        node: &node,
        storage: Some(&storage),
        silent_for: None,
    });
    let volume = object("a", &fit);
    let size = Bytes(11 * GIB);
    let fit = grown(&volume, &backend.spec, size, candidate, &reservations).unwrap();
    assert_eq!(fit.size, size);
    let size = Bytes(12 * GIB);
    let error = grown(&volume, &backend.spec, size, candidate, &reservations).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has 1 GiB unallocated in thin pool pool0"),
        "{error}"
    );
}
