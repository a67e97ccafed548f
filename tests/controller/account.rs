//! What the API server does not let the controller's account do.

use crds::LogicalVolume;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
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
