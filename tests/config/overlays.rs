//! The overlays for versions of Kubernetes and for distributions: an API server accepts each.

use std::collections::BTreeSet;

use harness::apiserver::ApiServer;

use crate::{ROOT, find, kustomize, overlay};

/// Overlays, and the first minor version of the servers that they are for.
const OVERLAYS: [(&str, u32); 9] = [
    ("default", 20),
    ("attach", 20),
    ("v1.25", 25),
    ("v1.25-attach", 25),
    ("v1.30", 30),
    ("v1.30-attach", 30),
    ("openshift", 30),
    ("rke2", 30),
    ("k0s", 30),
];

/// Variants with components, as in an admin's own kustomization.
const COMBINED: [(&str, &[&str]); 4] = [
    ("v1.25", &["attach/component"]),
    ("v1.25", &["openshift/component"]),
    ("v1.25-attach", &["rke2/component"]),
    ("v1.30", &["k0s/component", "attach/component"]),
];

/// Folders that are parts of overlays.
const PARTS: [&str; 6] = [
    "agent",
    "controller",
    "monitoring",
    "namespace",
    "rbac",
    "samples",
];

#[test]
fn every_overlay_is_tested() {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(format!("{ROOT}/config")).unwrap() {
        found.insert(entry.unwrap().file_name().into_string().unwrap());
    }
    let known = OVERLAYS.map(|(name, _)| name).into_iter().chain(PARTS);
    assert_eq!(found, known.map(str::to_owned).collect());
}

#[tokio::test]
async fn server_accepts_each_overlay() {
    let server = ApiServer::shared().await;
    // A server looks for an object's namespace in a dry run, too.
    let namespace = format!("{ROOT}/config/namespace/namespace.yaml");
    server.kubectl(&["apply", "-f", &namespace]).unwrap();
    let mut accepted = 0;
    for (name, since) in OVERLAYS {
        if server.minor() >= since {
            let folder = format!("{ROOT}/config/{name}");
            server
                .kubectl(&["apply", "--dry-run=server", "-k", &folder])
                .unwrap();
            accepted += 1;
        }
    }
    assert!(accepted >= 2);
}

#[tokio::test]
async fn server_accepts_components_with_any_variant() {
    let server = ApiServer::shared().await;
    if !server.is_since(25) {
        return;
    }
    let namespace = format!("{ROOT}/config/namespace/namespace.yaml");
    server.kubectl(&["apply", "-f", &namespace]).unwrap();
    for (variant, components) in COMBINED {
        let folder = overlay(variant, components);
        let folder = folder.path().to_str().unwrap();
        server
            .kubectl(&["apply", "--dry-run=server", "-k", folder])
            .unwrap();
    }
}

#[tokio::test]
async fn openshift_admits_the_agent_alone_as_privileged() {
    let server = ApiServer::shared().await;
    if !server.is_since(25) {
        return;
    }
    let objects = kustomize(server, "openshift", &[]);
    let grants_use = |object: &&serde_json::Value| object["rules"][0]["verbs"][0] == "use";
    let roles: Vec<_> = objects.iter().filter(grants_use).collect();
    assert_eq!(roles.len(), 1);
    let name = &roles[0]["metadata"]["name"];
    assert_eq!(
        roles[0]["kind"], "Role",
        "other namespaces are not affected"
    );
    let bound: Vec<_> = objects
        .iter()
        .filter(|it| it["roleRef"]["name"] == *name)
        .collect();
    assert_eq!(bound.len(), 1);
    let subjects = bound[0]["subjects"].as_array().unwrap();
    assert_eq!(subjects.len(), 1);
    assert_eq!(subjects[0]["name"], "flexlvm-agent");

    // restricted-v2 refuses a user that the pod chooses.
    let pod = &find(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert!(pod["securityContext"]["runAsUser"].is_null());
    assert!(pod["securityContext"]["runAsGroup"].is_null());
}
