//! The alerts of `config/monitoring`, each of which a fault makes fire.

use std::collections::BTreeSet;

use harness::simulated::Volume;
use harness::wait::{self, LIMIT};
use operator::agent::volumes::plan::Content;
use serde_json::Value;

use crate::installation::{Installation, KUBELET};

/// The alert that fires without a controller.
const CONTROLLER_MISSING: Expected = ("FlexlvmControllerMissing", "severity", "critical");

/// The alert that fires while LVM hangs.
const LVM_HANGS: Expected = ("FlexlvmLvmHangs", "node", "n3");

/// An alert, and one of its labels with its value.
type Expected = (&'static str, &'static str, &'static str);

/// The further alerts that fire after [`cause_faults`].
const EXPECTED: [Expected; 9] = [
    ("FlexlvmAgentSilent", "node", "n3"),
    ("FlexlvmClaimsWaiting", "severity", "warning"),
    ("FlexlvmDiskMissing", "node", "n1"),
    ("FlexlvmKubeletNotReady", "node", "n2"),
    ("FlexlvmOrphanedVolumes", "node", "n3"),
    ("FlexlvmReportStale", "node", "n2"),
    ("FlexlvmThinPoolNearlyFull", "thin_pool", "pool"),
    ("FlexlvmVolumeFailed", "claim", "orders"),
    ("FlexlvmVolumeUnhealthy", "claim", "orders"),
];

/// The rules, as config/monitoring has them.
fn rules() -> String {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../config/monitoring/rules.yaml"
    );
    std::fs::read_to_string(path).unwrap()
}

/// Returns the rules with alerts that fire at once, those about a wait after a second.
pub(crate) fn eager_rules() -> String {
    let mut eager = String::new();
    for line in rules().lines() {
        let is_duration = line.trim_start().starts_with("for: ");
        eager.push_str(if is_duration { "    for: 0s" } else { line });
        eager.push('\n');
    }
    for (series, limit) in [
        ("flexlvm_claims_longest_wait_seconds", 900),
        ("flexlvm_lvm_command_running_seconds", 60),
    ] {
        let expression = format!("{series} > {limit}");
        assert!(eager.contains(&expression), "{eager}");
        eager = eager.replace(&expression, &format!("{series} > 1"));
    }
    eager
}

/// Waits until no alert is pending or firing, with samples of all roles.
pub(crate) async fn wait_until_none_is_active(installation: &Installation) {
    let prometheus = &installation.prometheus;
    let samples = "count(flexlvm_build_info) == 4 and sum(flexlvm_leader) == 1 and \
                   sum(flexlvm_node_condition{condition=\"KubeletReady\"}) == 3";
    wait::until(
        "all samples of a healthy cluster exist",
        LIMIT,
        async || Ok(prometheus.query(samples)?.pop()),
    )
    .await
    .unwrap();
    for _ in 0..2 {
        let before = evaluations(installation);
        wait::until("the rules are evaluated", LIMIT, async || {
            let now = evaluations(installation);
            let are_new = before.iter().zip(&now).all(|(before, now)| before != now);
            Ok(are_new.then_some(()))
        })
        .await
        .unwrap();
    }
    let mut active = Vec::new();
    let quiet = wait::until("no alert is active", LIMIT, async || {
        active = prometheus.alerts()?;
        Ok(active.is_empty().then_some(()))
    });
    if let Err(error) = quiet.await {
        panic!("{error}: {active:#?}");
    }
    for rule in prometheus.rules().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

/// Returns when each rule was evaluated.
fn evaluations(installation: &Installation) -> Vec<Value> {
    let rules = installation.prometheus.rules().unwrap();
    let times = rules.iter().map(|rule| rule["lastEvaluation"].clone());
    times.collect()
}

/// Causes a fault for each alert but [`CONTROLLER_MISSING`].
pub(crate) async fn cause_faults(installation: &mut Installation) {
    // 1 TiB is on no node.
    installation.claim("huge", "1Ti", "n1").await;
    let n1 = &installation.nodes["n1"];
    n1.lvm.fill_pool(95);
    n1.lvm.remove_disk();

    // The kubelet was started again with another flag, and looks for drivers elsewhere.
    let n2 = &installation.nodes["n2"];
    n2.site.stop_kubelet(KUBELET).unwrap();
    n2.site
        .start_kubelet(KUBELET + 1, "--volume-plugin-dir=/elsewhere")
        .unwrap();
    // The agent checks once a minute; a change in its folder makes it check at once.
    std::fs::write(n2.site.plugins().join("x"), "").unwrap();
    wait_for_alerts(installation, &[("FlexlvmKubeletNotReady", "node", "n2")]).await;
    installation.nodes["n2"].lvm.break_reports();

    // As after a restore of etcd.
    installation.nodes["n3"].site.node.change(|state| {
        state.groups[0].volumes.push(Volume {
            name: "pvc-lost".to_owned(),
            uuid: "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP".to_owned(),
            extents: 2,
            tags: vec!["flexlvm.dev/claim-uid=lost".to_owned()],
            open: false,
            content: Content::Blank,
            lagging: None,
            suspended: false,
        });
    });
    wait_for_alerts(installation, &[("FlexlvmOrphanedVolumes", "node", "n3")]).await;
    installation.nodes["n3"].lvm.hang_reports();
    wait_for_alerts(installation, &[LVM_HANGS]).await;
    drop(installation.node("n3").agent.take());
}

/// Waits until all alerts fire that the faults cause.
pub(crate) async fn wait_until_faults_are_reported(installation: &Installation) {
    wait_for_alerts(installation, &EXPECTED).await;
    for alert in installation.prometheus.alerts().unwrap() {
        let annotations = alert["annotations"].to_string();
        assert!(!annotations.contains("error expanding"), "{annotations}");
    }
}

/// Waits for the alert that the controller is missing.
pub(crate) async fn wait_for_missing_controller(installation: &Installation) {
    wait_for_alerts(installation, &[CONTROLLER_MISSING]).await;
}

async fn wait_for_alerts(installation: &Installation, expected: &[Expected]) {
    let mut alerts = Vec::new();
    let fire = wait::until("the alerts fire", LIMIT, async || {
        alerts = installation.prometheus.alerts()?;
        let fires = |(name, label, value): &Expected| {
            alerts.iter().any(|alert| {
                let labels = &alert["labels"];
                let is_named = labels["alertname"] == *name && labels[label] == *value;
                is_named && alert["state"] == "firing"
            })
        };
        Ok(expected.iter().all(fires).then_some(()))
    });
    if let Err(error) = fire.await {
        panic!("{error}: {expected:?} in {alerts:#?}");
    }
}

#[test]
fn fault_is_caused_for_each_alert() {
    let rules = rules();
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let mut expected: BTreeSet<&str> = EXPECTED.iter().map(|(name, _, _)| *name).collect();
    expected.extend([CONTROLLER_MISSING.0, LVM_HANGS.0]);
    assert_eq!(names.collect::<BTreeSet<_>>(), expected);
}
