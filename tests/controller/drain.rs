//! Pods of StatefulSets that are evicted from a cordoned node, with claims that may be released.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::fixture::{Fixture, from};

impl Fixture {
    async fn cordon(&self, node: &str) {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
        self.nodes()
            .patch(&self.name(node), &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Creates a pod of a StatefulSet that uses a claim, on a node or waiting for one.
    async fn stateful_pod(&self, claim: &str, node: Value) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let account = json!({"metadata": {"name": "default"}});
        let _ = accounts
            .create(&PostParams::default(), &from(account))
            .await;
        let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1",
            "controller": true});
        let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}});
        let pod = json!({"metadata": {"name": claim, "ownerReferences": [owner]},
            "spec": {"nodeName": node, "automountServiceAccountToken": false, "volumes": [volume],
                "containers": [{"name": "app", "image": "none"}]}});
        self.pods()
            .create(&PostParams::default(), &from(pod))
            .await
            .unwrap();
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Plays the eviction and the StatefulSet: the pod is deleted, and waits for a node.
    async fn evict(&self, claim: &str) {
        let at_once = DeleteParams::default().grace_period(0);
        self.pods().delete(claim, &at_once).await.unwrap();
        self.stateful_pod(claim, json!(null)).await;
    }

    async fn is_claim_deleted(&self, claim: &str) -> bool {
        let claim = self.claims().get(claim).await.unwrap();
        claim.metadata.deletion_timestamp.is_some()
    }
}

#[tokio::test]
async fn claim_of_an_evicted_pod_is_released_if_its_annotation_allows_that() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    let node = json!(fixture.name("n1"));
    for claim in ["drained", "drained-later", "drained-never"] {
        fixture.bound(claim, "64Mi", "n1").await;
        fixture.stateful_pod(claim, node.clone()).await;
    }
    let allows = Patch::Merge(
        json!({"metadata": {"annotations": {"flexlvm.dev/release-on-drain": "true"}}}),
    );
    for claim in ["drained", "drained-later"] {
        let parameters = PatchParams::default();
        fixture
            .claims()
            .patch(claim, &parameters, &allows)
            .await
            .unwrap();
    }
    // A pod that waits on a node that is not cordoned is no evicted one.
    fixture.evict("drained").await;
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    assert!(!fixture.is_claim_deleted("drained").await);
    fixture.cordon("n1").await;
    fixture
        .wait_for_event_about("drained", &["ClaimReleased: node ", "is cordoned"])
        .await;
    assert!(fixture.is_claim_deleted("drained").await);
    // The others are not evicted yet, or have no annotation.
    assert!(!fixture.is_claim_deleted("drained-later").await);
    fixture.evict("drained-never").await;
    fixture.evict("drained-later").await;
    fixture
        .wait_for_event_about("drained-later", &["ClaimReleased: "])
        .await;
    assert!(!fixture.is_claim_deleted("drained-never").await);
}
