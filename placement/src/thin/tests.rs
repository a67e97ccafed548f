//! What thin pools and caches take, and what may be promised of them.

use crds::{LogicalVolume, NodeStorage, StorageBackend};
use k8s_openapi::api::core::v1::Node;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fit::{Room, fit, serve};
use crate::free_space::Space;
use crate::growth::{grown, pool_lags};
use crate::request::Candidate;
use crate::request::Order;
use crate::reservations::Ledger;

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
    let disk = |number: u32| json!({"uuid": format!("{DISK}{number}"), "name": format!("/dev/sd{number}"), "size": "50Gi", "otherUse": "0", "free": "0"});
    let condition = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage", "metadata": {"name": "n1"}, "spec": {},
        "status": {"conditions": [condition], "volumeGroups": [{"name": "vg0", "uuid": "u", "size": "100Gi", "extentSize": "4Mi",
            "otherUse": "0", "free": "0", "physicalVolumes": [disk(1), disk(2)], "thinPools": pools}]}}),
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
    ledger: &Ledger,
    bytes: u64,
) -> Result<Room, String> {
    let order = Order {
        backend,
        bytes,
        selected: None,
        topologies: &[],
    };
    fit(
        &order,
        Candidate {
            node: &node(),
            storage: Some(storage),
        },
        ledger,
    )
    .map_err(|unfit| unfit.to_string())
}

fn space(
    backend: &StorageBackend,
    storage: &NodeStorage,
    ledger: &Ledger,
) -> Result<Space, String> {
    serve(
        backend,
        Candidate {
            node: &node(),
            storage: Some(storage),
        },
        ledger,
    )
    .map_err(|unfit| unfit.to_string())
}

/// The object that a room becomes.
fn object(name: &str, room: &Room) -> LogicalVolume {
    from(
        json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": name},
        "spec": {"node": "n1", "backend": "thin", "volumeGroup": "vg0", "layout": {"type": "Thin"}, "size": room.bytes.to_string(),
            "thinPool": room.promise.pool.as_ref().map(|pool| &pool.order), "storageClass": "s", "reclaimPolicy": "Delete",
            "claim": {"namespace": "d", "name": "c", "uid": "u"}, "key": "00000000000000000000000000000000",
            "filesystem": {"type": "ext4"}}}),
    )
}

fn linear() -> StorageBackend {
    backend(json!({"layout": {"type": "Linear"}}))
}

#[test]
fn a_pool_takes_its_largest_size_with_its_first_volume() {
    let (backend, storage, mut ledger) = (
        thin(json!({"size": "10Gi", "maximumSize": "60Gi", "overprovision": "2"})),
        storage(json!([])),
        Ledger::default(),
    );
    let room = place(&backend, &storage, &ledger, 100 * GIB).unwrap();
    let order = room.promise.pool.as_ref().unwrap().order.clone();
    let make = order.make.clone().unwrap();
    assert_eq!(
        (
            order.name.as_str(),
            make.size.0.as_str(),
            make.maximum_size.0.as_str()
        ),
        ("flexlvm-thin", "10Gi", "60Gi")
    );
    assert_eq!(make.metadata_size.0, "60Mi");
    ledger.promise("a", &room.place, room.promise.clone());
    // The rest of the group is others', exactly.
    let rest = 100 * GIB - 60 * GIB - (60 << 20);
    assert_eq!(space(&linear(), &storage, &ledger).unwrap().free, rest);
    assert!(
        place(&linear(), &storage, &ledger, rest).is_ok()
            && place(&linear(), &storage, &ledger, rest + 1).is_err()
    );
    // A second volume takes nothing more of it, and no more than twice the pool is promised.
    assert_eq!(space(&backend, &storage, &ledger).unwrap().free, 20 * GIB);
    let refused = place(&backend, &storage, &ledger, 21 * GIB).unwrap_err();
    assert_eq!(
        refused,
        "has 20 GiB left to promise of thin pool flexlvm-thin (60 GiB in all, 2.00 times)"
    );
    let second = place(&backend, &storage, &ledger, 20 * GIB).unwrap();
    ledger.promise("b", &second.place, second.promise);
    assert_eq!(space(&linear(), &storage, &ledger).unwrap().free, rest);
    ledger.observe(&object("a", &room));
    assert_eq!(space(&linear(), &storage, &ledger).unwrap().free, rest);
    ledger.forget("a");
    ledger.forget("b");
    assert_eq!(space(&linear(), &storage, &ledger).unwrap().free, 100 * GIB);
}

