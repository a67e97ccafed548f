//! Adoptions, with the real controller and the real agent's code over simulated LVM, on servers of
//! their own: volumes whose objects were lost, and volumes of admins.

use std::path::Path;

use crds::condition::{self, ADOPTED};
use crds::{Adoption, NodeStorage};
use harness::agents::Agents;
use harness::simulated::{SimulatedNode, Volume};
use harness::site::Site;
use host::Key;
use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use operator::agent::volumes::plan::Content;
use operator::controller::master_key::SECRET;
use serde_json::{Value, json};

use crate::fixture::{Controller, Fixture, volume_of};

/// A node with simulated LVM and its agent, a backend and a class.
pub(crate) struct Cluster {
    pub(crate) fixture: Fixture,
    pub(crate) node: String,
    lvm: SimulatedNode,
    _agents: Agents,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let fixture = Fixture::on_own_server().await;
        let node = fixture.unreported_node("n1").await;
        let site = Site::new(&node, 100).unwrap();
        let lvm = site.node.clone();
        let agents = Agents::start(fixture.server.access(), vec![site]).await;
        fixture.backend_without_controller("vg0").await;
        fixture.class_only(json!({})).await;
        Self {
            fixture,
            node,
            lvm,
            _agents: agents.unwrap(),
        }
    }

    pub(crate) fn adoptions(&self) -> Api<Adoption> {
        Api::all(self.fixture.client.clone())
    }

    /// Creates an Adoption as an admin does.
    fn apply(&self, name: &str, spec: &Value) {
        let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "Adoption",
            "metadata": {"name": name}, "spec": spec});
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("adoption.json");
        std::fs::write(&file, object.to_string()).unwrap();
        let server = self.fixture.server;
        server.kubectl(&["apply", "-f", text(&file)]).unwrap();
    }

    /// Waits until an Adoption has this status and reason.
    async fn wait_for_adoption(&self, name: &str, status: &str, reason: &str) -> Adoption {
        let what = format!("{name} is {status} ({reason})");
        let is = |adoption: &Adoption| {
            let conditions = adoption.status.clone().unwrap_or_default().conditions;
            let adopted = condition::get(&conditions, ADOPTED);
            adopted.is_some_and(|it| it.status == status && it.reason == reason)
        };
        self.fixture.wait(&self.adoptions(), name, &what, is).await
    }

    /// Waits until the node's report satisfies `is`.
    pub(crate) async fn wait_for_report(
        &self,
        what: &str,
        is: impl Fn(&crds::NodeStorageStatus) -> bool,
    ) {
        let storages: Api<NodeStorage> = Api::all(self.fixture.client.clone());
        let is = |storage: &NodeStorage| storage.status.as_ref().is_some_and(&is);
        self.fixture.wait(&storages, &self.node, what, is).await;
    }

    /// Deletes claim, PersistentVolume, LogicalVolume and Secret, as a loss of etcd does. No
    /// controller runs.
    pub(crate) async fn lose_objects(&self, claim: &str, volume: &str) {
        let fixture = &self.fixture;
        fixture.delete_claim(claim).await;
        let delete = DeleteParams::default();
        self.delete_volume(volume).await;
        fixture.gone(&fixture.volumes(), volume).await;
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let volumes = fixture.logical_volumes();
        let params = PatchParams::default();
        volumes.patch(volume, &params, &patch).await.unwrap();
        volumes.delete(volume, &delete).await.unwrap();
        let secrets: Api<Secret> = Api::namespaced(fixture.client.clone(), "flexlvm-system");
        secrets.delete(SECRET, &delete).await.unwrap();
    }

    /// Plays the PersistentVolume controller: binds a claim to the volume that is reserved for its
    /// name.
    async fn bind(&self, claim: &str, volume: &str) {
        let uid = self.fixture.claims().get(claim).await.unwrap().metadata.uid;
        let patch = Patch::Merge(json!({"spec": {"claimRef": {"uid": uid}}}));
        let volumes = self.fixture.volumes();
        let params = PatchParams::default();
        volumes.patch(volume, &params, &patch).await.unwrap();
        self.fixture.bind(claim, volume).await;
    }
}

/// LVM's uuid of the volume of an admin.
const PHOTOS: &str = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";

impl Cluster {
    /// Creates a static volume that is in use; the next `lvchange` succeeds and is reported as
    /// failed.
    pub(crate) fn create_photos(&self) {
        self.lvm.change(|state| {
            state.groups[0].volumes.push(Volume {
                name: "pvc-photos".to_owned(),
                uuid: PHOTOS.to_owned(),
                extents: 16,
                tags: vec!["theirs".to_owned(), "flexlvm.dev/static".to_owned()],
                open: true,
                content: Content::Data("ext4".to_owned()),
                lagging: None,
                suspended: false,
            });
        });
        let mut failures = 1;
        self.lvm.hook(move |verb, is_after| {
            if verb == "lvchange" && is_after && failures > 0 {
                failures -= 1;
                return Err(host::Error::failed("the connection to lvm was lost"));
            }
            Ok(())
        });
    }

