//! The keys of volumes: derived from one Secret, published in PersistentVolumes only, and what
//! happens if the Secret is lost or malformed.

use crds::LogicalVolume;
use crds::logical_volume::State;
use host::{Key, MasterKey};
use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::discovery::{Discovery, verbs};
use kube::{Api, ResourceExt as _};
use operator::controller::master_key::{ENTRY, SECRET};
use serde_json::json;

use crate::fixture::{Controller, Fixture, from, volume_of};

/// Creates a fixture on a server of its own, with a node, a backend and a class.
async fn on_own_server() -> Fixture {
    let fixture = Fixture::on_own_server().await;
    fixture.node("n1", 1024).await;
    fixture.backend_without_controller("vg0").await;
    fixture.class_only(json!({})).await;
    fixture
}

fn secrets(fixture: &Fixture) -> Api<Secret> {
    Api::namespaced(fixture.client.clone(), "flexlvm-system")
}

/// Waits until a controller has created the Secret.
async fn wait_for_secret(fixture: &Fixture) -> Secret {
    let what = "the Secret is created";
    fixture
        .wait(&secrets(fixture), SECRET, what, |_| true)
        .await
}

/// Returns the key that a Secret yields for a LogicalVolume.
fn derive(secret: &Secret, lv: &LogicalVolume) -> Key {
    let bytes = &secret.data.as_ref().unwrap()[ENTRY].0;
    MasterKey::new(bytes).unwrap().derive(&lv.spec.claim.uid)
}

fn key_of(volume: &PersistentVolume) -> Key {
    let source = volume.spec.as_ref().unwrap().flex_volume.as_ref().unwrap();
    Key::new(&source.options.as_ref().unwrap()["key"]).unwrap()
}

/// Waits for the PersistentVolume of a new claim, and checks that its key is that of the
/// LogicalVolume.
async fn publish(fixture: &Fixture, name: &str) -> PersistentVolume {
    let lv = fixture.agent_creates(name).await;
    let volume = fixture.wait_for_persistent_volume(name).await;
    assert_eq!(key_of(&volume).digest().as_str(), lv.spec.key_digest);
    volume
}

/// Returns the accepted creations of the Secret.
fn creations(fixture: &Fixture) -> usize {
    let writes = fixture.server.writes(SECRET).unwrap();
    writes
        .iter()
        .filter(|write| write.verb == "create" && write.resource == "secrets")
        .count()
}

#[tokio::test]
async fn two_controllers_create_one_secret_and_derive_equal_keys() {
    let fixture = on_own_server().await;
    let controllers = [
        Controller::start(fixture.server, false).await,
        Controller::start(fixture.server, false).await,
    ];
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    let lv = fixture.wait_for_logical_volume(&name).await;
    let secret = wait_for_secret(&fixture).await;
    assert_eq!(secret.immutable, Some(true));
    assert_eq!(secret.labels()["app.kubernetes.io/name"], "flexlvm");
    assert!(secret.annotations()["kubernetes.io/description"].contains("Back it up"));
    assert_eq!(secret.metadata.owner_references, None);
    let key = derive(&secret, &lv);
    assert_eq!(key_of(&publish(&fixture, &name).await), key);
    fixture.quiet().await;
    drop(controllers);
    assert_eq!(creations(&fixture), 1);
    let requests = fixture.server.requests().unwrap();
    for request in requests.iter().filter(|it| it.resource == "secrets") {
        assert_eq!(request.name, SECRET);
        assert!(["get", "create"].contains(&&*request.verb), "{request:?}");
    }
}

#[tokio::test]
async fn next_controller_publishes_volume_with_the_same_key() {
    let fixture = on_own_server().await;
    let first = Controller::start(fixture.server, false).await;
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    fixture.wait_for_logical_volume(&name).await;
    drop(first);
    let second = Controller::start(fixture.server, false).await;
    let volume = publish(&fixture, &name).await;

    // A PersistentVolume that was lost is created again with the same key.
    drop(second);
    fixture
        .volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    fixture.remove_finalizers(&name).await;
    fixture.gone(&fixture.volumes(), &name).await;
    let _third = Controller::start(fixture.server, false).await;
    let again = fixture.wait_for_persistent_volume(&name).await;
    assert_ne!(again.uid(), volume.uid());
    assert_eq!(key_of(&again), key_of(&volume));
    assert_eq!(creations(&fixture), 1);
}

#[tokio::test]
async fn objects_that_an_agent_may_list_have_no_key() {
    let fixture = Fixture::with_immediate_class(&[("n1", 1024), ("n2", 512)]).await;
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    let key = key_of(&publish(&fixture, &name).await);
    let access = fixture.server.access();
    let agent = access.agent(&fixture.name("n2")).await.unwrap();
    let discovery = Discovery::new(agent.clone()).run().await.unwrap();
    let mut listed = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if !capabilities.supports_operation(verbs::LIST) {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(agent.clone(), &resource);
            match api.list(&ListParams::default()).await {
                Ok(all) => {
                    let text = serde_json::to_string(&all.items).unwrap();
                    assert!(!text.contains(key.secret()), "key in {}", resource.plural);
                    let is_logical_volume = resource.plural == "logicalvolumes";
                    assert!(!is_logical_volume || text.contains(key.digest().as_str()));
                    listed.push(resource.plural);
                }
                Err(kube::Error::Api(status)) if status.code == 403 => {}
                Err(error) => panic!("{}: {error}", resource.plural),
            }
        }
    }
    for kind in ["logicalvolumes", "nodes", "nodestorages", "pods"] {
        assert!(
            listed.iter().any(|it| it == kind),
            "{kind} not in {listed:?}"
        );
    }
    for kind in ["persistentvolumes", "secrets"] {
        assert!(!listed.iter().any(|it| it == kind), "{kind} in {listed:?}");
    }
    let secrets: Api<Secret> = Api::namespaced(agent, "flexlvm-system");
    let refused = secrets.get(SECRET).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
}

