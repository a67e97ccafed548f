//! What the API server does not let the controller's account do.

use crds::LogicalVolume;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use operator::controller::master_key::SECRET;
use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test]
async fn controller_account_may_not_write_agent_status() {
    let fixture = Fixture::new().await;
    let client = fixture
        .server
        .client_of("flexlvm-system", "flexlvm-controller")
        .await
        .unwrap();
    let lvs: Api<LogicalVolume> = Api::all(client.clone());
    let refused = lvs
        .patch_status(
            "pvc-x",
            &PatchParams::default(),
            &Patch::Merge(json!({"status": {}})),
        )
        .await
        .unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    let nodes: Api<Node> = Api::all(client);
    let refused = nodes
        .delete("n", &DeleteParams::default())
        .await
        .unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
}

#[tokio::test]
async fn controller_account_may_read_no_other_secret_and_change_none() {
    let fixture = Fixture::new().await;
    let client = fixture
        .server
        .client_of("flexlvm-system", "flexlvm-controller")
        .await
        .unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "flexlvm-system");
    let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let params = PatchParams::default();
    for refused in [
        secrets.get("other").await.map(drop),
        secrets.list(&ListParams::default()).await.map(drop),
        secrets.patch(SECRET, &params, &patch).await.map(drop),
        secrets
            .delete(SECRET, &DeleteParams::default())
            .await
            .map(drop),
        Api::<Secret>::namespaced(client, &fixture.namespace)
            .get("other")
            .await
            .map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    }
}
