//! Tests on a cluster: Kubernetes' own control plane and kubelets, two nodes with real LVM, and
//! FlexLVM as admins install it.
//!
//! All tests share one cluster: first those that run in parallel, then those that need it
//! exclusively.

mod app;
mod attach;
mod cost;
mod crashes;
mod current_kubernetes;
mod kinds;
mod lifecycle;
mod operations;
mod plugin_folder;
mod populator;

use std::ops::{Deref, DerefMut};
use std::process::ExitCode;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::Result;
use harness::cluster::{Cluster, Plan};
use harness::dump;
use harness::guest::Hardware;
use harness::installation::{self, IMAGE, VOLUME_GROUP};
use harness::suite::{self, Test};

fn main() -> ExitCode {
    suite::on_kubernetes(tests, replace_cluster)
}

/// The oldest minor version with the features of the tests of current Kubernetes.
///
/// The behavior of kubelet and controller manager is tested on the oldest supported version, too.
const CURRENT: u32 = 37;

fn tests() -> Vec<Test> {
    [at_rest(), in_parallel(), growth(), crashes_and_modes()].concat()
}

/// Runs first: the programs have done nothing yet.
fn at_rest() -> Vec<Test> {
    vec![
        Test::new(
            "programs at rest are small",
            cost::programs_at_rest_are_small,
        )
        .since(CURRENT),
    ]
}

/// Tests that share the cluster at the same time.
fn in_parallel() -> Vec<Test> {
    vec![
        Test::together(
            "volume costs three writes and one event",
            cost::volume_costs_three_writes_and_one_event,
        )
        .since(CURRENT),
        Test::together(
            "volumes grow while mounted",
            lifecycle::volumes_grow_while_mounted,
        ),
        Test::together(
            "thin and cached volumes wait for their volume group",
            kinds::thin_and_cached_volumes_wait_for_their_volume_group,
        )
        .since(CURRENT),
        Test::together(
            "mounted volume is not removed before its unmount",
            lifecycle::mounted_volume_is_not_removed_before_unmount,
        ),
        Test::together(
            "claim without space waits with the reason",
            lifecycle::claim_without_space_waits_with_reason,
        )
        .since(CURRENT),
        Test::together(
            "pod cannot mount the volume of another tenant by name",
            lifecycle::pod_cannot_mount_volume_of_another_tenant_by_name,
        )
        .since(CURRENT),
        Test::together(
            "claim deleted during creation leaves nothing",
            crashes::claim_deleted_during_creation_leaves_nothing,
        )
        .since(CURRENT),
        Test::together(
            "exclusive claim has one pod at a time",
            current_kubernetes::exclusive_claim_has_one_pod_at_a_time,
        )
        .since(CURRENT),
        Test::together(
            "populator hands a volume over to a claim",
            populator::populator_hands_volume_over,
        )
        .since(CURRENT),
        Test::together(
            "server rejects invalid and changed backends",
            current_kubernetes::server_rejects_invalid_and_changed_backends,
        )
        .since(CURRENT),
    ]
}

/// Tests that fill the nodes.
fn growth() -> Vec<Test> {
    vec![
        Test::new(
            "scheduler avoids a node without space",
            current_kubernetes::scheduler_avoids_a_node_without_space,
        )
        .since(CURRENT),
        Test::new(
            "growth without space is reported, and completed later",
            lifecycle::growth_without_space_is_reported_and_completed_later,
        )
        .since(CURRENT),
        Test::new(
            "pod restarts while its volume cannot grow",
            lifecycle::pod_restarts_while_its_volume_cannot_grow,
        ),
        Test::new(
            "lowered request recovers a growth without space",
            lifecycle::lowered_request_recovers_growth_without_space,
        )
        .since(CURRENT),
        Test::new(
            "growth of a volume group is reported within five seconds",
            lifecycle::growth_of_volume_group_is_reported_within_five_seconds,
        )
        .since(CURRENT),
    ]
}

