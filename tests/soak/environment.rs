//! The cluster of a soak: three nodes whose disks can fail, FlexLVM, and a backend and classes for
//! each layout.

use anyhow::Result;
use harness::cluster::{Cluster, Plan};
use harness::guest::{Guest, Hardware};
use harness::installation::{self, IMAGE, VOLUME_GROUP};
use harness::wait::{LIMIT, until};
use serde_json::{Value, json};

use crate::model::{Class, DISKS, Layout, NODES};

/// Namespace of the claims and pods.
pub(crate) const NAMESPACE: &str = "soak";

/// Size of a disk in MiB.
const DISK_MIB: u64 = 3072;

/// Sectors at the beginning of a disk that its device leaves out: without LVM's label there, LVM
/// finds each physical volume on one device only.
const OFFSET: u64 = 8192;

/// Sectors of a disk's device.
const SECTORS: u64 = DISK_MIB * 2048 - OFFSET;

/// Starts the cluster and installs FlexLVM.
pub(crate) async fn start() -> Result<Cluster> {
    let plan = Plan {
        nodes: NODES,
        hardware: Hardware {
            memory_mib: 1536,
            disks_mib: vec![DISK_MIB; DISKS.into()],
            ..Hardware::default()
        },
        volume_group: None,
        images: vec![installation::file(IMAGE)],
    };
    let cluster = Cluster::start(&plan).await?;
    for guest in cluster.nodes() {
        restart_containers_soon(guest)?;
        create_disks(guest)?;
        let disks: Vec<String> = (1..=DISKS)
            .map(|disk| format!("/dev/mapper/{}", disk_name(disk)))
            .collect();
        guest.shell(&format!("vgcreate -qq {VOLUME_GROUP} {}", disks.join(" ")))?;
    }
    cluster.install().await?;
    apply(&cluster, "backends.json", backends())?;
    apply(&cluster, "classes.json", classes())?;
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    apply(&cluster, "namespace.json", vec![namespace])?;
    wait_until_served(&cluster).await?;
    Ok(cluster)
}

/// Waits until the namespace has its account, and all backends are Ready on all nodes.
async fn wait_until_served(cluster: &Cluster) -> Result<()> {
    let kubectl = |arguments: &[&str]| cluster.api().kubectl(arguments);
    until("the backends are Ready", LIMIT, async || {
        let account = ["get", "serviceaccounts", "-n", NAMESPACE, "-o", "name"];
        let query = [
            "get",
            "storagebackends",
            "-o",
            "jsonpath={range .items[*]}{.status.nodes}{\"\\n\"}{end}",
        ];
        let nodes = kubectl(&query)?;
        let is_ready = nodes.lines().all(|line| line == format!("{NODES}/{NODES}"));
        Ok((is_ready && kubectl(&account)?.contains("default")).then_some(()))
    })
    .await
}

fn apply(cluster: &Cluster, file: &str, items: Vec<Value>) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let file = cluster.api().workplace().write(file, list.to_string())?;
    let file = file.display().to_string();
    cluster.api().kubectl(&["apply", "-f", &file]).map(drop)
}

fn backends() -> Vec<Value> {
    Layout::ALL
        .map(|layout| {
            let mut spec = json!({"volumeGroup": VOLUME_GROUP});
            spec["layout"] = match layout {
                Layout::Linear => json!({"type": "Linear"}),
                Layout::Striped => json!({"type": "Striped"}),
                Layout::Raid1 => json!({"type": "RAID1"}),
                Layout::Raid5 => json!({"type": "RAID5"}),
                Layout::Thin => json!({"type": "Thin"}),
            };
            if layout == Layout::Thin {
                spec["thinPool"] = json!({"size": "128Mi", "maximumSize": "1536Mi"});
            }
            json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
                "metadata": {"name": layout.name()}, "spec": spec})
        })
        .into()
}

fn classes() -> Vec<Value> {
    Class::all()
        .into_iter()
        .map(|class: Class| {
            let policy = if class.is_retained {
                "Retain"
            } else {
                "Delete"
            };
            let parameters =
                json!({"backend": class.layout.name(), "fsType": class.file_system.name()});
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": class.to_string()}, "provisioner": "flexlvm.dev",
                "parameters": parameters, "volumeBindingMode": "WaitForFirstConsumer",
                "reclaimPolicy": policy, "allowVolumeExpansion": true})
        })
        .collect()
}

/// Configures the kubelet to restart a killed container within two seconds, and restarts it.
///
/// Its own intervals rise to five minutes: the soak would test less with each kill. Lasts until the
/// node boots again.
pub(crate) fn restart_containers_soon(guest: &Guest) -> Result<()> {
    guest
        .shell(
            "grep -q '^crashLoopBackOff' /etc/kubelet.yaml && exit
             echo 'crashLoopBackOff: {maxContainerRestartPeriod: 2s}' >>/etc/kubelet.yaml
             kill $(pidof kubelet) || true",
        )
        .map(drop)
}

/// Creates the devices of the disks, on which LVM's physical volumes are.
pub(crate) fn create_disks(guest: &Guest) -> Result<()> {
    for disk in 1..=DISKS {
        let name = disk_name(disk);
        let table = working(disk);
        guest.shell(&format!("dmsetup create {name} --table '{table}'"))?;
    }
    guest.shell("udevadm settle").map(drop)
}

/// Makes each access to a disk fail.
pub(crate) fn fail_disk(guest: &Guest, disk: u8) -> Result<()> {
    load(guest, disk, &format!("0 {SECTORS} error"))
}

/// Makes a disk work again.
pub(crate) fn return_disk(guest: &Guest, disk: u8) -> Result<()> {
    load(guest, disk, &working(disk))
}

fn load(guest: &Guest, disk: u8, table: &str) -> Result<()> {
    let name = disk_name(disk);
    guest
        .shell(&format!(
            "dmsetup load {name} --table '{table}'; dmsetup resume --noflush --nolockfs {name}"
        ))
        .map(drop)
}

/// The name of a disk's device below `/dev/mapper`; disks count from 1.
pub(crate) fn disk_name(disk: u8) -> String {
    format!("disk{disk}")
}

/// The table of the device of a disk that works.
fn working(disk: u8) -> String {
    // The first disk of a guest is its own.
    let letter = char::from(b'a' + disk);
    format!("0 {SECTORS} linear /dev/ubd{letter} {OFFSET}")
}