/// "The Secret of the volume keys is lost" of docs/operations.md.
#[tokio::test]
async fn lost_secret_is_reported_and_published_volumes_stay() {
    let fixture = on_own_server().await;
    let kubectl = |arguments: &[&str]| fixture.server.kubectl(arguments).unwrap();
    let first = Controller::start(fixture.server, false).await;
    let published = volume_of(&fixture.claim("published", "64Mi", None).await);
    let before = publish(&fixture, &published).await;
    let unpublished = volume_of(&fixture.claim("unpublished", "64Mi", None).await);
    fixture.wait_for_logical_volume(&unpublished).await;
    let empty = volume_of(&fixture.claim("empty", "64Mi", None).await);
    fixture.wait_for_logical_volume(&empty).await;
    let in_system = ["-n", "flexlvm-system"];
    let saved = kubectl(&[&in_system[..], &["get", "secret", SECRET, "-o", "yaml"]].concat());
    let backup = fixture.server.workplace().path("flexlvm-volume-keys.yaml");
    std::fs::write(&backup, saved).unwrap();
    drop(first);
    kubectl(&[&in_system[..], &["delete", "secret", SECRET]].concat());

    // New claims are served; volumes without PersistentVolume are reported.
    let second = Controller::start(fixture.server, false).await;
    let later = volume_of(&fixture.claim("later", "64Mi", None).await);
    let later = publish(&fixture, &later).await;
    for (claim, name) in [("unpublished", &unpublished), ("empty", &empty)] {
        fixture.agent_creates(name).await;
        let phrases = ["ProvisioningFailed", name, "another Secret", "restore"];
        fixture.wait_for_event_about(claim, &phrases).await;
        assert!(fixture.volumes().get_opt(name).await.unwrap().is_none());
    }

    // Without data, the claim is created again.
    fixture.delete_claim("empty").await;
    fixture
        .wait_for_state(&empty, State::AbsentIfNeverUsed)
        .await;
    fixture.agent_removes(&empty).await;
    fixture.gone(&fixture.logical_volumes(), &empty).await;
    let empty = volume_of(&fixture.claim("empty", "64Mi", None).await);
    publish(&fixture, &empty).await;

    // With a backup, the Secret is restored.
    drop(second);
    let backup = backup.to_str().unwrap();
    kubectl(&["replace", "--force", "-f", backup]);
    let _third = Controller::start(fixture.server, false).await;
    let restored = fixture.wait_for_persistent_volume(&unpublished).await;
    let lv = fixture.logical_volumes().get(&unpublished).await.unwrap();
    assert_eq!(key_of(&restored).digest().as_str(), lv.spec.key_digest);
    for volume in [before, later] {
        let now = fixture.volumes().get(&volume.name_any()).await.unwrap();
        assert_eq!(now, volume);
    }
}

#[tokio::test]
async fn malformed_secret_is_reported_and_replaced_once_deleted() {
    let fixture = on_own_server().await;
    let malformed = from(json!({"metadata": {"name": SECRET}, "stringData": {ENTRY: "short"}}));
    secrets(&fixture)
        .create(&PostParams::default(), &malformed)
        .await
        .unwrap();
    let _controller = Controller::start(fixture.server, false).await;
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    let phrases = [
        "ProvisioningFailed",
        "Secret flexlvm-system/flexlvm-volume-keys has 5 bytes in entry hmac",
        "restore it from the backup",
    ];
    fixture.wait_for_event_about("data", &phrases).await;
    assert!(fixture.own_logical_volumes().await.is_empty());
    secrets(&fixture)
        .delete(SECRET, &DeleteParams::default())
        .await
        .unwrap();
    publish(&fixture, &name).await;
}

#[tokio::test]
async fn unreadable_secret_is_reported_until_the_role_is_applied() {
    let fixture = on_own_server().await;
    let role = ["role", "flexlvm-controller", "-n", "flexlvm-system"];
    let delete = [&["delete"], &role[..]].concat();
    fixture.server.kubectl(&delete).unwrap();
    let _controller = Controller::start(fixture.server, false).await;
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    let phrases = [
        "ProvisioningFailed",
        "Secret flexlvm-system/flexlvm-volume-keys",
        "can't be read or created",
        "forbidden",
    ];
    fixture.wait_for_event_about("data", &phrases).await;
    assert!(fixture.own_logical_volumes().await.is_empty());
    fixture.server.install().unwrap();
    publish(&fixture, &name).await;
}
