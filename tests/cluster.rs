//! The whole cluster: Kubernetes' own control plane and kubelets, two nodes with real LVM, and
//! FlexLVM as its users install it. One cluster for all tests: first those that go together, then
//! whoever needs it alone.

#[path = "cluster_tests/app.rs"]
mod app;
#[path = "cluster_tests/attach.rs"]
mod attach;
#[path = "cluster_tests/cost.rs"]
mod cost;
#[path = "cluster_tests/crashes.rs"]
mod crashes;
#[path = "cluster_tests/kinds.rs"]
mod kinds;
#[path = "cluster_tests/life.rs"]
mod life;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::Result;
use harness::cluster::{Cluster, Plan};
use harness::dump;
use harness::guest::Hardware;
use harness::suite::{self, Test};
use harness::wait::until;

fn main() -> ExitCode {
    suite::isolated_with_dump(tests, |name| cluster().dump(&dump::folder().join(name)))
}

fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "programs at rest are small",
            cost::programs_at_rest_are_small,
        ),
        Test::together(
            "a volume costs three writes and one event",
            cost::a_volume_costs_three_writes_and_one_event,
        ),
        Test::together(
            "volumes grow while mounted",
            life::volumes_grow_while_mounted,
        ),
        Test::together(
            "thin and cached volumes live in a group that is made while they wait",
            kinds::thin_and_cached_volumes_live_in_a_group_that_is_made_while_they_wait,
        ),
        Test::together(
            "a mounted volume is not removed before it is free",
            life::a_mounted_volume_is_not_removed_before_it_is_free,
        ),
        Test::together(
            "what does not fit waits with the reason",
            life::what_does_not_fit_waits_with_the_reason,
        ),
        Test::together(
            "a pod can not mount the volume of another by its name",
            life::a_pod_can_not_mount_the_volume_of_another_by_its_name,
        ),
        Test::together(
            "a claim deleted while its volume is made leaves nothing",
            crashes::a_claim_deleted_while_its_volume_is_made_leaves_nothing,
        ),
        Test::new(
            "growth without room says so, and ends when there is room",
            life::growth_without_room_says_so_and_ends_when_there_is_room,
        ),
        Test::new(
            "a volume group that grows is seen within five seconds",
            life::a_volume_group_that_grows_is_seen_within_five_seconds,
        ),
        Test::new(
            "data survives pod deletion, kubelet restart and power cut",
            life::data_survives,
        ),
        Test::new(
            "an agent killed between lvcreate and its report makes one volume",
            crashes::an_agent_killed_between_lvcreate_and_its_report_makes_one_volume,
        ),
        Test::new(
            "a controller killed between order and volume makes one volume",
            crashes::a_controller_killed_between_order_and_volume_makes_one_volume,
        ),
        Test::new(
            "deleting every LogicalVolume object removes no data",
            crashes::deleting_every_logicalvolume_object_removes_no_data,
        ),
        Test::new(
            "a cluster moves over from the example script",
            attach::a_cluster_moves_over_from_the_example_script,
        ),
        Test::new(
            "the mode changes once nothing is mounted",
            attach::the_mode_changes_once_nothing_is_mounted,
        ),
        Test::new(
            "volumes are attached by the controller manager or the kubelet",
            attach::volumes_are_attached_by_the_controller_manager_or_the_kubelet,
        ),
    ]
}

/// The cluster that all tests share, with FlexLVM in it; started by the first.
static CLUSTER: LazyLock<RwLock<Cluster>> =
    LazyLock::new(|| RwLock::new(suite::runtime().block_on(install()).unwrap()));

/// The cluster, for what does not disturb others.
fn cluster() -> RwLockReadGuard<'static, Cluster> {
    // A failed test does not spoil it for the others.
    CLUSTER.read().unwrap_or_else(PoisonError::into_inner)
}

/// The cluster, for one test alone: whoever cuts the power, kills a program of all, or takes what
/// others may need.
fn cluster_alone() -> RwLockWriteGuard<'static, Cluster> {
    CLUSTER.write().unwrap_or_else(PoisonError::into_inner)
}

/// The node whose kubelet attaches volumes itself, in the end.
const ATTACHES_ITSELF: u8 = 2;

/// The path of a file of the repository.
fn file(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
        .display()
        .to_string()
}

/// As a user would: the configuration and the samples as they are, and two more classes for the
/// tests.
async fn install() -> Result<Cluster> {
    let plan = Plan {
        nodes: 2,
        hardware: Hardware {
            disks_mib: vec![4096, 512],
            spare_mib: vec![1024, 256],
            ..Hardware::default()
        },
        volume_group: Some(app::VOLUME_GROUP.to_owned()),
        images: vec![file("target/image/flexlvm.tar").into()],
    };
    let cluster = Cluster::start(&plan).await?;
    let kubectl = |arguments: &[&str]| cluster.api().kubectl(arguments);
    kubectl(&["apply", "-k", &file("config/default")])?;
    for workload in ["deployment/flexlvm-controller", "daemonset/flexlvm-agent"] {
        kubectl(&[
            "-n",
            "flexlvm-system",
            "rollout",
            "status",
            "--timeout=180s",
            workload,
        ])?;
    }
    let classes = cluster
        .api()
        .workplace()
        .write("classes.yaml", CLASSES)?
        .display()
        .to_string();
    for samples in [
        file("config/samples/storagebackend.yaml"),
        file("config/samples/storageclass.yaml"),
        classes,
    ] {
        kubectl(&["apply", "-f", &samples])?;
    }
    let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.nodes}"#;
    until(
        "the backend is Ready on both nodes",
        app::LIMIT,
        async || {
            let state = kubectl(&["get", "storagebackend", "flexlvm", "-o", ready])?;
            Ok((state == "True 2/2").then_some(()))
        },
    )
    .await?;
    Ok(cluster)
}

const CLASSES: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: flexlvm-xfs}
provisioner: flexlvm.dev
parameters: {backend: flexlvm, fsType: xfs}
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: true
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: flexlvm-btrfs}
provisioner: flexlvm.dev
parameters: {backend: flexlvm, fsType: btrfs}
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: true
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: flexlvm-immediate}
provisioner: flexlvm.dev
parameters: {backend: flexlvm}
";
