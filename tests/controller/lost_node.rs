//! Nodes that are deleted, out of service or replaced, and what becomes of their claims.

use crds::logical_volume::State;
use crds::{LogicalVolume, NodeStorage};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::fixture::{Controller, Fixture, condition, volume_of};

/// The settings of a backend that releases claims after a second.
fn releases_soon() -> Value {
    json!({"nodeLoss": {"policy": "Release", "gracePeriodSeconds": 1}})
}

impl Fixture {
    async fn delete_node(&self, node: &str) {
        let node = self.name(node);
        self.nodes()
            .delete(&node, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Plays the node controller: sets the condition Ready of a node.
    async fn node_ready(&self, node: &str, status: &str) {
        let ready = json!({"type": "Ready", "status": status, "reason": "NodeStatusUnknown",
            "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z"});
        let patch = Patch::Merge(json!({"status": {"conditions": [ready]}}));
        self.nodes()
            .patch_status(&self.name(node), &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits until the controller deletes a claim, and plays the controller manager, which removes
    /// the claim's finalizer once no pod uses it, and releases the PersistentVolume.
    async fn wait_until_claim_is_released(&self, claim: &str, volume: &str) {
        self.wait(
            &self.claims(),
            claim,
            "the claim is deleted",
            |claim: &PersistentVolumeClaim| claim.metadata.deletion_timestamp.is_some(),
        )
        .await;
        let volumes = self.volumes();
        let published = volumes.get(volume).await.unwrap();
        assert_eq!(published.metadata.deletion_timestamp, None, "too early");
        self.delete_claim(claim).await;
        self.phase(volume, "Released").await;
    }

    async fn state(&self, volume: &str) -> State {
        let object = self.logical_volumes().get(volume).await.unwrap();
        object.spec.state
    }

    /// Creates a node again under the name of one that was deleted; returns its uid.
    async fn node_again(&self, node: &str) -> String {
        let name = self.unreported_node(node).await;
        self.nodes().get(&name).await.unwrap().uid().unwrap()
    }

    /// Writes the owner of a node's report, and which volumes it lists as missing.
    async fn report_missing(&self, node: &str, owner: &str, volumes: &[&str]) {
        let node = self.name(node);
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": owner});
        let storages: Api<NodeStorage> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
        storages
            .patch(&node, &PatchParams::default(), &patch)
            .await
            .unwrap();
        let missing = |name: &&str| json!({"kind": "Missing", "volumeGroup": "vg0", "name": name, "message": "m"});
        let deviations: Vec<_> = volumes.iter().map(missing).collect();
        let patch = Patch::Merge(json!({"status": {"deviations": deviations}}));
        storages
            .patch_status(&node, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn claims_of_a_deleted_node_are_released_and_their_volumes_abandoned() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024), ("n2", 1024)]).await;
    fixture.change_backend(releases_soon()).await;
    let name = fixture.bound("on-lost", "64Mi", "n1").await;
    let other = fixture.bound("on-other", "64Mi", "n2").await;
    fixture.delete_node("n1").await;
    fixture
        .wait_for_event_about(
            "on-lost",
            &["NodeLost: node ", "is gone", "the claim is deleted"],
        )
        .await;
    fixture.wait_for_state(&name, State::Abandoned).await;
    fixture.wait_until_claim_is_released("on-lost", &name).await;
    fixture
        .wait_for_event_about(
            "on-lost",
            &["ClaimReleased: ", "gets an empty volume", &name],
        )
        .await;
    fixture.wait_until_finalizer_is_removed(&name).await;
    fixture.remove_finalizers(&name).await;
    fixture.gone(&fixture.volumes(), &name).await;

    // Created again, as by a StatefulSet, the claim gets a volume on a node that exists.
    let again = volume_of(&fixture.claim("on-lost", "64Mi", Some("n2")).await);
    let placed = fixture.agent_creates(&again).await;
    assert_eq!(placed.spec.node, fixture.name("n2"));
    fixture.wait_for_persistent_volume(&again).await;
    assert_eq!(fixture.state(&other).await, State::Present);
    assert!(
        fixture
            .claims()
            .get_opt("on-other")
            .await
            .unwrap()
            .is_some()
    );

    // The record stays when the node returns, until an admin deletes it.
    fixture.node_again("n1").await;
    let patch = condition("Ready", "False", "Abandoned", "it is kept");
    fixture.agent_reports(&name, patch).await;
    fixture.quiet().await;
    let object = fixture.logical_volumes().get(&name).await.unwrap();
    assert_eq!(object.metadata.deletion_timestamp, None);
    fixture
        .logical_volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    fixture.gone(&fixture.logical_volumes(), &name).await;
}

#[tokio::test]
async fn claims_of_a_deleted_node_wait_by_default() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = fixture.bound("waits-by-default", "64Mi", "n1").await;
    fixture.delete_node("n1").await;
    fixture
        .wait_for_event_about(
            "waits-by-default",
            &[
                "NodeLost: node ",
                "kubectl flexlvm release-node",
                &fixture.name("n1"),
            ],
        )
        .await;
    fixture.quiet().await;
    let object = fixture.logical_volumes().get(&name).await.unwrap();
    assert_eq!(
        (object.spec.state, object.spec.node_lost_time),
        (State::Present, None)
    );
    // The admin changes the policy afterwards, and the node returns within the grace period.
    fixture
        .change_backend(json!({"nodeLoss": {"policy": "Release"}}))
        .await;
    let is_recorded = |object: &LogicalVolume| object.spec.node_lost_time.is_some();
    let api = fixture.logical_volumes();
    fixture
        .wait(&api, &name, "the loss is recorded", is_recorded)
        .await;
    fixture.node_again("n1").await;
    fixture
        .wait(&api, &name, "the return is recorded", |object| {
            !is_recorded(object)
        })
        .await;
    assert_eq!(fixture.state(&name).await, State::Present);
}

#[tokio::test]
async fn silent_node_is_lost_only_with_the_taint_of_an_admin() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    fixture
        .change_backend(json!({"nodeLoss": {"policy": "Release", "gracePeriodSeconds": 0}}))
        .await;
    let name = fixture.bound("silent", "64Mi", "n1").await;
    fixture.node_ready("n1", "Unknown").await;
    fixture.quiet().await;
    assert_eq!(fixture.state(&name).await, State::Present);
    let taint = json!({"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown",
        "effect": "NoExecute"});
    let patch = Patch::Merge(json!({"spec": {"taints": [taint]}}));
    let nodes: Api<Node> = fixture.nodes();
    nodes
        .patch(&fixture.name("n1"), &PatchParams::default(), &patch)
        .await
        .unwrap();
    fixture.wait_for_state(&name, State::Abandoned).await;
    fixture.wait_until_claim_is_released("silent", &name).await;
}

#[tokio::test]
async fn node_of_the_same_name_counts_as_the_lost_one_if_its_agent_finds_the_volume() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = fixture.bound("replaced", "64Mi", "n1").await;
    let kept = fixture.bound("reinstalled", "64Mi", "n1").await;
    let former = fixture.nodes().get(&fixture.name("n1")).await.unwrap();
    for volume in [&name, &kept] {
        fixture
            .agent_writes_status(volume, json!({"nodeUid": former.uid()}))
            .await;
    }
    fixture.delete_node("n1").await;
    let present = fixture.node_again("n1").await;
    fixture
        .change_backend(json!({"nodeLoss": {"policy": "Release", "gracePeriodSeconds": 0}}))
        .await;
    // The former agent's report is left over, and the new one has not reported.
    let missing = condition("Ready", "False", "LogicalVolumeMissing", "missing");
    fixture.agent_reports(&name, missing).await;
    fixture.quiet().await;
    assert_eq!(fixture.state(&name).await, State::Present);
    // The new agent reports, and does not list the volume.
    fixture.report_missing("n1", &present, &[]).await;
    fixture
        .agent_writes_status(&kept, json!({"nodeUid": present}))
        .await;
    fixture.quiet().await;
    assert_eq!(fixture.state(&name).await, State::Present);
    fixture.report_missing("n1", &present, &[&name]).await;
    // Its next report of the volume leads to the next pass; otherwise the interval does.
    let missing = condition("Ready", "False", "LogicalVolumeMissing", "missing now");
    fixture.agent_reports(&name, missing).await;
    fixture.wait_for_state(&name, State::Abandoned).await;
    assert_eq!(fixture.state(&kept).await, State::Present);
}

