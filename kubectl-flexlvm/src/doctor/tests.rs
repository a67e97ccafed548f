//! Each check finds its fault, alone, in objects of an otherwise healthy cluster; the healthy cluster
//! has no finding.

mod cluster;
mod groups;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::check::{Probe, Severity};
use super::{checks, diagnose};
use crate::fixture::Objects;
use crate::output::Report as _;
use crate::snapshot::kind::Kind;

/// A fault: the check that finds it, and the changes that seed it.
struct Seed {
    check: &'static str,
    patches: Vec<(String, Value)>,
}

/// Creates the seed of a fault from the changes of objects.
fn seed<const N: usize>(check: &'static str, patches: [(&str, Value); N]) -> Seed {
    Seed {
        check,
        patches: patches
            .into_iter()
            .map(|(key, patch)| (key.to_owned(), patch))
            .collect(),
    }
}

fn seeds() -> Vec<Seed> {
    let mut seeds = cluster::seeds();
    seeds.extend(groups::seeds());
    seeds.extend(volumes::seeds());
    seeds
}

#[test]
fn healthy_cluster_has_no_finding() {
    let diagnosis = diagnose(&Objects::healthy().snapshot());
    assert_eq!(diagnosis.text(false), "healthy\n");
    assert!(diagnosis.is_good());
}

#[test]
fn each_fault_is_found_by_its_check_alone() {
    let severities: BTreeMap<_, _> = checks().iter().map(|it| (it.id, it.severity)).collect();
    let mut seeded = BTreeSet::new();
    let mut wrong = Vec::new();
    for Seed { check, patches } in seeds() {
        let mut objects = Objects::healthy();
        for (key, patch) in &patches {
            match key.strip_suffix('*') {
                Some(beginning) => objects.remove(beginning),
                None => objects.patch(key, patch.clone()),
            }
        }
        let diagnosis = diagnose(&objects.snapshot());
        let found: BTreeSet<_> = diagnosis.findings.iter().map(|it| it.check).collect();
        let is_fault = severities[check] == Severity::Fault;
        if found != BTreeSet::from([check]) || diagnosis.is_good() == is_fault {
            wrong.push(format!("{check}: {patches:?}\n{}", diagnosis.text(true)));
        }
        seeded.insert(check);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let without: Vec<_> = severities
        .keys()
        .filter(|it| !seeded.contains(*it))
        .collect();
    assert!(without.is_empty(), "no seed for {without:?}");
}

#[test]
fn checks_are_distinct_and_have_remedies() {
    let checks = checks();
    let ids: BTreeSet<_> = checks.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), checks.len());
    assert!(checks.len() >= 40, "{} checks", checks.len());
    for check in checks {
        assert!(
            check.remedy.len() > 10 && check.title.len() > 10,
            "{}",
            check.id
        );
        assert!(!check.remedy.ends_with('.') && !check.title.ends_with('.'));
    }
}

#[test]
fn documentation_lists_all_checks() {
    let page = include_str!("../../../docs/kubectl-flexlvm.md");
    let (_, table) = page.split_once("\n## Checks\n").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: Vec<String> = checks()
        .iter()
        .map(|it| format!("| `{}` | {} | {} |", it.id, it.severity.as_str(), it.title))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn every_failure_of_a_condition_has_a_check() {
    use crds::condition::reason;
    // States that are no faults of their own: others explain them, or they end by themselves.
    let without = [
        // Of Adoptions, whose columns show them.
        reason::ADOPTED,
        reason::ADOPTING,
        reason::ADOPTION_CANCELLED,
        reason::AGENT_NOT_REPORTING,
        reason::CONFLICT,
        reason::LOGICAL_VOLUME_NOT_FOUND,
        reason::NOT_ADOPTABLE,
        reason::BEING_DELETED,
        reason::DRIVER_LOADED,
        reason::DUPLICATE_HOSTNAME,
        reason::ERASING,
        reason::HEALTHY,
        reason::INSTALLED,
        reason::JOB_COMPLETE,
        reason::JOB_QUEUED,
        reason::LAYOUT_UNSUITABLE,
        reason::METADATA_ROLLED_BACK,
        reason::NEVER_CREATED,
        reason::NO_NODES,
        reason::READY,
        reason::REMOVED,
        reason::SOME_NODES_UNREADY,
        reason::THIN_POOL_MISSING,
        reason::THIN_POOL_UNUSABLE,
        reason::VOLUME_GROUP_MISSING,
        reason::VOLUME_GROUP_UNUSABLE,
        reason::VOLUME_LIMIT_REACHED,
        reason::ZEROING,
    ];
    for reason in reason::ALL {
        let has_check = checks().iter().any(|check| match check.probe {
            Probe::Volume(_, of) | Probe::Node(_, of) => of == reason,
            Probe::Rule(_) | Probe::Group(_) => false,
        });
        assert!(
            has_check || without.contains(&reason),
            "{reason}: add a check, or explain why it needs none"
        );
    }
}

#[test]
fn denied_lists_leave_their_checks_out_and_are_reported() {
    let mut objects = Objects::healthy();
    for beginning in ["PersistentVolume/", "Deployment/", "Lease/", "Node/"] {
        objects.remove(beginning);
    }
    let mut snapshot = objects.snapshot();
    for kind in [
        Kind::PersistentVolumes,
        Kind::Deployments,
        Kind::ControllerLeases,
        Kind::NodeLeases,
        Kind::Nodes,
    ] {
        snapshot.unreadable.insert(kind, "forbidden".to_owned());
    }
    let diagnosis = diagnose(&snapshot);
    assert!(diagnosis.findings.is_empty(), "{}", diagnosis.text(true));
    let text = diagnosis.text(false);
    assert!(text.contains("not checked: persistentvolumes: forbidden\n"));
    assert!(text.ends_with("healthy, as far as the permissions allow to see\n"));
    assert!(diagnosis.is_good());
    snapshot
        .unreadable
        .insert(Kind::NodeStorages, "forbidden".to_owned());
    let diagnosis = diagnose(&snapshot);
    assert!(
        diagnosis
            .text(false)
            .contains("\nunknown: FlexLVM's objects can't be listed")
    );
    assert!(!diagnosis.is_good());
}
