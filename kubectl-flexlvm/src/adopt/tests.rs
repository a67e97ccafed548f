//! Which Adoptions are requested, refused and complete.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser as _;
use crds::Adoption;
use serde_json::{Value, json};

use super::Extent;
use super::report::{AdoptEntry, AdoptReport, AdoptState, Ending};
use super::request::{Candidate, candidates};
use crate::cli::{AdoptArguments, Cli, Command};
use crate::fixture::{Objects, VOLUME};
use crate::output::{Format, Report as _, render};

const LOST: &str = "pvc-00000000-0000-4000-8000-00000000000a";

/// Reads a command line.
fn arguments(line: &str) -> (AdoptArguments, crate::cli::Connection) {
    let words = ["kubectl-flexlvm", "adopt"].into_iter();
    let cli = Cli::try_parse_from(words.chain(line.split_whitespace())).unwrap();
    let Command::Adopt(arguments) = cli.command else {
        panic!("another command");
    };
    (arguments, cli.connection)
}

/// Returns a cluster whose node n2 has two orphans, one of which has no claim in its tags.
fn cluster() -> Objects {
    let mut objects = Objects::healthy();
    let orphans = json!([
        {"claimUid": "a", "claim": "shop/old", "volumeGroup": "vg0", "name": LOST},
        {"claimUid": "b", "volumeGroup": "vg0", "name": "pvc-b"}
    ]);
    objects.patch("NodeStorage/n2", json!({"status": {"orphans": orphans}}));
    objects
}

fn plan_with(objects: &Objects, existing: &[(&str, Value)], line: &str) -> Vec<Candidate> {
    let (arguments, connection) = arguments(line);
    let request = arguments.request(&connection, "shop").unwrap();
    let mut by_name = BTreeMap::new();
    for (name, object) in existing {
        let mut object = object.clone();
        object["metadata"]["name"] = json!(name);
        by_name.insert((*name).to_owned(), adoption(object));
    }
    candidates(&request, &objects.snapshot(), &by_name)
}

fn plan(line: &str) -> Vec<Candidate> {
    plan_with(&cluster(), &[], line)
}

fn adoption(mut object: Value) -> Adoption {
    object["apiVersion"] = json!("flexlvm.dev/v1alpha1");
    object["kind"] = json!("Adoption");
    serde_json::from_value(object).unwrap()
}

/// Returns why the only candidate of a command line is refused.
fn refusal(line: &str) -> String {
    refusal_of(plan(line))
}

fn refusal_of(candidates: Vec<Candidate>) -> String {
    let [candidate] = &candidates[..] else {
        panic!("{candidates:?}");
    };
    candidate.adoption.clone().unwrap_err()
}

#[test]
fn orphan_needs_node_and_name_only() {
    let candidates = plan(&format!("n2 vg0/{LOST}"));
    let [candidate] = &candidates[..] else {
        panic!("{candidates:?}");
    };
    assert_eq!(candidate.claim, "shop/old");
    let adoption = serde_json::to_value(candidate.adoption.as_ref().unwrap()).unwrap();
    assert_eq!(adoption["metadata"]["name"], LOST);
    let spec = json!({"node": "n2", "volumeGroup": "vg0", "logicalVolume": LOST,
        "reclaimPolicy": "Retain"});
    assert_eq!(adoption["spec"], spec);
}

#[test]
fn volume_of_an_admin_needs_claim_backend_class_and_filesystem() {
    let line = "n1 /dev/vg0/pvc-photos --claim photos --backend fast --class fast \
        --filesystem xfs --access-mode ReadWriteOnce --reclaim-policy Delete";
    let candidates = plan(line);
    let adoption = serde_json::to_value(candidates[0].adoption.as_ref().unwrap()).unwrap();
    let spec = json!({"node": "n1", "volumeGroup": "vg0", "logicalVolume": "pvc-photos",
        "claim": {"namespace": "shop", "name": "photos"}, "backend": "fast",
        "storageClass": "fast", "filesystem": {"type": "xfs"},
        "accessModes": ["ReadWriteOnce"], "reclaimPolicy": "Delete"});
    assert_eq!(adoption["spec"], spec);
    let incomplete = refusal("n1 vg0/pvc-photos --claim photos --class fast");
    let expected = "node n1 reports no orphan vg0/pvc-photos, so its tags don't describe it: add \
        --backend, --filesystem";
    assert_eq!(incomplete, expected);
}

