//! The procedures of docs/operations.md that need no kubelet: the commands of the page itself, with
//! the real controller, the real agent's code over simulated LVM, and a server of their own.

use crds::NodeStorage;
use harness::agents::Agents;
use harness::apiserver::ApiServer;
use harness::site::Site;
use harness::wait::{self, LIMIT};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::ListParams;
use operator::agent::volumes::plan::Content;
use serde_json::json;

use crate::fixture::{Controller, Fixture, volume_of};
use crate::pages;

/// Returns the names of FlexLVM's definitions that are being deleted.
async fn definitions_being_deleted(fixture: &Fixture) -> Vec<String> {
    let api: Api<CustomResourceDefinition> = Api::all(fixture.client.clone());
    let mut names = Vec::new();
    for definition in api.list(&ListParams::default()).await.unwrap() {
        if definition.spec.group == crds::GROUP && definition.metadata.deletion_timestamp.is_some()
        {
            names.push(definition.spec.names.plural);
        }
    }
    names
}

/// The accident: deletes all definitions, and waits until those whose objects have finalizers wait
/// for these.
async fn delete_definitions(fixture: &Fixture) {
    let what = "the backend has its finalizer";
    fixture
        .wait(&fixture.backends(), &fixture.namespace, what, |backend| {
            let finalizers = backend.metadata.finalizers.as_ref();
            finalizers.is_some_and(|all| all.iter().any(|one| one == crds::BACKEND_FINALIZER))
        })
        .await;
    let definitions = fixture.server.definitions().unwrap();
    fixture
        .server
        .kubectl(&["delete", "--wait=false", "-k", &definitions])
        .unwrap();
    wait::until("the deletion waits for the objects", LIMIT, async || {
        let mut waiting = definitions_being_deleted(fixture).await;
        waiting.sort();
        Ok((waiting == ["logicalvolumes", "storagebackends"]).then_some(()))
    })
    .await
    .unwrap();
}

/// Runs the commands of the page.
fn follow_the_page(server: &ApiServer) {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("crds");
    std::os::unix::fs::symlink(format!("{}/crds", pages::REPOSITORY), link).unwrap();
    let blocks = pages::commands("docs/operations.md", "The definitions were deleted");
    assert_eq!(blocks.len(), 3, "{blocks:#?}");
    for block in &blocks {
        pages::run(server, folder.path(), block);
    }
}

#[tokio::test]
async fn deleted_definitions_are_recovered_by_the_page() {
    let fixture = Fixture::on_own_server().await;
    let server = fixture.server;
    let node = fixture.unreported_node("n1").await;
    let site = Site::new(&node, 100).unwrap();
    let lvm = site.node.clone();
    let _agents = Agents::start(server.access(), vec![site]).await.unwrap();
    fixture.backend_without_controller("vg0").await;
    fixture.class_only(json!({})).await;
    let controller = Controller::start(server, false).await;
    let before = volume_of(&fixture.claim("before", "64Mi", None).await);
    fixture.wait_for_persistent_volume(&before).await;
    fixture.bind("before", &before).await;
    lvm.change_volume(&before, |volume| {
        volume.content = Content::Data("ext4".to_owned());
    });
    let data = lvm.volume(&before).unwrap();

    delete_definitions(&fixture).await;
    let during = volume_of(&fixture.claim("during", "64Mi", None).await);
    fixture.quiet().await;
    assert!(lvm.volume(&during).is_none(), "no new objects are accepted");

    // The first command of the page stops the controller's pods, which don't run here.
    drop(controller);
    follow_the_page(server);
    let _controller = Controller::start(server, false).await;

    // The volume is reported again as it is, and claims are served.
    let reported = fixture
        .wait(
            &fixture.logical_volumes(),
            &before,
            "it is reported",
            |object| {
                let status = object.status.clone().unwrap_or_default();
                status.uuid.as_deref() == Some(&data.uuid)
            },
        )
        .await;
    assert_eq!(
        reported.metadata.finalizers,
        Some(vec![crds::FINALIZER.to_owned()])
    );
    fixture.wait_for_persistent_volume(&during).await;
    let now = lvm.volume(&before).unwrap();
    assert_eq!((now.uuid, now.content), (data.uuid, data.content));
    assert_eq!((lvm.count("lvcreate"), lvm.count("lvremove")), (2, 0));
    let storages: Api<NodeStorage> = Api::all(fixture.client.clone());
    fixture
        .wait(&storages, &node, "it has no orphans", |storage| {
            storage
                .status
                .as_ref()
                .is_some_and(|status| status.orphans.is_empty())
        })
        .await;

    // Nothing is left of the deletion: a released volume is removed.
    fixture.delete_claim("before").await;
    fixture.phase(&before, "Released").await;
    fixture.gone(&fixture.logical_volumes(), &before).await;
    assert!(lvm.volume(&before).is_none());
}
