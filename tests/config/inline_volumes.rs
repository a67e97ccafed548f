//! The policy of `config/v1.30-attach` about the names of pods' own volumes.

use harness::apiserver::ApiServer;
use harness::{namespace, wait};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

/// The name of a claim's PersistentVolume.
const VOLUME: &str = "pvc-0a1b2c3d-0000-4000-8000-000000000000";

/// Returns a pod with one volume, without creating it.
fn pod(volume: Value) -> Pod {
    let spec = json!({"containers": [{"name": "c", "image": "c"}], "volumes": [volume]});
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
}

fn inline(name: &str, driver: &str) -> Pod {
    let options = json!({"volumegroup": "vg0", "volumeID": "data"});
    pod(json!({"name": name, "flexVolume": {"driver": driver, "options": options}}))
}

#[tokio::test]
async fn pods_own_volume_can_not_have_the_name_of_a_persistent_volume() {
    let shared = ApiServer::shared().await;
    if !shared.is_since(30) {
        return;
    }
    let server = ApiServer::start().await.unwrap();
    server
        .kubectl(&["apply", "-k", &server.attach_configuration().unwrap()])
        .unwrap();
    let client = server.client();
    let namespace = namespace::create(&client, "t").await.unwrap();
    let account: ServiceAccount =
        serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    Api::namespaced(client.clone(), &namespace)
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let refused = wait::until("the policy is in force", wait::LIMIT, async || {
        let named_like_a_claims = inline(VOLUME, "flexlvm.dev/lvm");
        Ok(pods.create(&dry_run, &named_like_a_claims).await.err())
    });
    let refusal = refused.await.unwrap().to_string();
    assert!(
        refusal.contains("must not have a name that begins with pvc-"),
        "{refusal}"
    );
    let claim = json!({"name": VOLUME, "persistentVolumeClaim": {"claimName": "data"}});
    for allowed in [
        inline("data", "flexlvm.dev/lvm"),
        inline(VOLUME, "other.dev/lvm"),
        pod(claim),
        pod(json!({"name": VOLUME, "emptyDir": {}})),
    ] {
        pods.create(&dry_run, &allowed).await.unwrap();
    }
}
