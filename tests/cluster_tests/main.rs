//! The whole cluster: Kubernetes' own control plane and kubelets, two nodes with real LVM, and
//! FlexLVM as its users install it. One cluster for all tests: first those that go together, then
//! whoever needs it alone.

mod app;
mod attach;
mod cost;
mod crashes;
mod kinds;
mod life;
mod todays;

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

/// The second number of the oldest version that has what the tests of today's Kubernetes are about.
/// What the kubelet and the controller manager do is tested on the oldest version, too.
const TODAYS: u32 = 37;

fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "programs at rest are small",
            cost::programs_at_rest_are_small,
        )
        .since(TODAYS),
        Test::together(
            "a volume costs three writes and one event",
            cost::a_volume_costs_three_writes_and_one_event,
        )
        .since(TODAYS),
        Test::together(
            "volumes grow while mounted",
            life::volumes_grow_while_mounted,
        ),
        Test::together(
            "thin and cached volumes live in a group that is made while they wait",
            kinds::thin_and_cached_volumes_live_in_a_group_that_is_made_while_they_wait,
        )
        .since(TODAYS),
        Test::together(
            "a mounted volume is not removed before it is free",
            life::a_mounted_volume_is_not_removed_before_it_is_free,
        ),
        Test::together(
            "what does not fit waits with the reason",
            life::what_does_not_fit_waits_with_the_reason,
        )
        .since(TODAYS),
        Test::together(
            "a pod can not mount the volume of another by its name",
            life::a_pod_can_not_mount_the_volume_of_another_by_its_name,
        )
        .since(TODAYS),
        Test::together(
            "a claim deleted while its volume is made leaves nothing",
            crashes::a_claim_deleted_while_its_volume_is_made_leaves_nothing,
        )
        .since(TODAYS),
        Test::together(
            "exclusive claim has one pod at a time",
            todays::exclusive_claim_has_one_pod_at_a_time,
        )
        .since(TODAYS),
        Test::together(
            "server refuses invalid and changed backends",
            todays::server_refuses_invalid_and_changed_backends,
        )
        .since(TODAYS),
        Test::new(
            "scheduler avoids a node without space",
            todays::scheduler_avoids_a_node_without_space,
        )
        .since(TODAYS),
        Test::new(
            "growth without room says so, and ends when there is room",
            life::growth_without_room_says_so_and_ends_when_there_is_room,
        )
        .since(TODAYS),
        Test::new(
            "pod restarts while its volume can not grow",
            life::pod_restarts_while_its_volume_can_not_grow,
        ),
        Test::new(
            "lowered request recovers a growth without room",
            life::lowered_request_recovers_a_growth_without_room,
        )
        .since(TODAYS),
        Test::new(
            "a volume group that grows is seen within five seconds",
            life::a_volume_group_that_grows_is_seen_within_five_seconds,
        )
        .since(TODAYS),
        Test::new(
            "data survives pod deletion, kubelet restart and power cut",
            life::data_survives,
        ),
        Test::new(
            "an agent killed between lvcreate and its report makes one volume",
            crashes::an_agent_killed_between_lvcreate_and_its_report_makes_one_volume,
        )
        .since(TODAYS),
        Test::new(
            "a controller killed between order and volume makes one volume",
            crashes::a_controller_killed_between_order_and_volume_makes_one_volume,
        )
        .since(TODAYS),
        Test::new(
            "deleting every LogicalVolume object removes no data",
            crashes::deleting_every_logicalvolume_object_removes_no_data,
        )
        .since(TODAYS),
        Test::new(
            "a cluster moves over from the example script",
            attach::a_cluster_moves_over_from_the_example_script,
        ),
        Test::new(
            "the mode changes once nothing is mounted",
            attach::the_mode_changes_once_nothing_is_mounted,
        )
        .since(TODAYS),
        Test::new(
            "volumes are attached by the controller manager or the kubelet",
            attach::volumes_are_attached_by_the_controller_manager_or_the_kubelet,
        ),
        Test::new(
            "uninstalled product leaves nothing in the cluster",
            todays::uninstalled_product_leaves_nothing_in_the_cluster,
        ),
    ]
}

/// The cluster that all tests share, with FlexLVM in it; started by the first test, and by the
/// first one after a failure.
static CLUSTER: RwLock<Option<Cluster>> = RwLock::new(None);

/// The cluster, for a test that does not disturb others.
fn cluster() -> Shared {
    loop {
        // A failed test does not spoil it for the others.
        let shared = CLUSTER.read().unwrap_or_else(PoisonError::into_inner);
        if shared.is_some() {
            return Shared(shared);
        }
        drop(shared);
        drop(cluster_alone());
    }
}

/// The cluster, for one test alone: it cuts the power, kills a program that all need, or takes what
/// others may need.
fn cluster_alone() -> Exclusive {
    let mut cluster = CLUSTER.write().unwrap_or_else(PoisonError::into_inner);
    if cluster.is_none() {
        *cluster = Some(suite::runtime().block_on(install()).unwrap());
    }
    Exclusive(cluster)
}

/// Saves what explains a failure, and ends the cluster: the next test starts a new one, and finds
/// nothing of the failed one.
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

/// The node whose kubelet attaches volumes itself, in the end.
const ATTACHES_ITSELF: u8 = 2;

/// The path of a file of the repository.
fn file(path: &str) -> String {
    installation::file(path).display().to_string()
}

/// FlexLVM as a user installs it, and more classes for the tests.
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