#[test]
fn refusals_have_the_remedy() {
    let options = "--claim photos --backend fast --class fast --filesystem ext4";
    for (line, expected) in [
        (
            "n9 vg0/pvc-a",
            "no agent reports on node n9: use one of n1, n2",
        ),
        (
            "n1 vg9/pvc-a",
            "node n1 has no volume group vg9: use one of vg0",
        ),
        (
            "n1 vg0/Photos_1",
            "on node n1: lvrename vg0/Photos_1 pvc-photos-1",
        ),
        ("n1 vg0/pvc-a.", "lvrename vg0/pvc-a. pvc-a"),
        (
            "n2 vg0/pvc-b",
            "its tags don't name its claim: adopt it alone, with --claim",
        ),
        (
            &format!("n1 vg0/{VOLUME} {options}"),
            &format!(
                "LogicalVolume {VOLUME} exists already, and describes vg0/{VOLUME} on node n1"
            ),
        ),
        (
            &format!("n2 vg0/{LOST} --claim data"),
            &format!("claim shop/data is bound to volume {VOLUME}: delete the claim first"),
        ),
        (
            "n2 vg0/pvc-b --claim c --backend b",
            "StorageBackend b does not exist",
        ),
        (
            "n2 vg0/pvc-b --claim c --class b",
            "StorageClass b does not exist",
        ),
    ] {
        let refusal = refusal(line);
        assert!(refusal.contains(expected), "{line}: {refusal}");
    }
}

#[test]
fn claim_of_another_class_is_refused() {
    let mut objects = cluster();
    let claim = json!({"metadata": {"namespace": "shop", "uid": "o"},
        "spec": {"storageClassName": "slow"}});
    objects.patch("PersistentVolumeClaim/old", claim);
    let line = format!("n2 vg0/{LOST} --class fast");
    let refusal = refusal_of(plan_with(&objects, &[], &line));
    assert!(
        refusal.contains("has StorageClass slow, not fast"),
        "{refusal}"
    );
}

#[test]
fn other_adoptions_of_the_volume_are_refused_and_the_own_is_continued() {
    let spec = json!({"node": "n2", "volumeGroup": "vg0", "logicalVolume": LOST});
    let line = format!("n2 vg0/{LOST}");
    let same = (LOST, json!({"spec": spec}));
    let continued = plan_with(&cluster(), &[same], &line);
    assert!(continued[0].adoption.is_ok());
    let other = [("rescue", json!({"spec": spec}))];
    let refused = refusal_of(plan_with(&cluster(), &other, &line));
    let expected = format!(
        "Adoption rescue is about vg0/{LOST} on node n2; to cancel it: kubectl delete \
         adoptions.flexlvm.dev rescue"
    );
    assert_eq!(refused, expected);
    let elsewhere = json!({"spec": {"node": "n1", "volumeGroup": "vg0", "logicalVolume": LOST}});
    let refused = refusal_of(plan_with(&cluster(), &[(LOST, elsewhere)], &line));
    assert!(refused.contains("on node n1"), "{refused}");
}

#[test]
fn orphans_are_selected_by_node_and_namespace() {
    let paths = |line: &str| {
        let all = plan(line).into_iter();
        all.map(|one| one.path).collect::<Vec<_>>()
    };
    let lost = format!("vg0/{LOST}");
    assert_eq!(
        paths("--all-orphans"),
        [lost.clone(), "vg0/pvc-b".to_owned()]
    );
    assert_eq!(paths("--all-orphans -n shop"), [lost]);
    assert_eq!(paths("--all-orphans -n other"), [""; 0]);
    assert_eq!(paths("n1 --all-orphans"), [""; 0]);
}

#[test]
fn orphans_are_adopted_after_confirmation_only() {
    let extent = |line: &str| arguments(line).0.extent();
    assert_eq!(extent("--all-orphans"), Extent::Unconfirmed);
    assert_eq!(extent("--all-orphans --yes --dry-run"), Extent::DryRun);
    let five_minutes = Extent::Apply(Duration::from_mins(5));
    assert_eq!(extent("--all-orphans --yes"), five_minutes);
    assert_eq!(extent("n1 vg0/pvc-a"), five_minutes);
    let report = AdoptReport::planned(&plan("--all-orphans -n shop"), Extent::Unconfirmed);
    assert!(!report.is_good());
    let text = render(&report, None).unwrap();
    let expected = format!(
        "STATE     NODE   VOLUME                                         CLAIM\n\
         Planned   n2     vg0/{LOST}   shop/old\n\
         would adopt 1 volume; nothing was changed: to adopt, add --yes\n"
    );
    assert_eq!(text, expected);
    let none = AdoptReport::planned(&plan("n1 --all-orphans"), Extent::Unconfirmed);
    assert!(none.is_good());
    assert_eq!(none.text(false), "no orphans found: nothing to adopt\n");
}

