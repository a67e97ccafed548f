//! The components of `config/monitoring`, and the alerts.

use harness::apiserver::ApiServer;
use harness::scrape::promtool;
use serde_json::Value;

use crate::{ROOT, find, kustomize, read};

/// What precedes the rules in the PrometheusRule.
const PROMETHEUS_RULE: &str = "\
# Generated from config/monitoring/rules.yaml by `make generate`: don't edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: flexlvm
  namespace: flexlvm-system
  labels:
    app.kubernetes.io/name: flexlvm
spec:
";

/// Renders the configuration with these components of `config`, as an admin's kustomization does.
pub(crate) fn render_with(server: &ApiServer, components: &[&str]) -> Vec<Value> {
    kustomize(server, "v1.25", components)
}

/// Returns the port to which a NetworkPolicy admits Prometheus.
fn admitted_port(objects: &[Value]) -> &Value {
    let is_for_prometheus = |object: &&Value| object["metadata"]["name"] == "flexlvm-metrics";
    let policy = objects.iter().find(is_for_prometheus);
    &policy.expect("the policy for Prometheus")["spec"]["ingress"][0]["ports"][0]["port"]
}

#[tokio::test]
async fn annotations_name_the_port_that_the_network_policy_admits() {
    let server = ApiServer::shared().await;
    if !server.is_since(25) {
        return;
    }
    let objects = render_with(server, &["monitoring"]);
    let port = admitted_port(&objects);
    for kind in ["DaemonSet", "Deployment"] {
        let template = &find(&objects, kind)["spec"]["template"];
        let container = &template["spec"]["containers"][0];
        assert_eq!(&container["ports"][0]["containerPort"], port, "{kind}");
        let annotations = &template["metadata"]["annotations"];
        assert_eq!(annotations["prometheus.io/scrape"], "true", "{kind}");
        assert_eq!(
            annotations["prometheus.io/port"],
            port.to_string(),
            "{kind}"
        );
        assert_eq!(annotations["prometheus.io/path"], "/metrics", "{kind}");
    }
}

/// The chart may be installed into a namespace with other pods, such as kube-system.
#[tokio::test]
async fn network_policies_select_the_pods_of_both_roles_and_no_others() {
    let server = ApiServer::shared().await;
    if !server.is_since(25) {
        return;
    }
    let objects = render_with(server, &["monitoring"]);
    let is_policy = |object: &&Value| object["kind"] == "NetworkPolicy";
    let policies: Vec<_> = objects.iter().filter(is_policy).collect();
    assert_eq!(policies.len(), 2);
    for policy in policies {
        let selector = policy["spec"]["podSelector"]["matchLabels"].as_object();
        for (label, value) in selector.expect("a selection by labels") {
            for kind in ["DaemonSet", "Deployment"] {
                let template = &find(&objects, kind)["spec"]["template"];
                assert_eq!(&template["metadata"]["labels"][label], value, "{kind}");
            }
        }
    }
}

#[tokio::test]
async fn pod_monitor_selects_the_pods_of_both_roles_and_their_port() {
    let server = ApiServer::shared().await;
    if !server.is_since(25) {
        return;
    }
    let objects = render_with(server, &["monitoring/operator"]);
    let port = admitted_port(&objects);
    let monitor = find(&objects, "PodMonitor");
    let endpoints = monitor["spec"]["podMetricsEndpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0]["path"], "/metrics");
    assert_eq!(endpoints[0]["honorLabels"], true);
    let selector = monitor["spec"]["selector"]["matchLabels"].as_object();
    for kind in ["DaemonSet", "Deployment"] {
        let workload = find(&objects, kind);
        // A PodMonitor selects pods of its own namespace.
        let namespace = &workload["metadata"]["namespace"];
        assert_eq!(&monitor["metadata"]["namespace"], namespace, "{kind}");
        let template = &workload["spec"]["template"];
        for (label, value) in selector.unwrap() {
            assert_eq!(&template["metadata"]["labels"][label], value, "{kind}");
        }
        let annotations = &template["metadata"]["annotations"];
        assert!(annotations["prometheus.io/scrape"].is_null(), "{kind}");
        let port_of_pod = &template["spec"]["containers"][0]["ports"][0];
        assert_eq!(port_of_pod["name"], endpoints[0]["port"], "{kind}");
        assert_eq!(&port_of_pod["containerPort"], port, "{kind}");
    }
}

#[tokio::test]
async fn objects_for_the_prometheus_operator_have_the_label_and_the_rules() {
    let server = ApiServer::shared().await;
    if !server.is_since(25) {
        return;
    }
    let objects = render_with(server, &["monitoring/operator", "monitoring/dashboard"]);
    let rules: Value = serde_saphyr::from_str(&read("config/monitoring/rules.yaml")).unwrap();
    assert_eq!(find(&objects, "PrometheusRule")["spec"], rules);
    for kind in ["PodMonitor", "PrometheusRule"] {
        let object = find(&objects, kind);
        assert_eq!(object["apiVersion"], "monitoring.coreos.com/v1", "{kind}");
    }
    for object in &objects {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/name"], "flexlvm", "{object}");
    }
}

#[test]
fn prometheus_rule_has_the_alerts() {
    let rules = read("config/monitoring/rules.yaml");
    let (_, groups) = rules.split_once("groups:\n").unwrap();
    let mut expected = format!("{PROMETHEUS_RULE}  groups:\n");
    for line in groups.lines() {
        expected.push_str(format!("  {line}").trim_end());
        expected.push('\n');
    }
    let path = "config/monitoring/operator/prometheusrule.yaml";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(format!("{ROOT}/{path}"), expected).unwrap();
    } else {
        assert_eq!(
            read(path),
            expected,
            "{path} is out of date: run `make generate`"
        );
    }
}

#[test]
fn alerts_fire_on_faults_only() {
    let rules = format!("{ROOT}/config/monitoring/rules.yaml");
    promtool(&["check", "rules", &rules], "").unwrap();
    let cases = format!("{ROOT}/tests/config/rules_test.yaml");
    promtool(&["test", "rules", &cases], "").unwrap();
}

#[test]
fn alerts_use_documented_series_and_sections() {
    let rules = read("config/monitoring/rules.yaml");
    let metrics = read("docs/metrics.md");
    let operations = read("docs/operations.md");
    for line in rules.lines() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            assert!(operations.contains(&format!("| `{name}` |")), "{name}");
        } else if let Some(expression) = line.trim().strip_prefix("expr: ") {
            for name in series_of(expression) {
                assert!(metrics.contains(&format!("| `{name}` |")), "{name}");
            }
        }
    }
}

/// Returns the names of FlexLVM's series in an expression.
pub(crate) fn series_of(expression: &str) -> impl Iterator<Item = &str> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let words = expression.split(move |character| !is_name(character));
    words.filter(|word| word.starts_with("flexlvm_"))
}
