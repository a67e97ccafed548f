//! What thin pools and caches take, and what may be promised of them.

mod caches;
mod property;

use crds::{LogicalVolume, NodeStorage, StorageBackend};
use k8s_openapi::api::core::v1::Node;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fit::{Fit, fit, free_space_for};
use crate::free_space::FreeSpace;
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
    let disk = |number: u32| json!({"uuid": format!("{DISK}{number}"), "name": format!("/dev/sd{number}"), "size": "50Gi", "usedByOthers": "0", "free": "0"});
    let condition = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": "n1"}, "spec": {},
        "status": {"conditions": [condition], "volumeGroups": [{"name": "vg0", "uuid": "u", "size": "100Gi", "extentSize": "4Mi",
            "usedByOthers": "0", "free": "0", "physicalVolumes": [disk(1), disk(2)], "thinPools": pools}]}}),
    )
}

fn node() -> Node {
    from(json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}}))
}

/// What a node says of a pool.
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
        bytes,
        selected: None,
        topologies: &[],
    };
    fit(
        &request,
        Candidate {
            node: &node(),
            storage: Some(storage),
        },
        reservations,
    )
    .map_err(|rejection| rejection.to_string())
}

fn space(
    backend: &StorageBackend,
    storage: &NodeStorage,
    reservations: &Reservations,
) -> Result<FreeSpace, String> {
    free_space_for(
        backend,
        Candidate {
            node: &node(),
            storage: Some(storage),
        },
        reservations,
    )
    .map_err(|rejection| rejection.to_string())
}

/// The object that a room becomes.
fn object(name: &str, fit: &Fit) -> LogicalVolume {
    from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": name},
        "spec": {"node": "n1", "backend": "thin", "volumeGroup": "vg0", "layout": {"type": "Thin"}, "size": fit.bytes.to_string(),
            "thinPool": fit.reservation.pool.as_ref().map(|pool| &pool.spec), "storageClass": "s", "reclaimPolicy": "Delete",
            "claim": {"namespace": "d", "name": "c", "uid": "u"}, "key": "00000000000000000000000000000000",
            "filesystem": {"type": "ext4"}}}),
    )
}

fn linear() -> StorageBackend {
    backend(json!({"layout": {"type": "Linear"}}))
}

#[test]
fn a_pool_takes_its_largest_size_with_its_first_volume() {
    let (backend, storage, mut reservations) = (
        thin(json!({"size": "10Gi", "maximumSize": "60Gi", "overprovision": "2"})),
        storage(json!([])),
        Reservations::default(),
    );
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
    // The rest of the group is others', exactly.
    let rest = 100 * GIB - 60 * GIB - (60 << 20);
    assert_eq!(
        space(&linear(), &storage, &reservations).unwrap().free,
        rest
    );
    assert!(
        place(&linear(), &storage, &reservations, rest).is_ok()
            && place(&linear(), &storage, &reservations, rest + 1).is_err()
    );
    // A second volume takes nothing more of it, and no more than twice the pool is promised.
    assert_eq!(
        space(&backend, &storage, &reservations).unwrap().free,
        20 * GIB
    );
    let refused = place(&backend, &storage, &reservations, 21 * GIB).unwrap_err();
    assert_eq!(
        refused,
        "has 20 GiB left to promise of thin pool flexlvm-thin (60 GiB in all, 2.00 times)"
    );
    let second = place(&backend, &storage, &reservations, 20 * GIB).unwrap();
    reservations.reserve("b", &second.location, second.reservation);
    assert_eq!(
        space(&linear(), &storage, &reservations).unwrap().free,
        rest
    );
    reservations.observe(&object("a", &fit));
    assert_eq!(
        space(&linear(), &storage, &reservations).unwrap().free,
        rest
    );
    reservations.forget("a");
    reservations.forget("b");
    assert_eq!(
        space(&linear(), &storage, &reservations).unwrap().free,
        100 * GIB
    );
}

#[test]
fn a_pool_lags_once_its_backend_allows_more_and_there_is_room() {
    let backend = |most: &str| thin(json!({"size": "10Gi", "maximumSize": most}));
    let (storage, mut reservations) = (storage(json!([])), Reservations::default());
    let fit = place(&backend("20Gi"), &storage, &reservations, GIB).unwrap();
    let volume = object("a", &fit);
    reservations.observe(&volume);
    let node = node();
    let candidate = Candidate {
        node: &node,
        storage: Some(&storage),
    };
    let lags = |most: &str, reservations: &Reservations| {
        pool_reservation_outdated(&volume, &backend(most).spec, candidate, reservations)
    };
    assert_eq!(
        ["10Gi", "20Gi", "60Gi", "110Gi"].map(|most| lags(most, &reservations)),
        [false, false, true, false]
    );
    // Its own size is none too many, whatever the backend allows new ones.
    let mut small = backend("60Gi").spec;
    small.volume_size = Some(from(json!({"maximum": "512Mi"})));
    assert!(pool_reservation_outdated(
        &volume,
        &small,
        candidate,
        &reservations
    ));
    // What it grows into is promised once, with the metadata that it has, and then lags no more.
    let more = grown(
        &volume,
        &backend("60Gi").spec,
        GIB,
        Some(candidate),
        &reservations,
    )
    .unwrap();
    reservations.reserve("a", &more.location, more.reservation);
    assert!(!lags("60Gi", &reservations));
    assert_eq!(
        space(&linear(), &storage, &reservations).unwrap().free,
        100 * GIB - 60 * GIB - (20 << 20)
    );
}