#[test]
fn malformed_arguments_are_rejected() {
    for line in [
        "n1",
        "n1 vg0/a --all-orphans",
        "--all-orphans --claim a",
        "",
    ] {
        let words = ["kubectl-flexlvm", "adopt"].into_iter();
        let parsed = Cli::try_parse_from(words.chain(line.split_whitespace()));
        assert!(parsed.is_err(), "{line}");
    }
    for line in [
        "n1 vg0",
        "n1 vg0/",
        "n1 a/b/c",
        "n1 vg0/pvc-a --filesystem zfs",
    ] {
        let (arguments, connection) = arguments(line);
        assert!(arguments.request(&connection, "shop").is_err(), "{line}");
    }
}

/// Returns the entry of the orphan, after its Adoption was observed with this condition.
fn observed(generation: i64, status: &str, reason: &str) -> AdoptEntry {
    let mut entry = AdoptEntry::new(&plan(&format!("n2 vg0/{LOST}"))[0], None);
    let condition = json!({"type": "Adopted", "status": status, "reason": reason,
        "message": "the reason", "observedGeneration": generation,
        "lastTransitionTime": crate::fixture::CREATED});
    let object = json!({"metadata": {"name": LOST, "generation": 2},
        "spec": {"node": "n2", "volumeGroup": "vg0", "logicalVolume": LOST},
        "status": {"conditions": [condition], "claim": {"namespace": "shop", "name": "new"}}});
    entry.observe(Some(&adoption(object)));
    entry
}

#[test]
fn condition_decides_how_far_an_adoption_is() {
    for (generation, status, reason, state) in [
        (2, "True", "Adopted", AdoptState::Adopted),
        (1, "True", "Adopted", AdoptState::Adopted),
        (2, "False", "AgentNotReporting", AdoptState::Waiting),
        (2, "False", "Adopting", AdoptState::Waiting),
        (2, "False", "InvalidSpec", AdoptState::Refused),
        (2, "False", "LogicalVolumeNotFound", AdoptState::Refused),
        (1, "False", "InvalidSpec", AdoptState::Waiting),
    ] {
        let entry = observed(generation, status, reason);
        assert_eq!(entry.state, state, "{reason}");
        assert_eq!(entry.claim, "shop/new");
    }
    let mut entry = AdoptEntry::new(&plan(&format!("n2 vg0/{LOST}"))[0], None);
    entry.observe(None);
    assert_eq!(entry.message, "its Adoption was deleted");
}

#[test]
fn last_line_has_the_result_and_the_next_command() {
    let adopted = observed(2, "True", "Adopted");
    let waiting = observed(2, "False", "Adopting");
    let refused = observed(2, "False", "NotAdoptable");
    let applied = Ending::Awaited;
    let verdict = |entries: &[&AdoptEntry], ending| {
        let entries = entries.iter().map(|one| (*one).clone()).collect();
        let report = AdoptReport { entries, ending };
        let text = report.text(false);
        (text.lines().last().unwrap().to_owned(), report.is_good())
    };
    let both = verdict(&[&adopted, &adopted], applied);
    assert_eq!(both, ("adopted: 2 volumes".to_owned(), true));
    let path = format!("vg0/{LOST} on n2: the reason");
    let expected = format!(
        "waiting: 1 of 2 volumes; {path}; next: kubectl describe adoptions.flexlvm.dev {LOST}"
    );
    assert_eq!(verdict(&[&adopted, &waiting], applied), (expected, false));
    let expected = format!("refused: 1 of 2 volumes; {path}");
    assert_eq!(verdict(&[&refused, &adopted], applied), (expected, false));
    let expected = "created: 1 Adoption; next: kubectl get adoptions.flexlvm.dev";
    let created = verdict(&[&waiting], Ending::NotAwaited);
    assert_eq!(created, (expected.to_owned(), true));
    let (line, is_good) = verdict(&[&waiting], Ending::NoController);
    assert!(
        line.starts_with("created: 1 Adoption; no controller is ready"),
        "{line}"
    );
    assert!(is_good);
}

#[test]
fn each_refusal_of_several_has_a_line() {
    let refused = observed(2, "False", "NotAdoptable");
    let report = AdoptReport {
        entries: vec![refused.clone(), refused],
        ending: Ending::Unconfirmed,
    };
    let text = report.text(false);
    assert_eq!(text.matches("the reason").count(), 2, "{text}");
    assert!(text.ends_with("refused: 2 of 2 volumes\n"), "{text}");
    let wide = render(&report, Some(Format::Wide)).unwrap();
    assert_eq!(wide.matches("the reason").count(), 2, "{wide}");
    let name = format!("adoption.flexlvm.dev/{LOST}\n");
    assert_eq!(render(&report, Some(Format::Name)).unwrap(), name);
}
