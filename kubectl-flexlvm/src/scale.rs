//! Every report about 10,000 volumes on 1,000 nodes. No report may compare each volume with each
//! other one: the time limit, which is for a build without optimization on a busy machine, is far
//! below what that would take.

use std::time::{Duration, Instant};

use crate::capacity::{self, Question};
use crate::fixture::{Objects, VOLUME};
use crate::output::{Report, render};
use crate::snapshot::Snapshot;
use crate::tree::TreeFilter;
use crate::{doctor, explain, orphans, status, tree};
use storage_model::Bytes;

const NODES: usize = 1000;
const VOLUMES: usize = 10_000;

/// Time limit of one report.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns a healthy cluster of this size.
fn crowd() -> Snapshot {
    let mut objects = Objects::healthy();
    for number in 0..NODES {
        let node = format!("m{number}");
        let texts = [("\"n1\"", format!("\"{node}\""))];
        let texts = texts.each_ref().map(|(from, to)| (*from, to.as_str()));
        for kind in ["Node", "NodeStorage", "Lease"] {
            objects.copy(&format!("{kind}/n1"), &node, &texts);
        }
        let agent = format!("flexlvm-agent-{node}");
        objects.copy("Pod/flexlvm-agent-n1", &agent, &texts);
    }
    let first = VOLUME.strip_prefix("pvc-").unwrap();
    for number in 0..VOLUMES {
        let node = format!("\"m{}\"", number % NODES);
        let claim = format!("data-{number}");
        let own_uid = format!("0b6b9d2e-0000-4000-9000-{number:012}");
        let volume = format!("pvc-{own_uid}");
        let quoted = format!("\"{claim}\"");
        let uuid = format!("\"abcdef-1234-5678-90AB-CDEF-GHIJ-{number:06}\"");
        let texts = [
            (first, own_uid.as_str()),
            ("\"n1\"", &node),
            ("\"data\"", &quoted),
            ("\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\"", &uuid),
            ("\"10Gi\"", "\"1Gi\""),
            ("\"10737418240\"", "\"1073741824\""),
        ];
        objects.copy(&format!("LogicalVolume/{VOLUME}"), &volume, &texts);
        objects.copy(&format!("PersistentVolume/{VOLUME}"), &volume, &texts);
        objects.copy("PersistentVolumeClaim/data", &claim, &texts);
        objects.copy("Pod/web", &format!("web-{number}"), &texts);
    }
    objects.snapshot()
}

/// Builds and renders a report, and checks its time.
fn timed<R: Report>(name: &str, report: impl FnOnce() -> R) -> String {
    let start = Instant::now();
    let text = render(&report(), None).unwrap();
    let time = start.elapsed();
    assert!(time < LIMIT, "{name} took {time:?}");
    text
}

#[test]
fn each_report_about_10_000_volumes_takes_linear_time() {
    let snapshot = crowd();
    let status = timed("status", || status::status(&snapshot));
    assert!(
        status.contains("10001 volumes: 10001 ready"),
        "{status:.2000}"
    );
    assert_eq!(timed("doctor", || doctor::diagnose(&snapshot)), "healthy\n");
    let filter = TreeFilter::default();
    let tree = timed("tree", || tree::tree(&snapshot, &filter));
    assert_eq!(tree.matches("persistentvolumeclaim/").count(), VOLUMES + 1);
    assert_eq!(tree.matches("pod/").count(), VOLUMES + 1);
    let question = Question {
        size: Some(Bytes(10 << 30)),
        count: 100,
        backend: None,
        layout: None,
        node: None,
        topologies: Vec::new(),
    };
    let capacity = timed("capacity", || capacity::answer(&snapshot, &question));
    assert!(capacity.contains("100"), "{capacity:.2000}");
    let orphans = timed("orphans", || orphans::unused(&snapshot));
    assert_eq!(orphans, "No volumes without a claim found.\n");
    let claim = timed("explain", || {
        explain::explain(&snapshot, "shop", "data-77").unwrap()
    });
    assert!(claim.contains("served: "), "{claim}");
}