#[test]
fn a_pool_lags_once_its_backend_allows_more_and_there_is_room() {
    let backend = |most: &str| thin(json!({"size": "10Gi", "maximumSize": most}));
    let (storage, mut ledger) = (storage(json!([])), Ledger::default());
    let room = place(&backend("20Gi"), &storage, &ledger, GIB).unwrap();
    let volume = object("a", &room);
    ledger.observe(&volume);
    let node = node();
    let candidate = Candidate {
        node: &node,
        storage: Some(&storage),
    };
    let lags =
        |most: &str, ledger: &Ledger| pool_lags(&volume, &backend(most).spec, candidate, ledger);
    assert_eq!(
        ["10Gi", "20Gi", "60Gi", "110Gi"].map(|most| lags(most, &ledger)),
        [false, false, true, false]
    );
    // Its own size is none too many, whatever the backend allows new ones.
    let mut small = backend("60Gi").spec;
    small.volume_size = Some(from(json!({"maximum": "512Mi"})));
    assert!(pool_lags(&volume, &small, candidate, &ledger));
    // What it grows into is promised once, with the metadata that it has, and then lags no more.
    let more = grown(
        &volume,
        &backend("60Gi").spec,
        GIB,
        Some(candidate),
        &ledger,
    )
    .unwrap();
    ledger.promise("a", &more.place, more.promise);
    assert!(!lags("60Gi", &ledger));
    assert_eq!(
        space(&linear(), &storage, &ledger).unwrap().free,
        100 * GIB - 60 * GIB - (20 << 20)
    );
}

#[test]
fn a_full_pool_may_become_larger_and_nothing_else_may() {
    let shares = json!([{"uuid": format!("{DISK}1"), "size": "20500Mi"}]);
    let backend = |most: &str| thin(json!({"size": "20Gi", "maximumSize": most}));
    let (empty, node, mut ledger) = (storage(json!([])), node(), Ledger::default());
    let volume = object("a", &place(&backend("20Gi"), &empty, &ledger, GIB).unwrap());
    ledger.observe(&volume);
    let mut broken = pool("flexlvm-thin", "20Gi", 100, shares.clone());
    broken["unusable"] = json!("its data are full");
    for pool in [pool("flexlvm-thin", "20Gi", 97, shares), broken] {
        let full = storage(json!([pool]));
        let candidate = Candidate {
            node: &node,
            storage: Some(&full),
        };
        let lags = |backend: &StorageBackend| pool_lags(&volume, &backend.spec, candidate, &ledger);
        assert!(lags(&backend("21Gi")) && !lags(&backend("20Gi")));
        assert!(
            grown(
                &volume,
                &backend("21Gi").spec,
                2 * GIB,
                Some(candidate),
                &ledger
            )
            .is_err()
        );
        assert!(place(&backend("21Gi"), &full, &ledger, GIB).is_err());
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
    ledger.forget("a");
    assert!(!pool_lags(
        &volume,
        &backend("60Gi").spec,
        candidate,
        &ledger
    ));
}

#[test]
fn a_pool_that_is_there_counts_until_it_is_gone() {
    let shares = json!([{"uuid": format!("{DISK}1"), "size": "10244Mi"}]);
    let (backend, mut ledger) = (
        thin(json!({"size": "10Gi", "maximumSize": "20Gi"})),
        Ledger::default(),
    );
    let there = storage(json!([pool("flexlvm-thin", "10Gi", 1, shares)]));
    // Its last volume is gone, and the pool is still there.
    assert_eq!(
        space(&linear(), &there, &ledger).unwrap().free,
        100 * GIB - (10 * GIB + (4 << 20))
    );
    // Another volume takes what the pool lacks.
    let room = place(&backend, &there, &ledger, GIB).unwrap();
    ledger.promise("a", &room.place, room.promise);
    assert_eq!(
        space(&linear(), &there, &ledger).unwrap().free,
        100 * GIB - (20 * GIB + (4 << 20))
    );
}

#[test]
fn a_pool_finds_no_room_or_is_refused_with_words() {
    let ledger = Ledger::default();
    let refused =
        |pool: Value, pools: Value| place(&thin(pool), &storage(pools), &ledger, GIB).unwrap_err();
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
    broken["unusable"] = json!("it has failed");
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
            &ledger,
            GIB
        )
        .is_ok()
    );
}

