//! Tests of the harness: an API server that answers, enforces RBAC, and leaves nothing behind.

use harness::apiserver::ApiServer;
use harness::namespace;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};

#[tokio::test]
async fn service_account_has_only_its_own_rights() {
    let server = ApiServer::shared().await;
    let admin = server.client();
    let name = namespace::create(&admin, "rights").await.unwrap();
    let metadata = ObjectMeta {
        name: Some("unprivileged".into()),
        ..ObjectMeta::default()
    };
    let account = ServiceAccount {
        metadata,
        ..ServiceAccount::default()
    };
    Api::namespaced(admin.clone(), &name)
        .create(&PostParams::default(), &account)
        .await
        .unwrap();

    let theirs: Api<ConfigMap> = Api::namespaced(
        server.client_of(&name, "unprivileged").await.unwrap(),
        &name,
    );
    let ours: Api<ConfigMap> = Api::namespaced(admin, &name);

    let refused = theirs.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_forbidden()));
    assert!(ours.list(&ListParams::default()).await.is_ok());
}

#[tokio::test]
async fn dropped_server_leaves_nothing_behind() {
    let server = ApiServer::start().await.unwrap();
    let folder = server.workplace().folder().to_owned();
    assert!(
        server
            .kubectl(&["get", "namespaces", "-o", "name"])
            .unwrap()
            .contains("namespace/default")
    );
    drop(server);
    assert!(!folder.exists());
}
