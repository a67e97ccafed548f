//! The chart's values: documented, checked, in effect.

use std::collections::BTreeSet;

use harness::apiserver::ApiServer;
use serde_json::Value;

use super::template;
use crate::{find, read};

fn default_values() -> Value {
    serde_saphyr::from_str(&read("charts/flexlvm/values.yaml")).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read("charts/flexlvm/values.schema.json")).unwrap()
}

/// Requires each object of values with fixed keys to have exactly the properties of its schema.
fn compare(path: &str, values: &Value, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else {
        assert!(!schema["type"].is_null(), "{path} has no type");
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{path}");
    let names: BTreeSet<_> = properties.keys().collect();
    let values = values.as_object().unwrap();
    assert_eq!(values.keys().collect::<BTreeSet<_>>(), names, "{path}");
    for (name, value) in values {
        compare(&format!("{path}.{name}"), value, &properties[name]);
    }
}

#[test]
fn schema_has_the_values_and_no_others() {
    let mut schema = schema();
    // A value of Helm's own, which a chart that contains this one may set.
    let properties = schema["properties"].as_object_mut().unwrap();
    properties.remove("global").unwrap();
    compare("", &default_values(), &schema);
}

#[test]
fn chart_has_the_version_of_the_workspace() {
    let chart: Value = serde_saphyr::from_str(&read("charts/flexlvm/Chart.yaml")).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn wrong_values_are_refused() {
    let server = ApiServer::shared().await;
    for (value, complaint) in [
        ("atach=true", "atach"),
        ("attach=yes", "attach"),
        ("agent.tolerations.a=b", "tolerations"),
        ("controller.replicas=0", "replicas"),
        ("distribution=talos", "distribution"),
        ("agent.pluginDir=relative", "pluginDir"),
        ("namespace.name=", "name"),
        ("image.digest=0a1b", "digest"),
    ] {
        let refusal = template(server, "v1.37.2", &[value])
            .unwrap_err()
            .to_string();
        let explained = refusal.contains("values don't meet the specifications");
        assert!(
            explained && refusal.contains(complaint),
            "{value}: {refusal}"
        );
    }
}

#[tokio::test]
async fn attach_mode_is_refused_on_openshift() {
    let server = ApiServer::shared().await;
    let values = ["distribution=openshift", "attach=true"];
    let refusal = template(server, "v1.37.2", &values)
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains("OpenShift does not support attach"),
        "{refusal}"
    );
}

/// Values, and where in which kind of object the chart puts them.
const EFFECTS: [(&str, &str, &str, &str); 14] = [
    (
        "image.repository=own/flexlvm",
        "Deployment",
        "/spec/template/spec/containers/0/image",
        "own/flexlvm:dev",
    ),
    (
        "image.tag=2.0",
        "DaemonSet",
        "/spec/template/spec/containers/0/image",
        "flexlvm:2.0",
    ),
    (
        "imagePullSecrets[0].name=own",
        "DaemonSet",
        "/spec/template/spec/imagePullSecrets/0/name",
        "own",
    ),
    (
        "controller.nodeSelector.a=b",
        "Deployment",
        "/spec/template/spec/nodeSelector/a",
        "b",
    ),
    (
        "controller.tolerations[0].key=own",
        "Deployment",
        "/spec/template/spec/tolerations/0/key",
        "own",
    ),
    (
        "controller.podLabels.a=b",
        "Deployment",
        "/spec/template/metadata/labels/a",
        "b",
    ),
    (
        "controller.priorityClassName=own",
        "Deployment",
        "/spec/template/spec/priorityClassName",
        "own",
    ),
    (
        "controller.resources.limits.memory=1Gi",
        "Deployment",
        "/spec/template/spec/containers/0/resources/limits/memory",
        "1Gi",
    ),
    (
        "agent.maxUnavailable=20%",
        "DaemonSet",
        "/spec/updateStrategy/rollingUpdate/maxUnavailable",
        "20%",
    ),
    (
        "agent.podAnnotations.a=b",
        "DaemonSet",
        "/spec/template/metadata/annotations/a",
        "b",
    ),
    (
        "agent.pluginDir=/own",
        "DaemonSet",
        "/spec/template/spec/containers/0/env/1/value",
        "/own",
    ),
    (
        "logLevel=debug",
        "Deployment",
        "/spec/template/spec/containers/0/env/2/value",
        "debug",
    ),
    (
        "agent.driverAliases={kubernetes.io/lvm,a/b}",
        "DaemonSet",
        "/spec/template/spec/containers/0/env/1/value",
        "kubernetes.io/lvm,a/b",
    ),
    (
        "namespace.name=own",
        "Deployment",
        "/metadata/namespace",
        "own",
    ),
];

#[tokio::test]
async fn values_take_effect() {
    let server = ApiServer::shared().await;
    for (value, kind, place, expected) in EFFECTS {
        let value = value.replace("a/b", "a\\/b");
        let objects = template(server, "v1.37.2", &[&value]).unwrap();
        let found = find(&objects, kind).pointer(place);
        assert_eq!(found.and_then(Value::as_str), Some(expected), "{value}");
    }
}

#[tokio::test]
async fn namespace_is_nowhere_a_constant() {
    let server = ApiServer::shared().await;
    let all = [
        "namespace.name=own",
        "distribution=openshift",
        "monitoring.annotations=true",
        "monitoring.podMonitor.enabled=true",
        "monitoring.prometheusRule.enabled=true",
        "monitoring.dashboard.enabled=true",
    ];
    let mut objects = template(server, "v1.37.2", &all).unwrap();
    let attach = ["namespace.name=own", "attach=true"];
    objects.extend(template(server, "v1.37.2", &attach).unwrap());
    for object in objects {
        if object["kind"] != "CustomResourceDefinition" {
            assert!(!object.to_string().contains("flexlvm-system"), "{object}");
        }
    }
}
