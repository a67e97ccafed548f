//! How volumes leave FlexLVM, or their node: the commands of docs/how-to/leave.md and move-disks.md,
//! with the real controller and the real agent's code over simulated LVM, on servers of their own.

use std::time::Duration;

use crds::NodeStorage;
use harness::agents::Agents;
use harness::simulated::{SimulatedNode, Volume};
use harness::site::Site;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use operator::agent::volumes::plan::Content;
use serde_json::json;

use crate::fixture::{Controller, Fixture, volume_of};
use crate::pages;

/// Nodes with simulated LVM and their agents, and the claim `data`, whose volume has data.
struct Cluster {
    fixture: Fixture,
    nodes: Vec<(String, SimulatedNode)>,
    volume: String,
    folder: tempfile::TempDir,
    _agents: Agents,
    _controller: Controller,
}

impl Cluster {
    async fn start(nodes: &[&str]) -> Self {
        let fixture = Fixture::on_own_server().await;
        let (mut sites, mut simulated) = (Vec::new(), Vec::new());
        for name in nodes {
            let node = fixture.unreported_node(name).await;
            let site = Site::new(&node, 100).unwrap();
            simulated.push((node, site.node.clone()));
            sites.push(site);
        }
        let agents = Agents::start(fixture.server.access(), sites).await.unwrap();
        fixture.backend_without_controller("vg0").await;
        fixture.class_only(json!({})).await;
        let controller = Controller::start(fixture.server, false).await;
        let volume = volume_of(&fixture.claim("data", "64Mi", None).await);
        fixture.wait_for_persistent_volume(&volume).await;
        fixture.bind("data", &volume).await;
        // The node with the volume is the first one.
        simulated.sort_by_key(|(_, lvm)| lvm.volume(&volume).is_none());
        simulated[0].1.change_volume(&volume, |volume| {
            volume.content = Content::Data("ext4".to_owned());
        });
        Self {
            fixture,
            nodes: simulated,
            volume,
            folder: tempfile::tempdir().unwrap(),
            _agents: agents,
            _controller: controller,
        }
    }

    /// Returns commands or objects of a page with the names of this cluster.
    fn with_names(&self, text: &str) -> String {
        let uid = self.volume.trim_start_matches("pvc-");
        let mut text = text
            .replace("=UID", &format!("={uid}"))
            .replace("pvc-UID", &self.volume)
            .replace("CLAIM", "data")
            .replace("-n NAMESPACE", &format!("-n {}", self.fixture.namespace))
            .replace("-n default", &format!("-n {}", self.fixture.namespace))
            .replace(
                "namespace: default",
                &format!("namespace: {}", self.fixture.namespace),
            );
        for (number, (name, _)) in self.nodes.iter().enumerate() {
            text = text.replace(&format!("node{}", number + 1), name);
        }
        text
    }

    /// Runs commands of a page. Meanwhile, plays the controller manager.
    async fn run(&self, commands: &str) {
        let commands = self.with_names(commands);
        let folder = self.folder.path().to_owned();
        let server = self.fixture.server;
        let running = tokio::task::spawn_blocking(move || pages::run(server, &folder, &commands));
        tokio::select! {
            ended = running => ended.unwrap(),
            () = self.play_controller_manager() => unreachable!("it has no end"),
        }
    }

    /// Releases what is deleted: the finalizers that protect claims and PersistentVolumes in use,
    /// and the PersistentVolume of a claim that is gone.
    async fn play_controller_manager(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let claim = self.fixture.claims().get_opt("data").await.unwrap();
            if claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some()) {
                let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                let params = PatchParams::default();
                let _ = self.fixture.claims().patch("data", &params, &patch).await;
            }
            let volume = self.fixture.volumes().get_opt(&self.volume).await.unwrap();
            if let Some(volume) = volume {
                self.release(&volume).await;
            }
        }
    }

    async fn release(&self, volume: &PersistentVolume) {
        let claim = self.fixture.claims().get_opt("data").await.unwrap();
        let status = volume.status.clone().unwrap_or_default();
        if claim.is_none() && status.phase.as_deref() == Some("Bound") {
            self.fixture.phase(&self.volume, "Released").await;
        }
        if volume.metadata.deletion_timestamp.is_some() {
            // That of the provisioner is FlexLVM's to remove.
            let others: Vec<&String> = volume
                .finalizers()
                .iter()
                .filter(|finalizer| !finalizer.starts_with("kubernetes.io/"))
                .collect();
            let patch = Patch::Merge(json!({"metadata": {"finalizers": others}}));
            let params = PatchParams::default();
            let volumes = self.fixture.volumes();
            let _ = volumes.patch(&self.volume, &params, &patch).await;
        }
    }

    /// Waits until a node's report satisfies `is`.
    async fn wait_for_report(
        &self,
        node: &str,
        what: &str,
        is: impl Fn(&crds::NodeStorageStatus) -> bool,
    ) {
        let storages: Api<NodeStorage> = Api::all(self.fixture.client.clone());
        let is = |storage: &NodeStorage| storage.status.as_ref().is_some_and(&is);
        self.fixture.wait(&storages, node, what, is).await;
    }
}

