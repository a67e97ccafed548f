//! `kubectl flexlvm adopt`, with the real controller and the real agent's code over simulated LVM.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::{NAMESPACE, Plugin};
use crate::adoption::Cluster;
use crate::fixture::{Controller, Fixture, volume_of};

/// Plays the kubelet: reports a replica of the controller as ready.
async fn report_ready_controller(fixture: &Fixture) {
    let deployments: Api<Deployment> = Api::namespaced(fixture.client.clone(), NAMESPACE);
    let status = Patch::Merge(json!({"status": {"replicas": 1, "readyReplicas": 1}}));
    let name = "flexlvm-controller";
    let params = PatchParams::default();
    deployments
        .patch_status(name, &params, &status)
        .await
        .unwrap();
}

/// Provisions a claim and deletes all of its objects; returns the name of its logical volume.
async fn lose(cluster: &Cluster, claim: &str) -> String {
    let fixture = &cluster.fixture;
    let controller = Controller::start(fixture.server, false).await;
    let name = volume_of(&fixture.claim(claim, "64Mi", None).await);
    fixture.wait_for_persistent_volume(&name).await;
    drop(controller);
    cluster.lose_objects(claim, &name).await;
    cluster
        .wait_for_report("the orphan is reported", |status| status.orphans.len() == 1)
        .await;
    name
}

#[tokio::test]
async fn plugin_adopts_orphans_after_confirmation() {
    let cluster = Cluster::start().await;
    let fixture = &cluster.fixture;
    let name = lose(&cluster, "rescued").await;
    let plugin = Plugin::new(fixture, &fixture.server.kubeconfig());
    let orphans = plugin.run(&["orphans", "-o", "wide"]);
    let command = format!("kubectl flexlvm adopt {} vg0/{name}", cluster.node);
    assert!(orphans.text.contains(&command), "{}", orphans.text);

    let unconfirmed = plugin.run(&["adopt", "--all-orphans"]);
    assert_eq!(unconfirmed.code, 1, "{}", unconfirmed.errors);
    let expected = "would adopt 1 volume; nothing was changed: to adopt, add --yes";
    assert_eq!(unconfirmed.last_line(), expected);
    let of_other = plugin.run(&["adopt", "--all-orphans", "--yes", "-n", "other"]);
    assert_eq!(of_other.last_line(), "no orphans found: nothing to adopt");

    // As after a restore of etcd, no controller runs.
    let created = plugin.run(&["adopt", "--all-orphans", "--yes"]);
    assert_eq!(created.code, 0, "{}{}", created.text, created.errors);
    let expected = "created: 1 Adoption; no controller is ready";
    assert!(
        created.last_line().starts_with(expected),
        "{}",
        created.text
    );

    // The same Adoption is continued, and its progress is reported.
    let _controller = Controller::start(fixture.server, false).await;
    report_ready_controller(fixture).await;
    let adopted = plugin.run(&["adopt", &cluster.node, &format!("vg0/{name}")]);
    assert_eq!(adopted.code, 0, "{}{}", adopted.text, adopted.errors);
    assert_eq!(adopted.last_line(), "adopted: 1 volume");
    let claim = format!("{}/rescued", fixture.namespace);
    assert!(adopted.text.contains(&claim), "{}", adopted.text);
    fixture.wait_for_persistent_volume(&name).await;
    let adoptions = cluster.adoptions();
    let listed = adoptions.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}

#[tokio::test]
async fn plugin_adopts_the_volume_of_an_admin_and_reports_refusals() {
    let cluster = Cluster::start().await;
    let fixture = &cluster.fixture;
    cluster.create_photos();
    let _controller = Controller::start(fixture.server, false).await;
    report_ready_controller(fixture).await;
    let plugin = Plugin::new(fixture, &fixture.server.kubeconfig());
    let class = &fixture.namespace;
    let adopt = |path: &str, rest: &[&str]| {
        let start = ["adopt", &cluster.node, path, "-n", &fixture.namespace];
        plugin.run(&[&start, rest].concat())
    };

    let incomplete = adopt("vg0/pvc-photos", &["--claim=photos", "--filesystem=ext4"]);
    assert_eq!(incomplete.code, 1);
    let expected = "its tags don't describe it: add --backend, --class";
    assert!(
        incomplete.last_line().ends_with(expected),
        "{}",
        incomplete.text
    );

    // What only the agent observes is reported by the condition.
    let options = [
        "--claim=photos",
        "--filesystem=ext4",
        &format!("--backend={class}"),
        &format!("--class={class}"),
    ];
    let absent = adopt("vg0/pvc-absent", &options);
    assert_eq!(absent.code, 1, "{}", absent.errors);
    let expected = format!("{} has no logical volume vg0/pvc-absent", cluster.node);
    assert!(absent.last_line().starts_with("refused: 1 of 1 volume; "));
    assert!(absent.last_line().ends_with(&expected), "{}", absent.text);
    let progress = format!("0/1 vg0/pvc-absent on {}: ", cluster.node);
    assert!(absent.errors.contains(&progress), "{}", absent.errors);

    let adopted = adopt("vg0/pvc-photos", &options);
    assert_eq!(adopted.code, 0, "{}{}", adopted.text, adopted.errors);
    assert_eq!(adopted.last_line(), "adopted: 1 volume");
    let volume = fixture.wait_for_persistent_volume("pvc-photos").await;
    let claim = volume.spec.unwrap().claim_ref.unwrap();
    assert_eq!(claim.name.as_deref(), Some("photos"));
    let again = adopt("vg0/pvc-photos", &options);
    assert_eq!(again.last_line(), "adopted: 1 volume", "{}", again.errors);
}
