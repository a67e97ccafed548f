//! The manifests that admins apply, as kubectl renders them.

mod chart;
mod dashboard;
mod inline_volumes;
mod monitoring;
mod overlays;
mod release;

use harness::apiserver::ApiServer;
use serde_json::{Value, json};

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Returns the text of a file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

/// Renders a folder with kubectl.
fn render(server: &ApiServer, folder: &str) -> Vec<Value> {
    let arguments = ["apply", "--dry-run=client", "-o", "json", "-k", folder];
    let list: Value = serde_json::from_str(&server.kubectl(&arguments).unwrap()).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Returns the objects of a stream of YAML documents.
fn parse(documents: &str) -> Vec<Value> {
    let is_content = |line: &str| !line.is_empty() && !line.starts_with('#') && line != "---";
    documents
        .split("\n---\n")
        .filter(|document| document.lines().any(is_content))
        .map(|document| serde_saphyr::from_str(document.trim_start_matches("---\n")).unwrap())
        .collect()
}

/// Creates an overlay of a variant with components of `config`, as an admin's own kustomization.
fn overlay(variant: &str, components: &[&str]) -> tempfile::TempDir {
    // kustomize requires relative paths.
    let target = format!("{ROOT}/target");
    std::fs::create_dir_all(&target).unwrap();
    let folder = tempfile::tempdir_in(&target).unwrap();
    let components: Vec<String> = components
        .iter()
        .map(|component| format!("../../config/{component}"))
        .collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [format!("../../config/{variant}")], "components": components,
    });
    let file = folder.path().join("kustomization.yaml");
    std::fs::write(file, kustomization.to_string()).unwrap();
    folder
}

/// Renders a variant with components of `config`.
///
/// With `kustomize`, which also prints objects whose definitions the server lacks.
fn kustomize(server: &ApiServer, variant: &str, components: &[&str]) -> Vec<Value> {
    if components.is_empty() {
        // kubectl before 1.21 has no components, and can't read an overlay that mentions them.
        let folder = format!("{ROOT}/config/{variant}");
        return parse(&server.kubectl(&["kustomize", &folder]).unwrap());
    }
    let folder = overlay(variant, components);
    let folder = folder.path().to_str().unwrap();
    parse(&server.kubectl(&["kustomize", folder]).unwrap())
}

/// Returns every object of the definitions and of both configurations for the server's version.
fn objects(server: &ApiServer) -> Vec<Value> {
    let folders = [
        server.definitions(),
        server.configuration(),
        server.attach_configuration(),
    ];
    folders
        .into_iter()
        .flat_map(|folder| render(server, &folder.unwrap()))
        .collect()
}

fn find<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|it| it["kind"] == kind).unwrap()
}

#[tokio::test]
async fn every_object_has_the_label_of_the_product() {
    let server = ApiServer::shared().await;
    let objects = objects(server);
    assert!(objects.len() > 20, "only {} objects", objects.len());
    for object in &objects {
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/name"], "flexlvm",
            "{} {} lacks the label",
            object["kind"], object["metadata"]["name"]
        );
    }
}

#[tokio::test]
async fn configuration_leaves_the_definitions_to_a_folder_of_their_own() {
    let server = ApiServer::shared().await;
    for configuration in [server.configuration(), server.attach_configuration()] {
        for object in render(server, &configuration.unwrap()) {
            assert_ne!(
                object["kind"], "CustomResourceDefinition",
                "kubectl delete -k would delete every object of this kind"
            );
        }
    }
    for object in render(server, &server.definitions().unwrap()) {
        assert_eq!(object["kind"], "CustomResourceDefinition");
    }
}

/// Returns the rules about Secrets and PersistentVolumes of each role that an account has, as
/// `KIND/ROLE: VERBS RESOURCES NAMES`.
fn rules_about_keys(objects: &[Value], account: &str) -> Vec<String> {
    let mut rules = Vec::new();
    for binding in objects {
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        if !subjects.into_iter().any(|it| it["name"] == account) {
            continue;
        }
        let (kind, name) = (&binding["roleRef"]["kind"], &binding["roleRef"]["name"]);
        let role = objects
            .iter()
            .find(|it| it["kind"] == *kind && it["metadata"]["name"] == *name)
            .unwrap();
        for rule in role["rules"].as_array().unwrap() {
            let resources = rule["resources"].to_string();
            if ["*", "secrets", "persistentvolumes"]
                .iter()
                .any(|resource| resources.contains(&format!("\"{resource}\"")))
            {
                let (verbs, names) = (&rule["verbs"], &rule["resourceNames"]);
                rules.push(format!("{kind}/{name}: {verbs} {resources} {names}").replace('"', ""));
            }
        }
    }
    rules.sort();
    rules
}

#[tokio::test]
async fn only_the_controller_reads_keys_and_of_secrets_its_own_alone() {
    let server = ApiServer::shared().await;
    let objects = render(server, &server.configuration().unwrap());
    assert_eq!(
        rules_about_keys(&objects, "flexlvm-controller"),
        [
            "ClusterRole/flexlvm-controller: [create,patch,delete] [persistentvolumes] null",
            "ClusterRole/flexlvm-controller: [get,list,watch] [persistentvolumeclaims,persistentvolumes,nodes] null",
            "Role/flexlvm-controller: [create] [secrets] null",
            "Role/flexlvm-controller: [get] [secrets] [flexlvm-volume-keys]",
        ]
    );
    let none: [&str; 0] = [];
    assert_eq!(rules_about_keys(&objects, "flexlvm-agent"), none);
}

#[tokio::test]
async fn manifests_neither_create_nor_delete_the_secret_of_the_volume_keys() {
    let server = ApiServer::shared().await;
    for object in objects(server) {
        assert_ne!(object["kind"], "Secret", "{}", object["metadata"]["name"]);
    }
}

#[tokio::test]
async fn agents_start_only_where_the_image_runs() {
    let server = ApiServer::shared().await;
    let objects = render(server, &server.configuration().unwrap());
    let pod = &find(&objects, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["nodeSelector"]["kubernetes.io/os"], "linux");
    assert_eq!(pod["nodeSelector"]["kubernetes.io/arch"], "amd64");
}

#[tokio::test]
async fn drain_leaves_one_replica_of_the_controller() {
    let server = ApiServer::shared().await;
    if !server.is_since(25) {
        return;
    }
    let objects = render(server, &server.configuration().unwrap());
    let budget = &find(&objects, "PodDisruptionBudget")["spec"];
    let controller = &find(&objects, "Deployment")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert_eq!(controller["replicas"], 2);
    assert_eq!(budget["selector"], controller["selector"]);
}