#[tokio::test]
async fn node_that_returns_before_the_claim_is_deleted_keeps_the_claim() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = fixture.bound("returns", "64Mi", "n1").await;
    let node = fixture.nodes().get(&fixture.name("n1")).await.unwrap();
    fixture
        .agent_writes_status(&name, json!({"nodeUid": node.uid()}))
        .await;
    // An admin abandons a volume whose node works.
    let patch = Patch::Merge(json!({"spec": {"state": "Abandoned"}}));
    fixture
        .logical_volumes()
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    fixture.wait_for_state(&name, State::Present).await;
    let claim = fixture.claims().get("returns").await.unwrap();
    assert_eq!(claim.metadata.deletion_timestamp, None);
}

#[tokio::test]
async fn deleted_object_of_a_lost_node_ends_without_its_agent() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let name = fixture.bound("given-up", "64Mi", "n1").await;
    fixture.delete_claim("given-up").await;
    fixture.phase(&name, "Released").await;
    fixture.wait_for_state(&name, State::Absent).await;
    let objects = fixture.logical_volumes();
    objects
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    fixture.quiet().await;
    assert!(objects.get_opt(&name).await.unwrap().is_some());
    fixture.delete_node("n1").await;
    fixture.gone(&objects, &name).await;
    fixture.wait_until_finalizer_is_removed(&name).await;
}

