//! What `release-node` releases, and what it refuses.

use serde_json::{Value, json};

use super::{ReleaseProgress, plan};
use crate::fixture::{Objects, VOLUME, condition};
use crate::output::Report as _;
use crate::snapshot::Snapshot;
use crate::snapshot::kind::Kind;

fn changed(patches: &[(&str, Value)]) -> Snapshot {
    let mut objects = Objects::healthy();
    for (key, patch) in patches {
        objects.patch(key, patch.clone());
    }
    objects.snapshot()
}

fn refusal(snapshot: &Snapshot, node: &str) -> String {
    plan(snapshot, node).unwrap_err().to_string()
}

#[test]
fn claims_of_a_node_that_works_or_may_come_back_are_not_released() {
    let healthy = changed(&[]);
    let refused = refusal(&healthy, "n1");
    assert!(
        refused.contains("node n1 is Ready and has its volumes"),
        "{refused}"
    );
    assert_eq!(refusal(&healthy, "n9"), "no LogicalVolume is on node n9");
    let down = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    let refused = refusal(&changed(&[("Node/n1", down)]), "n1");
    assert!(
        refused.contains("is not Ready, and may come back"),
        "{refused}"
    );
    assert!(refused.contains("node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"));
    let mut unreadable = changed(&[("Node/n1", Value::Null)]);
    unreadable
        .unreadable
        .insert(Kind::Nodes, "forbidden".to_owned());
    assert_eq!(
        refusal(&unreadable, "n1"),
        "nodes can't be listed: forbidden"
    );
}

#[test]
fn claims_of_a_lost_node_are_released_and_counted() {
    let out_of_service = json!({
        "spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    for (change, words) in [
        (Value::Null, "node n1 is gone: 1 claim will be deleted"),
        (
            out_of_service,
            "node n1 is out of service: 1 claim will be deleted",
        ),
    ] {
        let snapshot = changed(&[("Node/n1", change)]);
        let plan = plan(&snapshot, "n1").unwrap();
        let text = plan.text(false);
        assert!(text.contains(words) && text.contains("shop/data"), "{text}");
        assert_eq!(
            plan.names(),
            [format!("logicalvolume.flexlvm.dev/{VOLUME}")]
        );
        let progress = ReleaseProgress::new(&plan, &snapshot);
        assert_eq!(
            progress.line(),
            "0 of 1 claim released; waiting for shop/data"
        );
        // Created again, it is another claim.
        let again = json!({"metadata": {"uid": "another"}});
        let snapshot = changed(&[("PersistentVolumeClaim/data", again)]);
        assert_eq!(
            ReleaseProgress::new(&plan, &snapshot).line(),
            "1 of 1 claim released"
        );
    }
}

#[test]
fn volume_that_its_node_lacks_is_released() {
    let conditions = [condition(
        "Ready",
        "False",
        "LogicalVolumeMissing",
        "missing",
    )];
    let key = format!("LogicalVolume/{VOLUME}");
    let snapshot = changed(&[(key.as_str(), json!({"status": {"conditions": conditions}}))]);
    let plan = plan(&snapshot, "n1").unwrap();
    assert!(plan.text(false).contains("node n1 lacks the volumes"));
}
