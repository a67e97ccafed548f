//! Growth: reserved if there is space, else rejected; and with Kubernetes' own controller manager,
//! which binds claims and raises the capacity of PersistentVolumes.
//!
//! The test plays the kubelet and the agent.

use std::process::Command;

use harness::apiserver::ApiServer;
use harness::workplace::Program;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::{Value, json};

use crate::fixture::{Controller, Fixture, volume_of};

/// The first minor version that lets a user lower the request of a failed growth.
const RECOVERS_SINCE: u32 = 34;

/// Starts the controller manager with only its controllers for volumes and claims.
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

#[tokio::test]
async fn growth_is_reserved_with_space_and_rejected_with_numbers_without() {
    let fixture = Fixture::new().await;
    fixture.node("n1", 128).await;
    fixture
        .class(json!({"volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true}))
        .await;
    let name = fixture.bound("data", "64Mi", "n1").await;
    // The API server accepts growth only of bound claims.
    let bound = json!({"phase": "Bound"});
    fixture.patch_claim_status("data", bound).await;
    fixture.request_size("data", "100Mi").await;
    fixture.wait_for_size(&name, "100Mi").await;
    fixture.request_size("data", "1Gi").await;
    fixture
        .wait_for_event(&[
            "VolumeResizeFailed",
            "can't grow to 1 GiB",
            "28 MiB free of 128 MiB",
        ])
        .await;
    fixture.report_size("n1", "2Gi").await;
    fixture.wait_for_size(&name, "1Gi").await;
}

/// A claim without space for its growth, on a server of its own.
struct Grown {
    fixture: Fixture,
    name: String,
    _controller: Controller,
    manager: Program,
}

impl Grown {
    /// Creates a bound claim of 64 MiB on a node with 128 MiB and raises its request to 1 GiB.
    ///
    /// On return the controller manager has raised the capacity, and FlexLVM's controller has
    /// lowered it again.
    async fn without_space() -> Self {
        let fixture = Fixture::on_own_server().await;
        let server = fixture.server;
        fixture.node("n1", 128).await;
        fixture.backend_without_controller("vg0").await;
        fixture
            .class_only(
                json!({"volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true}),
            )
            .await;
        let grown = Self {
            name: volume_of(&fixture.claim("data", "64Mi", Some("n1")).await),
            fixture,
            _controller: Controller::start(server, true).await,
            manager: controller_manager(server),
        };
        grown.fixture.agent_creates(&grown.name).await;
        grown
            .claim("the claim is bound", |claim| {
                let status = claim.status.as_ref();
                status.and_then(|status| status.phase.as_deref()) == Some("Bound")
            })
            .await;
        grown.request("1Gi").await;
        grown
            .claim(
                "the controller manager has raised the capacity",
                is_pending_on_node,
            )
            .await;
        grown
            .fixture
            .wait_for_event(&["VolumeResizeFailed", "can't grow to 1 GiB", "64 MiB free"])
            .await;
        grown.volume("64Mi").await;
        grown
    }

    async fn request(&self, size: &str) {
        self.fixture.request_size("data", size).await;
    }

    /// Patches the claim's status, as the kubelet does.
    async fn claim_status(&self, status: Value) {
        self.fixture.patch_claim_status("data", status).await;
    }

    async fn claim(
        &self,
        what: &str,
        is: impl Fn(&PersistentVolumeClaim) -> bool,
    ) -> PersistentVolumeClaim {
        self.fixture
            .wait(&self.fixture.claims(), "data", what, is)
            .await
    }

    /// Waits until the PersistentVolume has this capacity.
    async fn volume(&self, size: &str) {
        let what = format!("its capacity is {size}");
        self.fixture
            .wait(
                &self.fixture.volumes(),
                &self.name,
                &what,
                has_capacity(size),
            )
            .await;
    }

    /// Waits until the LogicalVolume has this size, and reports it as the agent does.
    async fn agent_extends_to(&self, size: &str) {
        self.fixture.wait_for_size(&self.name, size).await;
        self.fixture
            .agent_writes_status(&self.name, json!({"size": size}))
            .await;
    }

    /// Reports that the kubelet has grown the file system; afterwards neither FlexLVM nor the
    /// controller manager may change the sizes.
    async fn finish(&self, size: &str) {
        self.claim_status(json!({"capacity": {"storage": size}, "conditions": null,
            "allocatedResourceStatuses": null}))
            .await;
        self.fixture.quiet().await;
        self.fixture.quiet().await;
        self.volume(size).await;
        let status = self
            .fixture
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
async fn capacity_without_space_is_lowered_until_space_is_free() {
    let grown = Grown::without_space().await;
    let fixture = &grown.fixture;
    fixture.quiet().await;
    fixture.quiet().await;
    grown.volume("64Mi").await;
    fixture.report_size("n1", "2Gi").await;
    grown.agent_extends_to("1Gi").await;
    grown.volume("1Gi").await;
    grown.finish("1Gi").await;
}

#[tokio::test]
async fn capacity_raised_by_restarted_controller_manager_is_lowered() {
    let mut grown = Grown::without_space().await;
    grown.manager.kill();
    let before = grown.fixture.volumes().get(&grown.name).await.unwrap();
    grown.manager = controller_manager(grown.fixture.server);
    grown
        .fixture
        .wait(
            &grown.fixture.volumes(),
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
async fn lowered_request_recovers_growth_without_space() {
    if !ApiServer::shared().await.is_since(RECOVERS_SINCE) {
        return;
    }
    // The states that a kubelet leaves that attempted the growth before the request is lowered,
    // after, or never.
    for state in [
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ] {
        let grown = Grown::without_space().await;
        let allocated = grown.fixture.claims().get("data").await.unwrap();
        let allocated = allocated.status.unwrap().allocated_resources.unwrap();
        assert_eq!(allocated["storage"].0, "1Gi");
        grown
            .claim_status(json!({"allocatedResourceStatuses": {"storage": state}}))
            .await;
        grown.request("100Mi").await;
        grown.agent_extends_to("100Mi").await;
        grown.volume("100Mi").await;
        let status = grown
            .fixture
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
