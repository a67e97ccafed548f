//! Growth with Kubernetes' own controller manager, which binds claims and raises the capacity of
//! PersistentVolumes; the test plays kubelet and agent.

use std::process::Command;

use harness::apiserver::ApiServer;
use harness::workplace::Program;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::stage::{Controller, Stage, volume_of};

/// The first version that lets a user lower the request of a growth that failed.
const RECOVERS_SINCE: u32 = 34;

struct Grown {
    stage: Stage,
    name: String,
    _controller: Controller,
    manager: Program,
}

/// A server of its own, with the controller manager's two controllers of volumes and claims.
fn controller_manager(server: &ApiServer) -> Program {
    let is_old = server.kubernetes().minor_version().unwrap() < 24;
    let mut command = Command::new(server.kubernetes().program("kube-controller-manager"));
    command
        .arg(format!("--kubeconfig={}", server.kubeconfig().display()))
        .arg("--controllers=persistentvolume-binder,persistentvolume-expander")
        .args(["--leader-elect=false", "--secure-port=0"])
        .args(is_old.then_some("--port=0"));
    server
        .workplace()
        .start("kube-controller-manager", &mut command)
        .unwrap()
}

fn has_capacity(size: &str) -> impl Fn(&PersistentVolume) -> bool {
    move |volume| {
        let capacity = volume.spec.as_ref().unwrap().capacity.as_ref().unwrap();
        capacity["storage"].0 == size
    }
}

fn is_pending_on_node(claim: &PersistentVolumeClaim) -> bool {
    let conditions = claim.status.as_ref().unwrap().conditions.iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "FileSystemResizePending")
}

impl Grown {
    /// A bound claim of 64 MiB on a node with 128 MiB, whose request was raised to 1 GiB: the
    /// controller manager raised the capacity, and our controller lowered it again.
    async fn without_room() -> Self {
        let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await.unwrap()));
        server.install().unwrap();
        let stage = Stage::on(server).await;
        stage.node("n1", 128).await;
        stage.unjudged_backend("vg0").await;
        stage
            .class_alone(
                json!({"volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true}),
            )
            .await;
        let grown = Self {
            name: volume_of(&stage.claim("data", "64Mi", Some("n1")).await),
            stage,
            _controller: Controller::start(server, true).await,
            manager: controller_manager(server),
        };
        grown.stage.agent_makes(&grown.name).await;
        grown
            .claim("it is bound", |claim| {
                let status = claim.status.as_ref();
                status.and_then(|status| status.phase.as_deref()) == Some("Bound")
            })
            .await;
        grown.request("1Gi").await;
        grown
            .claim(
                "the controller manager has done its part",
                is_pending_on_node,
            )
            .await;
        grown
            .stage
            .told(&["VolumeResizeFailed", "can't grow to 1 GiB", "64 MiB free"])
            .await;
        grown.volume("64Mi").await;
        grown
    }

    async fn request(&self, size: &str) {
        let patch = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
        self.stage
            .claims()
            .patch("data", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// The kubelet's part.
    async fn claim_status(&self, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.stage
            .claims()
            .patch_status("data", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn claim(
        &self,
        what: &str,
        is: impl Fn(&PersistentVolumeClaim) -> bool,
    ) -> PersistentVolumeClaim {
        self.stage
            .wait(&self.stage.claims(), "data", what, is)
            .await
    }

    /// Waits until the PersistentVolume has this capacity.
    async fn volume(&self, size: &str) {
        let what = format!("its capacity is {size}");
        self.stage
            .wait(&self.stage.volumes(), &self.name, &what, has_capacity(size))
            .await;
    }

    /// Waits until the LogicalVolume has this size, and reports it as the agent does.
    async fn agent_extends_to(&self, size: &str) {
        self.stage
            .wait(
                &self.stage.logical_volumes(),
                &self.name,
                "it grows",
                |lv| lv.spec.size.0 == size,
            )
            .await;
        self.stage
            .agent_says(&self.name, json!({"size": size}))
            .await;
    }

    /// The kubelet has grown the file system; nothing of ours or the controller manager's changes
    /// the sizes after that.
    async fn finish(&self, size: &str) {
        self.claim_status(json!({"capacity": {"storage": size}, "conditions": null,
            "allocatedResourceStatuses": null}))
            .await;
        self.stage.quiet().await;
        self.stage.quiet().await;
        self.volume(size).await;
        let status = self
            .stage
            .claims()
            .get("data")
            .await
            .unwrap()
            .status
            .unwrap();
        assert_eq!(
            status.allocated_resource_statuses.unwrap_or_default().len(),
            0
        );
    }
}

#[tokio::test]
async fn a_capacity_without_room_is_lowered_until_there_is_room() {
    let grown = Grown::without_room().await;
    let stage = &grown.stage;
    stage.quiet().await;
    stage.quiet().await;
    grown.volume("64Mi").await;
    let group = json!([{"name": "vg0", "uuid": "u", "size": "2Gi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0"}]);
    stage.report(&stage.name("n1"), group).await;
    grown.agent_extends_to("1Gi").await;
    grown.volume("1Gi").await;
    grown.finish("1Gi").await;
}

#[tokio::test]
async fn a_restarted_controller_manager_raises_the_capacity_in_vain() {
    let mut grown = Grown::without_room().await;
    grown.manager.kill();
    let before = grown.stage.volumes().get(&grown.name).await.unwrap();
    grown.manager = controller_manager(grown.stage.server);
    grown
        .stage
        .wait(
            &grown.stage.volumes(),
            &grown.name,
            "its capacity was raised and lowered",
            |volume| {
                volume.metadata.resource_version != before.metadata.resource_version
                    && has_capacity("64Mi")(volume)
            },
        )
        .await;
}

#[tokio::test]
async fn a_lowered_request_recovers_a_growth_without_room() {
    if !ApiServer::shared().await.is_since(RECOVERS_SINCE) {
        return;
    }
    // What a kubelet leaves that has tried the growth before the request is lowered, or after, or
    // not at all.
    for state in [
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ] {
        let grown = Grown::without_room().await;
        let allocated = grown.stage.claims().get("data").await.unwrap();
        let allocated = allocated.status.unwrap().allocated_resources.unwrap();
        assert_eq!(allocated["storage"].0, "1Gi");
        grown
            .claim_status(json!({"allocatedResourceStatuses": {"storage": state}}))
            .await;
        grown.request("100Mi").await;
        grown.agent_extends_to("100Mi").await;
        grown.volume("100Mi").await;
        let status = grown
            .stage
            .claims()
            .get("data")
            .await
            .unwrap()
            .status
            .unwrap();
        let allocated = status.allocated_resources.unwrap();
        let statuses = status.allocated_resource_statuses.unwrap();
        assert_eq!(
            (
                allocated["storage"].0.as_str(),
                statuses["storage"].as_str()
            ),
            ("100Mi", "NodeResizePending"),
            "{state}"
        );
        grown.finish("100Mi").await;
        grown.request("120Mi").await;
        grown.agent_extends_to("120Mi").await;
        grown.volume("120Mi").await;
    }
}
