//! `kubectl flexlvm`, started by kubectl, against the objects that the real controller writes.

mod adopt;
mod pages;
mod watch;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crds::logical_volume::State;
use harness::wait;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::fixture::{Controller, Fixture, from};

const NAMESPACE: &str = "flexlvm-system";

/// kubectl with the plugin in its path.
struct Plugin {
    folder: tempfile::TempDir,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

/// What a run of the plugin printed.
struct Answer {
    code: i32,
    text: String,
    errors: String,
}

impl Answer {
    fn last_line(&self) -> &str {
        self.text.lines().last().unwrap_or_default()
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            text: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Plugin {
    /// Installs the plugin for the fixture's server, with the rights of a kubeconfig.
    fn new(fixture: &Fixture, kubeconfig: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = env!("CARGO_BIN_EXE_plugin");
        std::os::unix::fs::symlink(program, folder.path().join("kubectl-flexlvm")).unwrap();
        Self {
            folder,
            kubectl: fixture.server.kubernetes().program("kubectl"),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .arg("flexlvm")
            .args(arguments)
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .env("PATH", self.folder.path())
            .current_dir(self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        self.command(arguments).output().unwrap().into()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.run(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{}", answer.errors))
    }
}

#[tokio::test]
async fn plugin_explains_a_claim_in_each_state() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let plugin = Plugin::new(&fixture, &fixture.server.kubeconfig());
    let explain = |claim: &str| plugin.run(&["explain", "pvc", claim, "-n", &fixture.namespace]);

    let absent = explain("other");
    assert_eq!(absent.code, 1);
    let not_found = "error: persistentvolumeclaims \"other\" not found";
    assert!(absent.errors.starts_with(not_found), "{}", absent.errors);

    fixture.unprovisioned_claim("first", "64Mi").await;
    let waits = explain("first");
    assert_eq!(waits.code, 1);
    let expected = "waiting: the class waits for the claim's first pod";
    assert!(waits.last_line().starts_with(expected), "{}", waits.text);

    fixture.claim("enormous", "1Ti", Some("n1")).await;
    fixture.wait_for_event_about("enormous", &["1 TiB"]).await;
    let large = explain("enormous");
    let expected = format!(
        "no node can provide 1 TiB from StorageBackend {}",
        fixture.namespace
    );
    assert!(large.last_line().contains(&expected), "{}", large.text);
    assert!(
        large.text.contains("\nEvent ProvisioningFailed: "),
        "{}",
        large.text
    );

    let claim = fixture.claim("data", "64Mi", Some("n1")).await;
    let name = crate::fixture::volume_of(&claim);
    fixture.wait_for_logical_volume(&name).await;
    let silent = explain("data");
    let expected = format!("waiting: logicalvolume.flexlvm.dev/{name}: 64 MiB");
    assert!(silent.last_line().starts_with(&expected), "{}", silent.text);

    fixture.agent_creates(&name).await;
    fixture.wait_for_persistent_volume(&name).await;
    fixture.bind("data", &name).await;
    fixture
        .patch_claim_status(
            "data",
            json!({"phase": "Bound", "capacity": {"storage": "64Mi"}}),
        )
        .await;
    let served = explain("data");
    assert_eq!(served.code, 0, "{}", served.text);
    assert!(
        served.last_line().starts_with("served: "),
        "{}",
        served.text
    );
    let yaml = plugin.run(&[
        "explain",
        "pvc",
        "data",
        "-n",
        &fixture.namespace,
        "-o",
        "yaml",
    ]);
    assert!(yaml.text.contains("is_served: true"), "{}", yaml.text);
}

/// Plays kubelets and the controller manager: reports the controller and agents as running.
async fn start_pods(fixture: &Fixture, nodes: &[&str]) {
    let deployments: Api<Deployment> = Api::namespaced(fixture.client.clone(), NAMESPACE);
    let status = json!({"status": {"replicas": 2, "readyReplicas": 2}});
    deployments
        .patch_status(
            "flexlvm-controller",
            &PatchParams::default(),
            &Patch::Merge(status),
        )
        .await
        .unwrap();
    let leases: Api<Lease> = Api::namespaced(fixture.client.clone(), NAMESPACE);
    let renewed = format!("{:.6}", Timestamp::now());
    let lease = json!({"metadata": {"name": "flexlvm-controller"},
        "spec": {"holderIdentity": "test", "renewTime": renewed}});
    leases
        .create(&PostParams::default(), &from(lease))
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(fixture.client.clone(), NAMESPACE);
    for node in nodes {
        let name = format!("flexlvm-agent-{node}");
        let labels = json!({"app.kubernetes.io/name": "flexlvm",
            "app.kubernetes.io/component": "agent"});
        let spec = json!({"nodeName": fixture.name(node), "serviceAccountName": "flexlvm-agent",
            "automountServiceAccountToken": false, "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "agent", "image": "none"}]});
        let pod = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
        pods.create(&PostParams::default(), &from(pod))
            .await
            .unwrap();
        let ready = json!({"status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}]}});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(ready))
            .await
            .unwrap();
    }
}

/// Returns a kubeconfig with the rights of the role `flexlvm-viewer`.
async fn viewer(fixture: &Fixture) -> PathBuf {
    let accounts: Api<ServiceAccount> = Api::namespaced(fixture.client.clone(), NAMESPACE);
    let account = json!({"metadata": {"name": "viewer"}});
    accounts
        .create(&PostParams::default(), &from(account))
        .await
        .unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(fixture.client.clone());
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
        "name": "flexlvm-viewer"});
    let subject = json!({"kind": "ServiceAccount", "name": "viewer", "namespace": NAMESPACE});
    let binding = json!({"metadata": {"name": "viewer"}, "roleRef": role, "subjects": [subject]});
    bindings
        .create(&PostParams::default(), &from(binding))
        .await
        .unwrap();
    let access = fixture.server.access();
    access.kubeconfig_of(NAMESPACE, "viewer").await.unwrap()
}

/// Creates a claim that is provisioned at once, and binds it; returns its volume's node.
async fn serve(fixture: &Fixture, claim: &str) -> String {
    let name = crate::fixture::volume_of(&fixture.claim(claim, "64Mi", None).await);
    let volume = fixture.agent_creates(&name).await;
    fixture.wait_for_persistent_volume(&name).await;
    fixture.bind(claim, &name).await;
    fixture
        .patch_claim_status(
            claim,
            json!({"phase": "Bound", "capacity": {"storage": "64Mi"}}),
        )
        .await;
    volume.spec.node
}

/// Returns the number of requests of the viewer so far.
async fn requests_of_viewer(fixture: &Fixture) -> usize {
    // The server logs a request after its answer.
    fixture.quiet().await;
    let requests = fixture.server.requests().unwrap();
    let of_viewer = requests.iter().filter(|it| it.account == "viewer");
    of_viewer.count()
}

#[tokio::test]
async fn plugin_finds_faults_only_where_there_are_any() {
    let fixture = Fixture::on_own_server().await;
    let _controller = Controller::start(fixture.server, true).await;
    for (node, mebibytes) in [("n1", 1024), ("n2", 768)] {
        fixture.node(node, mebibytes).await;
    }
    fixture.class(json!({})).await;
    start_pods(&fixture, &["n1", "n2"]).await;
    let admin = Plugin::new(&fixture, &fixture.server.kubeconfig());

    let answer = admin.json(&["capacity", "64Mi", "--count=3"]);
    let mut nodes = Vec::new();
    for claim in ["a", "b", "c"] {
        nodes.push(serve(&fixture, claim).await);
    }
    assert_eq!(answer["backends"][0]["nodes"], json!(nodes));

    let healthy = admin.run(&["doctor"]);
    assert_eq!(healthy.text, "healthy\n", "{}", healthy.errors);
    assert_eq!(healthy.code, 0);
    let tree = admin.run(&["tree"]);
    let claims = tree.text.matches("persistentvolumeclaim/").count();
    assert_eq!(claims, 3, "{}", tree.text);

    let viewer = Plugin::new(&fixture, &viewer(&fixture).await);
    let status = viewer.run(&["status"]);
    assert_eq!(status.code, 0, "{}", status.errors);
    let unreadable = "not checked: persistentvolumes: ";
    assert!(status.text.contains(unreadable), "{}", status.text);
    assert_eq!(
        status.text.matches("not checked").count(),
        1,
        "{}",
        status.text
    );
    assert!(
        status.text.contains("3 volumes: 3 ready"),
        "{}",
        status.text
    );
    let few = requests_of_viewer(&fixture).await;
    serve(&fixture, "d").await;
    let status = viewer.run(&["status"]);
    assert!(
        status.text.contains("4 volumes: 4 ready"),
        "{}",
        status.text
    );
    let more = requests_of_viewer(&fixture).await;
    assert_eq!(more, 2 * few, "requests depend on the number of volumes");
    assert!(few < 30, "{few} requests");

    fixture.report_hang("n1").await;
    let found = wait::until("the fault is found", wait::LIMIT, async || {
        let found = admin.run(&["doctor", "-o", "wide"]);
        Ok((found.code == 1).then_some(found))
    });
    let found = found.await.unwrap();
    let expected = format!("Fault [lvm-hangs]: node/{}: ", fixture.name("n1"));
    assert!(found.text.starts_with(&expected), "{}", found.text);
    assert_bundle_has_no_key(&fixture, &admin).await;
}

/// Checks that a bundle of the server answers as the server does, and has no volume's key.
async fn assert_bundle_has_no_key(fixture: &Fixture, admin: &Plugin) {
    let written = admin.run(&["bundle", "folder"]);
    assert_eq!(written.code, 0, "{}", written.errors);
    let volumes = fixture.volumes().list(&ListParams::default()).await;
    let mut keys = Vec::new();
    for volume in volumes.unwrap().items {
        let source = volume.spec.unwrap().flex_volume.unwrap();
        keys.push(source.options.unwrap()["key"].clone());
    }
    assert_eq!(keys.len(), 4);
    for file in std::fs::read_dir(admin.folder.path().join("folder")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(keys.iter().all(|key| !text.contains(key)));
    }
    let again = admin.run(&["doctor", "-o", "wide", "--from", "folder"]);
    assert_eq!(again.code, 1, "{}", again.errors);
    assert!(again.text.contains("[lvm-hangs]"), "{}", again.text);
}

#[tokio::test]
async fn plugin_releases_the_claims_of_a_deleted_node() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let plugin = Plugin::new(&fixture, &fixture.server.kubeconfig());
    let name = fixture.bound("by-plugin", "64Mi", "n1").await;
    let node = fixture.name("n1");
    let release = |arguments: &[&str]| plugin.run(&[&["release-node", &node], arguments].concat());
    let refused = release(&["--yes"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("is Ready and has its volumes"),
        "{}",
        refused.errors
    );

    let parameters = DeleteParams::default();
    fixture.nodes().delete(&node, &parameters).await.unwrap();
    let unconfirmed = release(&[]);
    assert_eq!(unconfirmed.code, 1);
    assert!(
        unconfirmed.text.contains("1 claim will be deleted"),
        "{}",
        unconfirmed.text
    );
    assert!(
        unconfirmed.errors.contains("nothing was changed"),
        "{}",
        unconfirmed.errors
    );
    let object = fixture.logical_volumes().get(&name).await.unwrap();
    assert_eq!(object.spec.state, State::Present);

    // No controller manager runs here, which would end the claim.
    let waits = release(&["--yes", "--timeout", "1"]);
    assert_eq!(waits.code, 1, "{}{}", waits.text, waits.errors);
    let claim = format!("waiting for {}/by-plugin", fixture.namespace);
    assert!(waits.text.contains(&claim), "{}", waits.text);
    fixture.wait_for_state(&name, State::Abandoned).await;
    fixture
        .wait(&fixture.claims(), "by-plugin", "it is deleted", |claim| {
            claim.metadata.deletion_timestamp.is_some()
        })
        .await;
    fixture.delete_claim("by-plugin").await;
    fixture.phase(&name, "Released").await;
    let released = release(&["--yes"]);
    assert_eq!(
        (released.code, released.last_line()),
        (0, "all claims are released")
    );
    let orphans = plugin.json(&["orphans"]);
    let kind = orphans.as_array().unwrap().iter().find(|one| {
        one["path"]
            .as_str()
            .is_some_and(|path| path.ends_with(&name))
    });
    assert_eq!(kind.unwrap()["kind"], "Abandoned");
}