#[tokio::test]
async fn two_controllers_and_a_restart_release_each_claim_once() {
    let fixture = Fixture::on_own_server().await;
    fixture.node("n1", 1024).await;
    fixture.node("n2", 1024).await;
    fixture.backend_without_controller("vg0").await;
    fixture
        .class_only(json!({"volumeBindingMode": "WaitForFirstConsumer"}))
        .await;
    let controller = Controller::start(fixture.server, false).await;
    let mut volumes = Vec::new();
    for number in 0..4 {
        let claim = format!("twice-{number}");
        volumes.push((claim.clone(), fixture.bound(&claim, "32Mi", "n1").await));
    }
    fixture
        .change_backend(json!({"nodeLoss": {"policy": "Release", "gracePeriodSeconds": 3}}))
        .await;
    fixture.delete_node("n1").await;
    let (_, last) = volumes.last().unwrap();
    let is_recorded = |object: &LogicalVolume| object.spec.node_lost_time.is_some();
    let api = fixture.logical_volumes();
    fixture
        .wait(&api, last, "the loss is recorded", is_recorded)
        .await;
    let recorded = api.get(last).await.unwrap().spec.node_lost_time;
    drop(controller); // like kill -9
    let _first = Controller::start(fixture.server, false).await;
    let _second = Controller::start(fixture.server, false).await;
    for (claim, volume) in &volumes {
        fixture.wait_for_state(volume, State::Abandoned).await;
        fixture.wait_until_claim_is_released(claim, volume).await;
        fixture.wait_until_finalizer_is_removed(volume).await;
        fixture.remove_finalizers(volume).await;
        fixture.gone(&fixture.volumes(), volume).await;
    }
    // The restart has not begun the grace period anew, and the records are all there.
    assert_eq!(api.get(last).await.unwrap().spec.node_lost_time, recorded);
    assert_eq!(fixture.own_logical_volumes().await.len(), volumes.len());
}
