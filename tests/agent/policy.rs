//! What the API server lets the agent of a node write, by the real token of its account: objects of
//! its own node alone. Needs the policies of `config/v1.30`.

use std::process::Command;

use crds::{Adoption, LogicalVolume, NodeStorage};
use harness::apiserver::ApiServer;
use harness::wait;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::fixture::Fixture;

/// The first version whose tokens name the node of their pod.
const SINCE: u32 = 30;

/// Tries each write of an agent to the objects of a node; returns the refusals.
async fn refusals(client: &Client, node: &str, volume: &str) -> Vec<String> {
    let storages: Api<NodeStorage> = Api::all(client.clone());
    let volumes: Api<LogicalVolume> = Api::all(client.clone());
    let adoptions: Api<Adoption> = Api::all(client.clone());
    let report = Patch::Merge(json!({"status": {"report": {"generation": 1}}}));
    let apply = PatchParams::apply("flexlvm-agent").force();
    let storage = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage",
        "metadata": {"name": node}, "spec": {}, "status": {"lvmVersion": "2.03"}});
    let status =
        Patch::Merge(json!({"status": {"uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP"}}));
    let mut refusals = Vec::new();
    // The first of these creates the object where it is missing.
    for result in [
        storages
            .patch(node, &apply, &Patch::Apply(&storage))
            .await
            .map(drop),
        storages
            .patch_status(node, &apply, &Patch::Apply(&storage))
            .await
            .map(drop),
        volumes
            .patch_status(volume, &PatchParams::default(), &status)
            .await
            .map(drop),
        adoptions
            .patch_status(volume, &PatchParams::default(), &report)
            .await
            .map(drop),
    ] {
        if let Err(error) = result {
            refusals.push(error.to_string());
        }
    }
    refusals
}

impl Fixture {
    /// Creates a LogicalVolume of this node, and an Adoption of the same name.
    async fn create_both(&self, short: &str) -> String {
        let name = self.create_volume(short, 8).await;
        let adoption: Adoption = serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "Adoption", "metadata": {"name": name},
            "spec": {"node": self.name, "volumeGroup": "vg0", "logicalVolume": "pvc-other"},
        }))
        .unwrap();
        let adoptions: Api<Adoption> = Api::all(self.client.clone());
        let created = adoptions.create(&PostParams::default(), &adoption).await;
        created.unwrap().name_any()
    }
}

#[tokio::test]
async fn agent_writes_objects_of_its_own_node_alone() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::new(100).await;
    let other = Fixture::new(100).await;
    let own = fixture.agents_client().await;
    let volume = fixture.create_both("own").await;
    let foreign = other.create_both("foreign").await;
    // Other accounts are not concerned.
    let by_admin = refusals(&fixture.client, &other.name, &foreign).await;
    assert_eq!(by_admin, [""; 0]);
    // The API server reads new policies within a second.
    wait::until("the policies are in force", wait::LIMIT, async || {
        let refused = refusals(&own, &other.name, &foreign).await;
        Ok((refused.len() == 4).then_some(()))
    })
    .await
    .unwrap();
    let refused = refusals(&own, &other.name, &foreign).await;
    for (refusal, kind) in
        refused
            .iter()
            .zip(["NodeStorage", "NodeStorage", "LogicalVolumes", "Adoptions"])
    {
        assert!(
            refusal.contains(&format!(
                "the agent on node {} may write only",
                fixture.name
            )) && refusal.contains(kind),
            "{refusal}"
        );
    }
    assert_eq!(refusals(&own, &fixture.name, &volume).await, [""; 0]);
    let status = fixture.status(&volume).await;
    assert!(status.uuid.is_some());

    // A token that is bound to no pod, as `kubectl create token` requests it.
    let unbound = fixture
        .server
        .client_of("flexlvm-system", "flexlvm-agent")
        .await
        .unwrap();
    let refused = refusals(&unbound, &fixture.name, &volume).await;
    assert_eq!(refused.len(), 4);
    for refusal in refused {
        assert!(refusal.contains("names no node"), "{refusal}");
    }
}

/// Returns true if the controller manager has checked the present version of a policy.
fn is_checked(policy: &ValidatingAdmissionPolicy) -> bool {
    let status = policy.status.clone().unwrap_or_default();
    status.observed_generation == policy.metadata.generation
}

#[tokio::test]
async fn policies_have_no_type_warnings() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let fixture = Fixture::new(100).await;
    let server = fixture.server;
    let mut command = Command::new(server.kubernetes().program("kube-controller-manager"));
    command
        .arg(format!("--kubeconfig={}", server.kubeconfig().display()))
        .arg("--controllers=validatingadmissionpolicy-status-controller")
        .args(["--leader-elect=false", "--secure-port=0"]);
    let _manager = server
        .workplace()
        .start("kube-controller-manager", &mut command)
        .unwrap();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(fixture.client.clone());
    let checked = wait::until("the policies are checked", wait::LIMIT, async || {
        let all = policies.list(&ListParams::default()).await?.items;
        Ok((all.len() == 3 && all.iter().all(is_checked)).then_some(all))
    });
    for policy in checked.await.unwrap() {
        let checking = policy.status.unwrap().type_checking.unwrap_or_default();
        assert_eq!(checking.expression_warnings.unwrap_or_default(), []);
    }
}
