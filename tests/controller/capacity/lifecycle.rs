//! Publishing and withdrawal: at the start, after the admin switches it off, on a restart, and when
//! FlexLVM is uninstalled.

use harness::apiserver::ApiServer;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use operator::controller::capacity::uninstall::UninstallDetector;

use super::{SINCE, drivers, wait_for_driver, wait_until_published, writes};
use crate::fixture::{Controller, Fixture, waits_for_consumer};

/// A separate server, since concurrent tests on a shared one would write too: two nodes and a
/// class, without a controller.
struct OwnServer {
    fixture: Fixture,
}

impl OwnServer {
    async fn new() -> Self {
        let fixture = Fixture::on_own_server().await;
        fixture.node("n1", 1024).await;
        fixture.node("n2", 64).await;
        fixture.backend_without_controller("vg0").await;
        fixture.class_only(waits_for_consumer()).await;
        Self { fixture }
    }

    fn written(&self) -> Vec<String> {
        writes(self.fixture.server)
    }

    /// Starts a controller without published objects and checks the order of its writes.
    async fn publishing(&self) -> Controller {
        let before = self.written().len();
        let running = Controller::start(self.fixture.server, true).await;
        wait_for_driver(&self.fixture).await;
        let order = [
            "patch csistoragecapacities",
            "patch csistoragecapacities",
            "patch csidrivers",
        ];
        assert_eq!(self.written()[before..], order);
        running
    }

    /// Waits until all objects are withdrawn and checks the order.
    ///
    /// `before` is the number of earlier writes.
    async fn wait_until_withdrawn(&self, before: usize) {
        self.fixture
            .gone(&drivers(&self.fixture), "flexlvm.dev")
            .await;
        wait_until_published(&self.fixture, &[]).await;
        assert_eq!(
            self.written()[before..],
            ["delete csidrivers", "deletecollection csistoragecapacities"]
        );
    }

    /// Returns the uninstall detector of a controller that starts now.
    async fn uninstall_detector(&self) -> UninstallDetector {
        let client = self
            .fixture
            .server
            .client_of("flexlvm-system", "flexlvm-controller")
            .await
            .unwrap();
        UninstallDetector::find(&client, "flexlvm-system").await
    }
}

#[tokio::test]
async fn capacity_is_published_and_withdrawn_in_order_and_kept_on_restart() {
    if !ApiServer::shared().await.is_since(SINCE) {
        return;
    }
    let alone = OwnServer::new().await;
    // The admin switches it off.
    drop(alone.publishing().await);
    let before = alone.written().len();
    let running = Controller::start(alone.fixture.server, false).await;
    alone.wait_until_withdrawn(before).await;
    drop(running);

    // A restart: neither the old nor the new controller writes.
    drop(alone.publishing().await);
    let detector = alone.uninstall_detector().await;
    let before = alone.written().len();
    detector.clean_up().await;
    let running = Controller::start(alone.fixture.server, true).await;
    alone.fixture.quiet().await;
    alone.fixture.quiet().await;
    assert_eq!(alone.written()[before..], [""; 0]);

    // Deletion of its Deployment.
    drop(running);
    alone
        .fixture
        .server
        .kubectl(&[
            "delete",
            "-n",
            "flexlvm-system",
            "deployment",
            "flexlvm-controller",
        ])
        .unwrap();
    detector.clean_up().await;
    alone.wait_until_withdrawn(before).await;

    // Deletion of its namespace. The new controller finds no Deployment, which proves nothing.
    drop(alone.publishing().await);
    let detector = alone.uninstall_detector().await;
    let before = alone.written().len();
    detector.clean_up().await;
    assert_eq!(alone.written()[before..], [""; 0]);
    let namespaces: Api<Namespace> = Api::all(alone.fixture.client.clone());
    namespaces
        .delete("flexlvm-system", &DeleteParams::default())
        .await
        .unwrap();
    detector.clean_up().await;
    alone.wait_until_withdrawn(before).await;
}