#[test]
fn a_named_pool_has_what_others_left() {
    let (backend, mut ledger) = (
        thin(json!({"name": "pool0", "overprovision": "1.5"})),
        Ledger::default(),
    );
    let mut named = pool("pool0", "10Gi", 1, json!([]));
    named["otherVolumes"] = json!("4Gi");
    let storage = storage(json!([named]));
    assert_eq!(space(&backend, &storage, &ledger).unwrap().free, 11 * GIB);
    let room = place(&backend, &storage, &ledger, 10 * GIB).unwrap();
    ledger.promise("a", &room.place, room.promise.clone());
    assert_eq!(space(&backend, &storage, &ledger).unwrap().free, GIB);
    let node = node();
    let grow = |bytes: u64| {
        let candidate = Candidate {
            node: &node,
            storage: Some(&storage),
        };
        grown(
            &object("a", &room),
            &backend.spec,
            bytes,
            Some(candidate),
            &ledger,
        )
        .map(|room| room.bytes)
    };
    assert_eq!(grow(11 * GIB), Ok(11 * GIB));
    assert!(
        grow(12 * GIB)
            .unwrap_err()
            .contains("has 1 GiB left to promise of thin pool pool0")
    );
}

#[test]
fn caches_lie_on_fast_disks_and_nothing_else_does() {
    let mut storage = storage(json!([]));
    let fast = json!({"uuid": format!("{DISK}3"), "name": "/dev/nvme0", "size": "4Gi", "otherUse": "0", "free": "0", "cachePaths": ["/dev/disk/by-id/fast"]});
    let group = &mut storage.status.as_mut().unwrap().volume_groups[0];
    group.physical_volumes.push(from(fast));
    group.size = from(json!("104Gi"));
    let mut ledger = Ledger::default();
    let cached = backend(
        json!({"layout": {"type": "Cached"}, "cache": {"devices": ["/dev/disk/by-id/fast"], "size": "20%"}}),
    );
    assert_eq!(space(&linear(), &storage, &ledger).unwrap().free, 100 * GIB);
    let room = place(&cached, &storage, &ledger, 10 * GIB).unwrap();
    let cache = room.promise.cache.clone().unwrap();
    assert_eq!(
        (
            cache.size.0.as_str(),
            cache.physical_volumes[0].uuid.as_str()
        ),
        ("2Gi", format!("{DISK}3").as_str())
    );
    assert!(
        room.promise.own.on(&format!("{DISK}3")) == 0 && room.promise.demand().bytes == 12 * GIB
    );
    ledger.promise("a", &room.place, room.promise);
    assert_eq!(space(&linear(), &storage, &ledger).unwrap().free, 90 * GIB);
    let refused = place(&cached, &storage, &ledger, 15 * GIB).unwrap_err();
    assert_eq!(
        refused,
        "has 2 GiB free on the disks for caches in volume group vg0, and 3 GiB are wanted"
    );
    let elsewhere = backend(
        json!({"layout": {"type": "Cached"}, "cache": {"devices": ["/dev/sdx"], "size": "20%"}}),
    );
    assert!(
        place(&elsewhere, &storage, &ledger, GIB)
            .unwrap_err()
            .contains("none of the disks")
    );
}

proptest! {
    #[test]
    fn what_is_promised_never_exceeds_what_there_is(orders in prop::collection::vec((any::<bool>(), 1..40_u64, any::<bool>()), 1..30)) {
        let backend = thin(json!({"size": "10Gi", "maximumSize": "40Gi", "overprovision": "1.5"}));
        let (storage, mut ledger) = (storage(json!([])), Ledger::default());
        let (mut plain, mut pooled, mut pools) = (0, 0, std::collections::BTreeSet::new());
        for (number, (is_thin, gibibytes, is_removed)) in orders.into_iter().enumerate() {
            let name = format!("v{number}");
            let which = if is_thin { backend.clone() } else { linear() };
            let Ok(room) = place(&which, &storage, &ledger, gibibytes * GIB) else { continue };
            ledger.promise(&name, &room.place, room.promise);
            if is_removed {
                ledger.forget(&name);
            } else if is_thin {
                pooled += gibibytes;
                pools.insert(name);
            } else {
                plain += gibibytes;
            }
            let pool = if pools.is_empty() { 0 } else { 40 * GIB + (40 << 20) };
            prop_assert!(plain * GIB + pool <= 100 * GIB && pooled <= 60);
            prop_assert_eq!(space(&linear(), &storage, &ledger).unwrap().free, 100 * GIB - plain * GIB - pool);
        }
    }
}