    /// Deletes a PersistentVolume, as an admin and the controller manager do.
    async fn delete_volume(&self, name: &str) {
        let volumes = self.fixture.volumes();
        let delete = DeleteParams::default();
        volumes.delete(name, &delete).await.unwrap();
        self.fixture.remove_finalizers(name).await;
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn options(volume: &PersistentVolume) -> &std::collections::BTreeMap<String, String> {
    let source = volume.spec.as_ref().unwrap().flex_volume.as_ref().unwrap();
    source.options.as_ref().unwrap()
}

fn has_data(volume: &mut Volume) {
    volume.content = Content::Data("ext4".to_owned());
}

#[tokio::test]
async fn volume_is_adopted_after_the_loss_of_all_objects() {
    let cluster = Cluster::start().await;
    let fixture = &cluster.fixture;
    let controller = Controller::start(fixture.server, false).await;
    let name = volume_of(&fixture.claim("data", "64Mi", None).await);
    let former = fixture.wait_for_persistent_volume(&name).await;
    cluster.lvm.change_volume(&name, has_data);
    let before = cluster.lvm.volume(&name).unwrap();
    drop(controller);
    cluster.lose_objects("data", &name).await;

    // The claim comes back before its data: it gets no empty volume.
    let spec = json!({"node": cluster.node, "volumeGroup": "vg0", "logicalVolume": name});
    cluster.apply("rescue", &spec);
    fixture.claim("data", "64Mi", None).await;
    let _controller = Controller::start(fixture.server, false).await;
    cluster.wait_for_adoption("rescue", "True", "Adopted").await;
    let phrase = format!("waiting for volume {name}, which Adoption rescue");
    fixture
        .wait_for_event(&["ProvisioningFailed", &phrase])
        .await;
    assert_eq!(fixture.own_logical_volumes().await.len(), 1);

    // The data is untouched, and the tags are those of the new objects: their key is another one.
    let now = cluster.lvm.volume(&name).unwrap();
    assert_eq!((&now.uuid, &now.content), (&before.uuid, &before.content));
    let volume = fixture.wait_for_persistent_volume(&name).await;
    let key = Key::new(&options(&volume)["key"]).unwrap();
    assert_ne!(options(&volume)["key"], options(&former)["key"]);
    let object = fixture.logical_volumes().get(&name).await.unwrap();
    let uid = object.metadata.uid.clone().unwrap();
    assert!(now.tags.contains(&key.digest().tag()), "{:?}", now.tags);
    assert!(
        now.tags
            .contains(&format!("flexlvm.dev/logicalvolume-uid={uid}"))
    );
    assert_eq!(now.tags.len(), before.tags.len(), "{:?}", now.tags);
    let claim = volume.spec.clone().unwrap().claim_ref.unwrap();
    assert_eq!((claim.name.as_deref(), claim.uid), (Some("data"), None));
    assert_eq!(options(&volume)["size"], options(&former)["size"]);
    cluster
        .wait_for_report("nothing deviates", |status| {
            status.orphans.is_empty() && status.deviations.is_empty()
        })
        .await;

    // It is like every other volume, and is retained by default.
    cluster.bind("data", &name).await;
    fixture.delete_claim("data").await;
    fixture.phase(&name, "Released").await;
    cluster
        .wait_for_report("the retained volume is reported", |status| {
            status.audit.is_some_and(|audit| audit.retained == 1)
                && status.deviations.iter().any(|one| one.name == name)
        })
        .await;
    assert_eq!(cluster.lvm.count("lvcreate"), 1);
    assert_eq!(cluster.lvm.count("mark"), 1);
    assert_eq!(cluster.lvm.count("lvremove"), 0);
}

/// Of two Adoptions of one logical volume, one wins; and a controller that ends, and a command that
/// is reported as failed, change nothing.
#[tokio::test]
async fn volume_of_an_admin_is_adopted_once_despite_crashes() {
    let cluster = Cluster::start().await;
    let fixture = &cluster.fixture;
    cluster.create_photos();
    let mut spec = json!({"node": cluster.node, "volumeGroup": "vg0", "logicalVolume": "pvc-photos",
        "claim": {"namespace": fixture.namespace, "name": "photos"}, "storageClass": fixture.namespace,
        "filesystem": {"type": "ext4"}, "reclaimPolicy": "Delete"});
    cluster.apply("first", &spec);
    let controller = Controller::start(fixture.server, false).await;
    let waiting = cluster
        .wait_for_adoption("first", "False", "InvalidSpec")
        .await;
    let message = &waiting.status.unwrap().conditions[0].message;
    assert!(
        message.starts_with("spec.backend: must be set"),
        "{message}"
    );
    spec["backend"] = json!(fixture.namespace);
    cluster.apply("first", &spec);
    cluster.apply("second", &spec);
    fixture.wait_for_logical_volume("pvc-photos").await;
    drop(controller);
    let _controller = Controller::start(fixture.server, false).await;

    let object = fixture.wait_for_logical_volume("pvc-photos").await;
    let winner = object.spec.adopted.unwrap().adoption;
    let loser = if winner == "first" { "second" } else { "first" };
    cluster.wait_for_adoption(&winner, "True", "Adopted").await;
    cluster.wait_for_adoption(loser, "False", "Conflict").await;
    let volume = fixture.wait_for_persistent_volume("pvc-photos").await;
    assert_eq!(options(&volume)["uuid"], PHOTOS);
    let now = cluster.lvm.volume("pvc-photos").unwrap();
    assert_eq!(now.uuid, PHOTOS);
    assert_eq!(now.content, Content::Data("ext4".to_owned()));
    let has = |tag: &str| now.tags.iter().any(|own| own == tag);
    assert!(
        has("theirs") && !has("flexlvm.dev/static"),
        "{:?}",
        now.tags
    );

    // Without a claim it stays, although its policy is Delete.
    cluster.delete_volume("pvc-photos").await;
    fixture.quiet().await;
    let object = fixture.logical_volumes().get("pvc-photos").await.unwrap();
    assert_eq!(object.spec.state, crds::logical_volume::State::Present);
    assert_eq!(cluster.lvm.count("look"), 0);
    assert_eq!(cluster.lvm.count("lvremove"), 0);
}

/// The claim must not get an empty volume because a disk is away, or because the admin edits the
/// Adoption and the agent has yet to report on that.
#[tokio::test]
async fn claim_gets_no_other_volume_while_the_agent_finds_the_one_to_adopt_no_more() {
    let cluster = Cluster::start().await;
    let fixture = &cluster.fixture;
    let controller = Controller::start(fixture.server, false).await;
    let name = volume_of(&fixture.claim("heirloom", "64Mi", None).await);
    fixture.wait_for_persistent_volume(&name).await;
    cluster.lvm.change_volume(&name, has_data);
    drop(controller);
    cluster.lose_objects("heirloom", &name).await;

    let mut spec = json!({"node": cluster.node, "volumeGroup": "vg0", "logicalVolume": name,
        "backend": "misspelled"});
    cluster.apply("heirloom", &spec);
    let _controller = Controller::start(fixture.server, false).await;
    cluster
        .wait_for_adoption("heirloom", "False", "InvalidSpec")
        .await;
    fixture.claim("heirloom", "64Mi", None).await;
    let phrase = format!("waiting for volume {name}, which Adoption heirloom");
    fixture
        .wait_for_event(&["ProvisioningFailed", &phrase])
        .await;

    let rename = |from: &str, to: &str| {
        let to = to.to_owned();
        cluster.lvm.change_volume(from, |volume| volume.name = to);
    };
    rename(&name, "pvc-away");
    cluster
        .wait_for_adoption("heirloom", "False", "LogicalVolumeNotFound")
        .await;
    spec["backend"] = json!(fixture.namespace);
    cluster.apply("heirloom", &spec);
    fixture.quiet().await;
    assert_eq!(fixture.own_logical_volumes().await.len(), 0);

    rename("pvc-away", &name);
    cluster
        .wait_for_adoption("heirloom", "True", "Adopted")
        .await;
    assert_eq!(fixture.own_logical_volumes().await.len(), 1);
    assert_eq!(cluster.lvm.count("lvcreate"), 1);
}

#[tokio::test]
async fn adoption_reports_what_the_api_server_rejects() {
    let cluster = Cluster::start().await;
    let fixture = &cluster.fixture;
    cluster.create_photos();
    let mut spec = json!({"node": cluster.node, "volumeGroup": "vg0", "logicalVolume": "pvc-photos",
        "claim": {"namespace": fixture.namespace, "name": "photos"}, "storageClass": "No Class",
        "backend": fixture.namespace, "filesystem": {"type": "ext4"}});
    cluster.apply("album", &spec);
    let _controller = Controller::start(fixture.server, false).await;
    let waiting = cluster
        .wait_for_adoption("album", "False", "InvalidSpec")
        .await;
    let message = &waiting.status.unwrap().conditions[0].message;
    assert!(
        message.contains("create PersistentVolume pvc-photos"),
        "{message}"
    );

    // As the message advises.
    spec["storageClass"] = json!(fixture.namespace);
    cluster.apply("album", &spec);
    let delete = DeleteParams::default();
    fixture
        .logical_volumes()
        .delete("pvc-photos", &delete)
        .await
        .unwrap();
    cluster.wait_for_adoption("album", "True", "Adopted").await;
    let volume = fixture.wait_for_persistent_volume("pvc-photos").await;
    let class = volume.spec.unwrap().storage_class_name;
    assert_eq!(class, Some(fixture.namespace.clone()));
    assert_eq!(cluster.lvm.count("lvremove"), 0);
}

/// An admin deleted it, or upgraded without applying the definitions.
#[tokio::test]
async fn claims_are_served_without_the_definition_of_adoption() {
    let cluster = Cluster::start().await;
    let fixture = &cluster.fixture;
    let server = fixture.server;
    let _ = server
        .kubectl(&["delete", "crd", "adoptions.flexlvm.dev"])
        .unwrap();
    let _controller = Controller::start(server, false).await;
    let name = volume_of(&fixture.claim("undefined", "64Mi", None).await);
    fixture.wait_for_persistent_volume(&name).await;
}
