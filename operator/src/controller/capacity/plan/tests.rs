//! Tests of which objects are written, and when.

use super::{Capacity, CapacityPlan, DECREASE_INTERVAL, Step, WRITE_INTERVAL, plan};
use crate::controller::capacity::object;
use host::Bytes;
use k8s_openapi::api::storage::v1::CSIDriver;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const GIB: u64 = 1 << 30;

fn capacity(host: &str, largest: u64) -> Capacity {
    Capacity {
        class: "fast".into(),
        host: host.into(),
        largest: Bytes(largest),
        total: Bytes(largest),
    }
}

fn wanted(all: &[(&str, u64)]) -> BTreeMap<String, Capacity> {
    all.iter()
        .map(|(host, largest)| ((*host).to_owned(), capacity(host, *largest)))
        .collect()
}

fn found(all: &[(&str, u64)]) -> BTreeMap<String, Option<Capacity>> {
    wanted(all)
        .into_iter()
        .map(|(name, capacity)| (name, Some(capacity)))
        .collect()
}

fn driver() -> CSIDriver {
    object::driver(OwnerReference::default())
}

/// Plans without recent writes.
fn at_rest(
    wanted: &BTreeMap<String, Capacity>,
    found: &BTreeMap<String, Option<Capacity>>,
    driver: Option<&CSIDriver>,
) -> Vec<Step> {
    plan(wanted, found, driver, |_| None).steps
}

#[test]
fn driver_is_written_last() {
    let all = wanted(&[("n1", GIB), ("n2", 0)]);
    let publish_n1 = Step::Publish("n1".to_owned(), capacity("n1", GIB));
    let publish_n2 = Step::Publish("n2".to_owned(), capacity("n2", 0));
    assert_eq!(
        at_rest(&all, &found(&[]), None),
        [publish_n1, publish_n2.clone()]
    );
    assert_eq!(at_rest(&all, &found(&[("n1", GIB)]), None), [publish_n2]);
    assert_eq!(
        at_rest(&all, &found(&[("n1", GIB), ("n2", 0)]), None),
        [Step::WriteDriver]
    );
    assert_eq!(
        plan(
            &all,
            &found(&[("n1", GIB), ("n2", 0)]),
            Some(&driver()),
            |_| None
        ),
        CapacityPlan::default()
    );
}

#[test]
fn additional_node_does_not_change_the_driver() {
    let steps = at_rest(
        &wanted(&[("n1", GIB), ("n2", GIB)]),
        &found(&[("n1", GIB)]),
        Some(&driver()),
    );
    assert_eq!(steps, [Step::Publish("n2".into(), capacity("n2", GIB))]);
}

#[test]
fn unwanted_objects_are_removed_and_deleted_ones_rewritten() {
    let steps = at_rest(
        &wanted(&[("n1", GIB)]),
        &found(&[("gone", GIB)]),
        Some(&driver()),
    );
    assert_eq!(
        steps,
        [
            Step::Remove("gone".into()),
            Step::Publish("n1".into(), capacity("n1", GIB))
        ]
    );
}

#[test]
fn object_with_immutable_difference_is_removed_first() {
    let mut renamed = found(&[("n1", GIB)]);
    renamed.insert("n1".into(), Some(capacity("another-host", GIB)));
    assert_eq!(
        at_rest(&wanted(&[("n1", GIB)]), &renamed, None),
        [Step::Remove("n1".into())]
    );
    renamed.insert("n1".into(), None);
    assert_eq!(
        at_rest(&wanted(&[("n1", GIB)]), &renamed, None),
        [Step::Remove("n1".into())]
    );
    let mut foreign = driver();
    foreign.spec.attach_required = Some(true);
    assert_eq!(
        at_rest(&wanted(&[]), &found(&[]), Some(&foreign)),
        [Step::DeleteDriver]
    );
}

#[test]
fn changed_driver_is_rewritten() {
    let mut changed = driver();
    changed.spec.storage_capacity = None;
    assert_eq!(
        at_rest(&wanted(&[]), &found(&[]), Some(&changed)),
        [Step::WriteDriver]
    );
}

/// Plans the change of a capacity in GiB that was last written so long ago.
fn change(old: u64, new: u64, age: Duration) -> CapacityPlan {
    let wanted = wanted(&[("n1", new * GIB)]);
    let found = found(&[("n1", old * GIB)]);
    plan(&wanted, &found, Some(&driver()), |_| Some(age))
}

#[test]
fn rise_and_zero_are_written_soon_and_decrease_later() {
    for (old, new, pace) in [
        (1, 2, WRITE_INTERVAL),
        (0, 2, WRITE_INTERVAL),
        (2, 0, WRITE_INTERVAL),
        (2, 1, DECREASE_INTERVAL),
    ] {
        let soon = Duration::from_millis(300);
        let early = change(old, new, pace.checked_sub(soon).unwrap());
        assert_eq!(
            early,
            CapacityPlan {
                steps: vec![],
                next_due: Some(soon)
            },
            "{old} to {new}"
        );
        assert_eq!(change(old, new, pace).steps.len(), 1, "{old} to {new}");
    }
}

#[test]
fn repeated_deletion_causes_no_hot_loop() {
    let plan = plan(&wanted(&[("n1", GIB)]), &found(&[]), None, |_| {
        Some(Duration::from_millis(500))
    });
    assert_eq!(
        plan,
        CapacityPlan {
            steps: vec![],
            next_due: Some(Duration::from_millis(1500))
        }
    );
}

proptest! {
    /// From any published state, a few rounds lead to the wanted state, and in no round is the
    /// driver written before a capacity.
    #[test]
    fn every_state_converges(
        names in prop::collection::btree_map("n[0-5]", 0..4_u64, 0..6),
        old in prop::collection::btree_map("n[0-5]", prop::option::of(("h[0-1]", 0..4_u64)), 0..6),
        has_driver: bool
    ) {
        let wanted: BTreeMap<_, _> = names.iter().map(|(name, size)| (name.clone(), capacity("h0", *size))).collect();
        let mut found: BTreeMap<_, _> =
            old
                .into_iter()
                .map(|(name, old)| (name, old.map(|(host, size)| capacity(&host, size))))
                .collect();
        let mut driver = has_driver.then(driver);
        for _ in 0..4 {
            for step in at_rest(&wanted, &found, driver.as_ref()) {
                match step {
                    Step::Publish(name, capacity) => drop(found.insert(name, Some(capacity))),
                    Step::Remove(name) => drop(found.remove(&name)),
                    Step::WriteDriver => {
                        prop_assert!(wanted.keys().all(|name| found.contains_key(name)));
                        driver = Some(super::tests::driver());
                    }
                    Step::DeleteDriver => driver = None,
                }
            }
        }
        let end: BTreeMap<_, _> = wanted
            .into_iter()
            .map(|(name, capacity)| (name, Some(capacity)))
            .collect();
        prop_assert_eq!(found, end);
        prop_assert!(driver.is_some());
    }
}
