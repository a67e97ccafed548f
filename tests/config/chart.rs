//! The Helm chart: it renders what `config` has, and keeps data when it is upgraded and uninstalled.

mod installation;
mod templates;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use harness::apiserver::ApiServer;
use serde_json::{Map, Value};

use crate::{ROOT, kustomize, parse};

/// The folder of the chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/flexlvm");

/// A rendering of the chart, and the manifests that it has to equal.
struct Rendering {
    kubernetes: &'static str,
    values: &'static [&'static str],
    variant: &'static str,
    components: &'static [&'static str],
}

const fn rendering(
    kubernetes: &'static str,
    values: &'static [&'static str],
    variant: &'static str,
) -> Rendering {
    Rendering {
        kubernetes,
        values,
        variant,
        components: &[],
    }
}

impl Rendering {
    const fn with(mut self, components: &'static [&'static str]) -> Self {
        self.components = components;
        self
    }
}

/// What any kubectl renders.
const BEFORE_25: [Rendering; 2] = [
    rendering("v1.20.2", &[], "default"),
    rendering("v1.24.17", &["attach=true"], "attach"),
];

/// What kubectl renders since it has components.
const SINCE_25: [Rendering; 10] = [
    rendering("v1.25.0", &[], "v1.25"),
    rendering("v1.29.9-eks-1a2b3c", &["attach=true"], "v1.25-attach"),
    rendering("v1.30.0+rke2r1", &[], "v1.30"),
    rendering("v1.37.2", &["attach=true"], "v1.30-attach"),
    rendering("v1.25.0", &["monitoring.annotations=true"], "v1.25").with(&["monitoring"]),
    rendering(
        "v1.37.2",
        &[
            "monitoring.podMonitor.enabled=true",
            "monitoring.prometheusRule.enabled=true",
            "monitoring.dashboard.enabled=true",
        ],
        "v1.30",
    )
    .with(&["monitoring/operator", "monitoring/dashboard"]),
    rendering("v1.37.2", &["distribution=openshift"], "openshift"),
    rendering("v1.37.2", &["distribution=rke2"], "rke2"),
    rendering(
        "v1.37.2",
        &["distribution=rke2", "attach=true"],
        "v1.30-attach",
    )
    .with(&["rke2/component"]),
    rendering("v1.37.2", &["distribution=k0s"], "k0s"),
];

/// Renders the chart with these values.
fn template(server: &ApiServer, kubernetes: &str, values: &[&str]) -> anyhow::Result<Vec<Value>> {
    let mut arguments = vec!["template", "flexlvm", CHART, "--kube-version", kubernetes];
    for value in values {
        arguments.extend(["--set", value]);
    }
    Ok(parse(&server.helm(&arguments)?))
}

/// Returns the objects by kind, namespace and name.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for mut object in objects {
        let metadata = &object["metadata"];
        let (kind, namespace, name) = (&object["kind"], &metadata["namespace"], &metadata["name"]);
        let key = format!("{kind} {namespace} {name}");
        forget_the_policy_of_helm(&mut object);
        sort_environment(&mut object);
        let former = found.insert(key.clone(), object);
        assert!(former.is_none(), "{key} occurs twice");
    }
    found
}

/// Removes the annotation that makes Helm keep an object, which `config` does not need.
fn forget_the_policy_of_helm(object: &mut Value) {
    let metadata = object["metadata"].as_object_mut().unwrap();
    if let Some(annotations) = metadata.get_mut("annotations") {
        let annotations = annotations.as_object_mut().unwrap();
        annotations.remove("helm.sh/resource-policy");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

/// Sorts the environment of each container: kustomize puts a patch's variables first.
fn sort_environment(object: &mut Value) {
    let containers = object.pointer_mut("/spec/template/spec/containers");
    for container in containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(environment) = container["env"].as_array_mut() {
            environment.sort_by_key(|variable| variable["name"].to_string());
        }
    }
}

/// Describes the first difference between two values; `10` and `10.0` are equal.
fn difference(path: &str, found: &Value, expected: &Value) -> Option<String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let names: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
            let value = |map: &Map<String, Value>, name| map.get(name).cloned().unwrap_or_default();
            names.into_iter().find_map(|name| {
                difference(
                    &format!("{path}/{name}"),
                    &value(found, name),
                    &value(expected, name),
                )
            })
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            let pairs = found.iter().zip(expected).enumerate();
            pairs
                .into_iter()
                .find_map(|(index, (one, two))| difference(&format!("{path}/{index}"), one, two))
        }
        (Value::Number(one), Value::Number(two)) if one.as_f64() == two.as_f64() => None,
        _ if found == expected => None,
        _ => Some(format!("{path} is {found}, expected {expected}")),
    }
}

/// Compares the chart with the manifests, object by object.
fn compare(server: &ApiServer, rendering: &Rendering, definitions: &str) {
    let found = template(server, rendering.kubernetes, rendering.values).unwrap();
    let mut expected = kustomize(server, rendering.variant, rendering.components);
    let folder = format!("{ROOT}/{definitions}");
    expected.extend(parse(&server.kubectl(&["kustomize", &folder]).unwrap()));
    let (found, expected) = (by_name(found), by_name(expected));
    let what = format!(
        "on {} with {:?}, compared with {} {:?}",
        rendering.kubernetes, rendering.values, rendering.variant, rendering.components
    );
    let names: Vec<_> = found.keys().collect();
    assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{what}");
    for (name, object) in found {
        if let Some(difference) = difference("", &object, &expected[&name]) {
            panic!("{name} {what}: {difference}");
        }
    }
}

#[tokio::test]
async fn chart_equals_the_manifests_before_kubernetes_1_25() {
    let server = ApiServer::shared().await;
    for rendering in BEFORE_25 {
        compare(server, &rendering, "crds");
    }
}

#[tokio::test]
async fn chart_equals_the_manifests_since_kubernetes_1_25() {
    let server = ApiServer::shared().await;
    if !server.is_since(25) {
        return;
    }
    for rendering in SINCE_25 {
        compare(server, &rendering, "crds/cel");
    }
}
