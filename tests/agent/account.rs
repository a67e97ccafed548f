//! What the API server does not let the agents' account do, on each version.

use crds::{LogicalVolume, StorageBackend};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::fixture::Fixture;

fn assert_forbidden<T: std::fmt::Debug>(answer: kube::Result<T>) {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        answer => panic!("not forbidden: {answer:?}"),
    }
}

#[tokio::test]
async fn agent_account_may_write_only_reports() {
    let fixture = Fixture::new(100).await;
    let name = fixture.create_volume("data", 8).await;
    let client = fixture.agents_client().await;
    let volumes: Api<LogicalVolume> = Api::all(client.clone());
    let object = volumes.get(&name).await.unwrap();
    let backends: Api<StorageBackend> = Api::all(client.clone());
    let nodes: Api<Node> = Api::all(client);

    let spec = Patch::Merge(json!({"spec": {"state": "Absent"}}));
    let finalizers = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let reserve = Patch::Merge(json!({"spec": {"reserve": "1Gi"}}));
    let numbers = Patch::Merge(json!({"status": {"volumes": 1}}));
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let patch = PatchParams::default();
    assert_forbidden(volumes.patch(&name, &patch, &spec).await);
    assert_forbidden(volumes.patch(&name, &patch, &finalizers).await);
    assert_forbidden(volumes.create(&PostParams::default(), &object).await);
    assert_forbidden(volumes.delete(&name, &DeleteParams::default()).await);
    assert_forbidden(backends.patch("b", &patch, &reserve).await);
    assert_forbidden(backends.patch_status("b", &patch, &numbers).await);
    assert_forbidden(nodes.patch(&fixture.name, &patch, &label).await);

    // The status subresource gives no access to the spec either.
    let sneak = Patch::Merge(
        json!({"spec": {"state": "Absent"}, "metadata": {"finalizers": null}, "status": {}}),
    );
    volumes
        .patch_status(&name, &PatchParams::default(), &sneak)
        .await
        .unwrap();
    let after = volumes.get(&name).await.unwrap();
    assert_eq!(
        (after.spec, after.metadata.finalizers),
        (object.spec, object.metadata.finalizers)
    );
}