#[test]
fn a_full_pool_may_become_larger_and_nothing_else_may() {
    let shares = json!([{"uuid": format!("{DISK}1"), "size": "20500Mi"}]);
    let backend = |most: &str| thin(json!({"size": "20Gi", "maximumSize": most}));
    let (empty, node, mut reservations) = (storage(json!([])), node(), Reservations::default());
    let volume = object(
        "a",
        &place(&backend("20Gi"), &empty, &reservations, GIB).unwrap(),
    );
    reservations.observe(&volume);
    let mut broken = pool("flexlvm-thin", "20Gi", 100, shares.clone());
    broken["unusableReason"] = json!("its data are full");
    for pool in [pool("flexlvm-thin", "20Gi", 97, shares), broken] {
        let full = storage(json!([pool]));
        let candidate = Candidate {
            node: &node,
            storage: Some(&full),
        };
        let lags = |backend: &StorageBackend| {
            pool_reservation_outdated(&volume, &backend.spec, candidate, &reservations)
        };
        assert!(lags(&backend("21Gi")) && !lags(&backend("20Gi")));
        assert!(
            grown(
                &volume,
                &backend("21Gi").spec,
                2 * GIB,
                Some(candidate),
                &reservations
            )
            .is_err()
        );
        assert!(place(&backend("21Gi"), &full, &reservations, GIB).is_err());
        // A backend that makes no pools any more, or none on this node.
        let mut other = backend("21Gi");
        other.spec.layout = linear().spec.layout;
        assert!(!lags(&other));
        let mut elsewhere = backend("21Gi");
        elsewhere.spec.node_selector = from(json!({"matchLabels": {"disk": "fast"}}));
        assert!(!lags(&elsewhere));
    }
    // Removed: there is no pool that anything was promised to.
    let all = storage(json!([]));
    let candidate = Candidate {
        node: &node,
        storage: Some(&all),
    };
    reservations.forget("a");
    assert!(!pool_reservation_outdated(
        &volume,
        &backend("60Gi").spec,
        candidate,
        &reservations
    ));
}

#[test]
fn a_pool_that_is_there_counts_until_it_is_gone() {
    let shares = json!([{"uuid": format!("{DISK}1"), "size": "10244Mi"}]);
    let (backend, mut reservations) = (
        thin(json!({"size": "10Gi", "maximumSize": "20Gi"})),
        Reservations::default(),
    );
    let there = storage(json!([pool("flexlvm-thin", "10Gi", 1, shares)]));
    // Its last volume is gone, and the pool is still there.
    assert_eq!(
        space(&linear(), &there, &reservations).unwrap().free,
        100 * GIB - (10 * GIB + (4 << 20))
    );
    // Another volume takes what the pool lacks.
    let fit = place(&backend, &there, &reservations, GIB).unwrap();
    reservations.reserve("a", &fit.location, fit.reservation);
    assert_eq!(
        space(&linear(), &there, &reservations).unwrap().free,
        100 * GIB - (20 * GIB + (4 << 20))
    );
}

#[test]
fn a_pool_finds_no_room_or_is_refused_with_words() {
    let reservations = Reservations::default();
    let refused = |pool: Value, pools: Value| {
        place(&thin(pool), &storage(pools), &reservations, GIB).unwrap_err()
    };
    let words = refused(json!({"size": "200Gi"}), json!([]));
    assert_eq!(
        words,
        "has 100 GiB free in volume group vg0, and thin pool flexlvm-thin needs 200.09 GiB more to become as large as it may"
    );
    assert_eq!(
        refused(json!({"name": "pool0"}), json!([])),
        "has no thin pool pool0 in volume group vg0"
    );
    let mine = pool("flexlvm-thin", "1Gi", 1, json!([]));
    assert!(
        refused(json!({"size": "1Gi"}), json!([mine]))
            .contains("it is not the one that FlexLVM made")
    );
    let full = pool("pool0", "10Gi", 93, json!([]));
    assert_eq!(
        refused(json!({"name": "pool0"}), json!([full])),
        "has thin pool pool0 with 93 % of its data in use, and gets no more from 90 % on (thinPool.dataGuard); lvextend makes it larger"
    );
    let mut broken = pool("pool0", "10Gi", 1, json!([]));
    broken["unusableReason"] = json!("it has failed");
    assert_eq!(
        refused(json!({"name": "pool0"}), json!([broken])),
        "can't use thin pool pool0: it has failed"
    );
    // Nearly full for now, but it may become ten times as large.
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
            &reservations,
            GIB
        )
        .is_ok()
    );
}

#[test]
fn a_named_pool_has_what_others_left() {
    let (backend, mut reservations) = (
        thin(json!({"name": "pool0", "overprovision": "1.5"})),
        Reservations::default(),
    );
    let mut named = pool("pool0", "10Gi", 1, json!([]));
    named["otherVolumes"] = json!("4Gi");
    let storage = storage(json!([named]));
    assert_eq!(
        space(&backend, &storage, &reservations).unwrap().free,
        11 * GIB
    );
    let fit = place(&backend, &storage, &reservations, 10 * GIB).unwrap();
    reservations.reserve("a", &fit.location, fit.reservation.clone());
    assert_eq!(space(&backend, &storage, &reservations).unwrap().free, GIB);
    let node = node();
    let grow = |bytes: u64| {
        let candidate = Candidate {
            node: &node,
            storage: Some(&storage),
        };
        grown(
            &object("a", &fit),
            &backend.spec,
            bytes,
            Some(candidate),
            &reservations,
        )
        .map(|fit| fit.bytes)
    };
    assert_eq!(grow(11 * GIB), Ok(11 * GIB));
    assert!(
        grow(12 * GIB)
            .unwrap_err()
            .contains("has 1 GiB left to promise of thin pool pool0")
    );
}