/// Tests that kill programs, cut the power, or change how FlexLVM is installed.
fn crashes_and_modes() -> Vec<Test> {
    vec![
        Test::new(
            "annotations of tenants do not fill the controller's memory",
            cost::annotations_of_tenants_do_not_fill_the_controllers_memory,
        )
        .since(CURRENT),
        Test::new(
            "data survives pod deletion, kubelet restart and power cut",
            lifecycle::data_survives,
        ),
        Test::new(
            "agent killed before its report creates one logical volume",
            crashes::agent_killed_before_its_report_creates_one_lv,
        )
        .since(CURRENT),
        Test::new(
            "controller killed before the PersistentVolume creates one logical volume",
            crashes::controller_killed_before_persistent_volume_creates_one_lv,
        )
        .since(CURRENT),
        Test::new(
            "deleting all LogicalVolume objects keeps the data",
            crashes::deleting_all_logical_volume_objects_keeps_data,
        )
        .since(CURRENT),
        Test::new(
            "claims of a lost node are released and their data kept",
            operations::claims_of_a_lost_node_are_released_and_their_data_kept,
        )
        .since(CURRENT),
        Test::new(
            "driver follows the kubelet to another plugin folder",
            plugin_folder::driver_follows_the_kubelet_to_another_plugin_folder,
        ),
        Test::new(
            "cluster migrates from the example script",
            attach::cluster_migrates_from_example_script,
        ),
        Test::new(
            "attach mode changes once nothing is mounted",
            attach::attach_mode_changes_once_nothing_is_mounted,
        )
        .since(CURRENT),
        Test::new(
            "volumes are attached by the controller manager or the kubelet",
            attach::volumes_are_attached_by_controller_manager_or_kubelet,
        ),
        Test::new(
            "uninstalled product leaves nothing in the cluster",
            current_kubernetes::uninstalled_product_leaves_nothing_in_the_cluster,
        ),
    ]
}

/// The cluster that all tests share, with FlexLVM installed; started by the first test, and by the
/// first one after a failure.
static CLUSTER: RwLock<Option<Cluster>> = RwLock::new(None);

/// Borrows the cluster for a test that runs in parallel with others.
fn cluster() -> Shared {
    loop {
        // A failed test does not affect the others.
        let shared = CLUSTER.read().unwrap_or_else(PoisonError::into_inner);
        if shared.is_some() {
            return Shared(shared);
        }
        drop(shared);
        drop(cluster_alone());
    }
}

/// Borrows the cluster exclusively, for a test that cuts the power, kills a shared program, or uses
/// resources that others need.
fn cluster_alone() -> Exclusive {
    let mut cluster = CLUSTER.write().unwrap_or_else(PoisonError::into_inner);
    if cluster.is_none() {
        *cluster = Some(suite::runtime().block_on(install()).unwrap());
    }
    Exclusive(cluster)
}

/// Saves the diagnostics of a failure, and ends the cluster: the next test starts a new one without
/// traces of the failed test.
fn replace_cluster(failed: &str) {
    let mut cluster = CLUSTER.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = cluster.take() {
        cluster.dump(&dump::folder().join(failed));
    }
}

const STARTED: &str = "a guard is made only once the cluster is started";

struct Shared(RwLockReadGuard<'static, Option<Cluster>>);

impl Deref for Shared {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0.as_ref().expect(STARTED)
    }
}

struct Exclusive(RwLockWriteGuard<'static, Option<Cluster>>);

impl Deref for Exclusive {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0.as_ref().expect(STARTED)
    }
}

impl DerefMut for Exclusive {
    fn deref_mut(&mut self) -> &mut Cluster {
        self.0.as_mut().expect(STARTED)
    }
}

/// The node whose kubelet attaches volumes itself, in the last tests.
const ATTACHES_ITSELF: u8 = 2;

/// Returns the path of a file of the repository.
fn file(path: &str) -> String {
    installation::file(path).display().to_string()
}

/// Installs FlexLVM as an admin does, and more classes for the tests.
async fn install() -> Result<Cluster> {
    let plan = Plan {
        nodes: 2,
        hardware: Hardware {
            disks_mib: vec![4096, 512],
            spare_mib: vec![1024, 256],
            ..Hardware::default()
        },
        volume_group: Some(VOLUME_GROUP.to_owned()),
        images: vec![installation::file(IMAGE)],
    };
    let cluster = Cluster::start(&plan).await?;
    cluster.install().await?;
    let classes = cluster.api().workplace().write("classes.yaml", CLASSES)?;
    cluster
        .api()
        .kubectl(&["apply", "-f", &classes.display().to_string()])?;
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
