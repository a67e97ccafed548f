//! The chart on a real API server: installation, upgrade, uninstallation.

use std::path::Path;

use harness::apiserver::ApiServer;

use super::CHART;

/// What `helm uninstall` has to keep: the objects, their definitions, and the Secret from which the
/// keys of volumes are derived.
const KEPT: [&str; 5] = [
    "crd/logicalvolumes.flexlvm.dev",
    "crd/nodestorages.flexlvm.dev",
    "crd/storagebackends.flexlvm.dev",
    "storagebackend/flexlvm",
    "secret/flexlvm-volume-keys",
];

/// What it has to remove. Kubernetes deletes the CSIDriver with the ClusterRole.
const REMOVED: [&str; 4] = [
    "deployment/flexlvm-controller",
    "daemonset/flexlvm-agent",
    "clusterrole/flexlvm-controller",
    "serviceaccount/flexlvm-agent",
];

fn exists(server: &ApiServer, object: &str) -> bool {
    let arguments = [
        "-n",
        "flexlvm-system",
        "get",
        object,
        "-o",
        "name",
        "--ignore-not-found",
    ];
    !server.kubectl(&arguments).unwrap().is_empty()
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns a chart whose definition of LogicalVolume lacks the short name, as an earlier version's
/// would.
fn earlier_chart() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(Path::new(CHART), folder.path());
    for variant in ["crds", "crds/cel"] {
        let path = format!("templates/{variant}/logicalvolumes.yaml");
        let path = folder.path().join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        let earlier = text.replace("    shortNames:\n    - lvol\n", "");
        assert_ne!(earlier, text);
        std::fs::write(path, earlier).unwrap();
    }
    folder
}

fn short_names(server: &ApiServer) -> String {
    let names = "jsonpath={.spec.names.shortNames}";
    let arguments = ["get", "crd", "logicalvolumes.flexlvm.dev", "-o", names];
    server.kubectl(&arguments).unwrap()
}

#[tokio::test]
async fn helm_upgrades_definitions_and_keeps_objects_and_keys_on_uninstall() {
    let server = ApiServer::start().await.unwrap();
    let earlier = earlier_chart();
    let earlier = earlier.path().to_str().unwrap();
    server.helm(&["install", "flexlvm", earlier]).unwrap();
    assert_eq!(short_names(&server), "");
    let backend = format!("{}/config/samples/storagebackend.yaml", crate::ROOT);
    server.kubectl(&["apply", "-f", &backend]).unwrap();
    let secret = [
        "-n",
        "flexlvm-system",
        "create",
        "secret",
        "generic",
        "flexlvm-volume-keys",
    ];
    server.kubectl(&secret).unwrap();

    server.helm(&["upgrade", "flexlvm", CHART]).unwrap();
    assert_eq!(short_names(&server), r#"["lvol"]"#);
    for object in KEPT.iter().chain(&REMOVED) {
        assert!(exists(&server, object), "{object} before");
    }

    for command in [
        &[
            "upgrade",
            "flexlvm",
            CHART,
            "--set",
            "crds.install=false,namespace.create=false",
        ][..],
        &["uninstall", "flexlvm"],
    ] {
        server.helm(command).unwrap();
        for object in KEPT {
            assert!(
                exists(&server, object),
                "{object} is gone after {command:?}"
            );
        }
    }
    for object in REMOVED {
        assert!(!exists(&server, object), "{object} is left");
    }

    server.helm(&["install", "flexlvm", CHART]).unwrap();
    for object in KEPT.iter().chain(&REMOVED) {
        assert!(exists(&server, object), "{object} after");
    }
}

#[tokio::test]
async fn helm_installs_into_the_namespace_of_the_release() {
    let server = ApiServer::start().await.unwrap();
    let install = [
        "install",
        "flexlvm",
        CHART,
        "-n",
        "flexlvm-system",
        "--create-namespace",
    ];
    server.helm(&install).unwrap();
    let label = r"jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}";
    let arguments = ["get", "namespace", "flexlvm-system", "-o", label];
    assert_eq!(server.kubectl(&arguments).unwrap(), "privileged");
}

#[tokio::test]
async fn helm_takes_over_an_installation_by_kubectl() {
    let server = ApiServer::start().await.unwrap();
    server.install().unwrap();
    let install = [
        "install",
        "flexlvm",
        CHART,
        "--take-ownership",
        "--force-conflicts",
    ];
    server.helm(&install).unwrap();
    server
        .helm(&["upgrade", "flexlvm", CHART, "--set", "logLevel=debug"])
        .unwrap();
    server.helm(&["uninstall", "flexlvm"]).unwrap();
    for object in REMOVED {
        assert!(!exists(&server, object), "{object} is left");
    }
    assert!(exists(&server, KEPT[0]));
}