/// Asserts that a volume is the former one, with its data.
fn assert_untouched(now: &Volume, before: &Volume) {
    assert_eq!((&now.uuid, &now.content), (&before.uuid, &before.content));
    assert_eq!(now.extents, before.extents);
}

#[tokio::test]
async fn volume_leaves_flexlvm_with_its_data_by_the_page() {
    let cluster = Cluster::start(&["n1"]).await;
    let (node, lvm) = &cluster.nodes[0];
    let before = lvm.volume(&cluster.volume).unwrap();
    let section = "Keep the logical volume";
    let commands = pages::commands("docs/how-to/leave.md", section);
    let [retain, delete, forget, on_node] = commands.as_slice() else {
        panic!("{commands:#?}");
    };
    for block in [retain, delete, forget] {
        cluster.run(block).await;
        assert_untouched(&lvm.volume(&cluster.volume).unwrap(), &before);
    }
    cluster.fixture.quiet().await;
    let object = cluster.fixture.logical_volumes().get(&cluster.volume).await;
    assert!(object.is_ok(), "its finalizer keeps it");

    // The two commands on the node.
    let on_node = cluster.with_names(on_node);
    let tag = before
        .tags
        .iter()
        .find(|tag| on_node.contains(&format!("--deltag {tag} ")))
        .expect("the page names the tag");
    assert!(on_node.contains("lvrename"), "{on_node}");
    lvm.change_volume(&cluster.volume, |volume| {
        volume.tags.retain(|other| other != tag);
        volume.name = "data".to_owned();
    });
    let objects = cluster.fixture.logical_volumes();
    cluster.fixture.gone(&objects, &cluster.volume).await;
    assert_untouched(&lvm.volume("data").unwrap(), &before);
    assert_eq!(lvm.count("lvremove"), 0);
    cluster
        .wait_for_report(node, "nothing deviates", |status| {
            let groups = status.volume_groups.iter();
            status.orphans.is_empty()
                && status.deviations.is_empty()
                && groups.into_iter().all(|group| group.name == "vg0")
        })
        .await;

    // The API server accepts the objects that take the volume's place.
    let yaml = pages::blocks("docs/how-to/leave.md", section, "yaml");
    let yaml = cluster.with_names(&yaml[0]);
    std::fs::write(cluster.folder.path().join("local.yaml"), yaml).unwrap();
    cluster.run("kubectl apply -f local.yaml").await;
}

#[tokio::test]
async fn volumes_move_to_another_node_with_their_disks_by_the_page() {
    let cluster = Cluster::start(&["n1", "n2"]).await;
    let [(_, old), (node, new)] = cluster.nodes.as_slice() else {
        unreachable!("two nodes were started");
    };
    let before = old.volume(&cluster.volume).unwrap();
    let section = "Move the disks of a node to another node";
    let commands = pages::commands("docs/how-to/move-disks.md", section);
    let [retain, delete, export, forget, import, adopt, claim] = commands.as_slice() else {
        panic!("{commands:#?}");
    };
    cluster.run(retain).await;
    cluster.run(delete).await;
    assert!(export.contains("vgexport"), "{export}");
    old.change(|state| state.groups.clear());
    cluster.run(forget).await;
    let objects = cluster.fixture.logical_volumes();
    cluster.fixture.gone(&objects, &cluster.volume).await;
    assert!(import.contains("vgmerge"), "{import}");
    new.change(|state| state.groups[0].volumes.push(before.clone()));
    cluster
        .wait_for_report(node, "the volume is an orphan", |status| {
            !status.orphans.is_empty()
        })
        .await;
    cluster.run(adopt).await;
    cluster.run(claim).await;

    // The volume is reserved for the claim, on the new node.
    let fixture = &cluster.fixture;
    let volume = fixture.wait_for_persistent_volume(&cluster.volume).await;
    let spec = volume.spec.unwrap();
    let reserved = spec.claim_ref.unwrap();
    assert_eq!(reserved.name.as_deref(), Some("data"));
    assert_eq!(reserved.namespace.as_ref(), Some(&fixture.namespace));
    let affinity = serde_json::to_string(&spec.node_affinity).unwrap();
    assert!(affinity.contains(&format!("host-{node}")), "{affinity}");
    let claim = fixture.claims().get("data").await.unwrap();
    assert_eq!(claim.spec.unwrap().volume_name, None);
    assert_untouched(&new.volume(&cluster.volume).unwrap(), &before);
    for (_, lvm) in &cluster.nodes {
        assert_eq!(lvm.count("lvremove"), 0);
    }
}
