//! Volumes in attach mode: attached by the controller manager on one node, by the kubelet itself on
//! the other. These tests change the mode of the whole cluster, so they run last.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flexvolume::{DriverName, DriverSettings};
use harness::cluster::Cluster;
use harness::guest::Guest;
use harness::wait::until;
use kube::api::Api;
use operator::agent::driver_install::plan::Presentation;
use operator::agent::driver_install::{Target, install};
use serde_json::{Value, json};

use crate::app::{App, LIMIT, VOLUME_GROUP, data, on_node, run};
use crate::{ATTACHES_ITSELF, cluster_alone, file};

/// Parent of the mounts that all pods of a node share.
const SHARED: &str = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts";

/// Installs driver and settings on the controller manager's host, as an agent there would.
fn install_for_the_controller_manager(cluster: &Cluster) -> Result<()> {
    let folders = cluster.driver_folders();
    let workplace = cluster.api().workplace();
    let target = Target {
        driver: Path::new(&file("target/image/context/flexlvm-driver")).to_owned(),
        plugins: folders.plugins.clone(),
        state: folders.state.clone(),
        mounts: workplace.write("no-mounts", "")?,
        names: vec![DriverName::own()],
        settings: DriverSettings {
            attach: true,
            node: Some("control-plane".to_owned()),
        },
    };
    let installed = install(&target, Presentation::OnChange)?;
    ensure!(installed.condition.status, "{:?}", installed.condition);
    Ok(())
}

/// Switches the cluster to attach mode as described in docs/attach-mode.md, unless it is in that
/// mode.
fn attach(cluster: &Cluster) -> Result<()> {
    install_for_the_controller_manager(cluster)?;
    cluster
        .api()
        .kubectl(&["apply", "-k", &cluster.api().attach_configuration()?])
        .map(drop)
}

/// Waits until a node's report has this condition of its driver.
pub(crate) async fn wait_for_driver_condition(
    cluster: &Cluster,
    node: &str,
    reason: &str,
    phrase: &str,
) -> Result<()> {
    let storages: Api<crds::NodeStorage> = Api::all(cluster.api().client());
    until(
        &format!("{node} reports its driver: {reason} {phrase:?}"),
        LIMIT,
        async || {
            let conditions = storages
                .get(node)
                .await?
                .status
                .unwrap_or_default()
                .conditions;
            let driver = crds::condition::get(&conditions, crds::condition::DRIVER_INSTALLED);
            Ok(driver
                .filter(|driver| driver.reason == reason && driver.message.contains(phrase))
                .map(drop))
        },
    )
    .await
}

/// Returns the mode in the settings of a node's driver.
fn mode(node: &Guest) -> Result<String> {
    node.shell("sed 's/.*\"attach\":\\([a-z]*\\).*/\\1/' /var/lib/flexlvm/driver.json")
}

pub(crate) fn attach_mode_changes_once_nothing_is_mounted() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let app = App::new(&cluster).await?;
        let volume = app.claim("flexlvm", "64Mi").await?;
        app.pod_on("app", "node1", data(false)).await?;
        app.runs("app").await?;
        let sum = app.write(&cluster, "app")?;
        attach(&cluster)?;
        wait_for_driver_condition(&cluster, "node2", "Installed", "with attach: true").await?;
        wait_for_driver_condition(&cluster, "node1", "VolumesMounted", &volume).await?;
        ensure!(
            mode(cluster.node(1))? == "false",
            "the mode changed under a mounted volume"
        );
        app.has_data(&cluster, "app", &sum)?;
        app.delete_pod("app").await?;
        wait_for_driver_condition(&cluster, "node1", "Installed", "with attach: true").await?;
        ensure!(
            mode(cluster.node(1))? == "true",
            "the driver's settings have not changed"
        );
        app.delete_claim().await?;
        app.gone(&cluster, &volume).await
    })
}

pub(crate) fn volumes_are_attached_by_controller_manager_or_kubelet() -> Result<()> {
    let mut cluster = cluster_alone();
    run(async {
        attach(&cluster)?;
        cluster.attach_by_kubelet(ATTACHES_ITSELF)?;
        cluster.wait_until_ready(ATTACHES_ITSELF).await?;
        for node in cluster.nodes() {
            wait_for_driver_condition(&cluster, &node.name(), "Installed", "with attach: true")
                .await?;
        }
        let by_controller_manager = attached_volume(&cluster, 1);
        let by_kubelet = attached_volume(&cluster, ATTACHES_ITSELF);
        tokio::try_join!(by_controller_manager, by_kubelet).map(drop)
    })
}

/// The lifecycle of one volume, with two pods on one node.
async fn attached_volume(cluster: &Cluster, number: u8) -> Result<()> {
    let node = cluster.node(number);
    let name = node.name();
    let app = App::new(cluster).await?;
    let volume = app.claim("flexlvm", "320Mi").await?;
    app.pod_on("writer", &name, data(false)).await?;
    app.runs("writer").await?;
    let sum = app.write(cluster, "writer")?;
    app.pod_on("reader", &name, data(true)).await?;
    app.runs("reader").await?;
    app.has_data(cluster, "reader", &sum)?;
    app.exec(cluster, "reader", "! touch /data/file 2>/dev/null")
        .context("a read-only pod can write")?;
    let points = node.shell(&format!(
        "findmnt -rn -o TARGET | grep -c '^/var/lib/kubelet/.*/{volume}$'"
    ))?;
    ensure!(points == "3", "{name}: mounted {points} times for two pods");
    node.shell(&format!("findmnt -rn {SHARED}/{volume}"))
        .context("not mounted for all pods")?;

    delete_both_pods(cluster, node, &app, &volume, &sum).await?;

    app.grow("640Mi").await?;
    until("the logical volume has grown", LIMIT, async || {
        let status = app
            .logical_volumes()
            .get(&volume)
            .await?
            .status
            .unwrap_or_default();
        Ok(status.size.filter(|size| size.0 == "640Mi").map(drop))
    })
    .await?;
    app.pod_on("later", &name, data(false)).await?;
    app.runs("later").await?;
    app.has_grown(cluster, "later", 500).await?;
    app.has_data(cluster, "later", &sum)?;
    app.delete_pod("later").await?;
    app.delete_claim().await?;
    app.gone(cluster, &volume).await
}

/// Deletes the writing pod, then the reading one, and waits until the node has released the volume.
async fn delete_both_pods(
    cluster: &Cluster,
    node: &Guest,
    app: &App,
    volume: &str,
    sum: &str,
) -> Result<()> {
    app.delete_pod("writer").await?;
    let one = format!(
        "test $(findmnt -rn -o TARGET | grep -c '^/var/lib/kubelet/pods/.*/{volume}$') = 1"
    );
    on_node(node, "one pod is left", &one).await?;
    app.has_data(cluster, "reader", sum)?;
    app.delete_pod("reader").await?;
    let lv = format!("lvs --noheadings -o lv_active {VOLUME_GROUP}/{volume}");
    on_node(
        node,
        "it is unmounted",
        &format!("! findmnt -rn -o TARGET | grep -e '/{volume}$'"),
    )
    .await?;
    // The controller manager does not reach the node, whose driver deactivates the volume itself.
    on_node(
        node,
        "it is inactive",
        &format!("test -z \"$({lv} | tr -d ' ')\""),
    )
    .await
    .map(drop)
}

/// Migrates a cluster from the example of Kubernetes' LVM FlexVolume, as described in
/// docs/moving-from-the-lvm-example.md.
pub(crate) fn cluster_migrates_from_example_script() -> Result<()> {
    let mut cluster = cluster_alone();
    run(async {
        // The mode that the example needs.
        cluster.attach_by_kubelet(ATTACHES_ITSELF)?;
        cluster.wait_until_ready(ATTACHES_ITSELF).await?;
        let node = cluster.node(ATTACHES_ITSELF);
        let app = App::new(&cluster).await?;
        install_script(node)?;
        node.shell(&format!("lvcreate -qq -y -n vol1 -L 64M {VOLUME_GROUP}"))?;
        app.pod_on("before", &node.name(), example_volume("kubernetes.io/lvm"))
            .await?;
        app.runs("before").await?;
        let sum = app.write(&cluster, "before")?;

        // 1. The alias; it waits until the script's volumes are unmounted.
        let alias = "FLEXLVM_DRIVER_ALIASES=kubernetes.io/lvm";
        let agents = "daemonset/flexlvm-agent";
        cluster
            .api()
            .kubectl(&["-n", "flexlvm-system", "set", "env", agents, alias])?;
        wait_for_driver_condition(
            &cluster,
            &node.name(),
            "VolumesMounted",
            "driver kubernetes.io/lvm is another vendor's",
        )
        .await?;
        app.has_data(&cluster, "before", &sum)?;

        // 2. The node is drained, and the driver is replaced.
        app.delete_pod("before").await?;
        wait_for_driver_condition(
            &cluster,
            &node.name(),
            "Installed",
            "flexlvm.dev/lvm and kubernetes.io/lvm",
        )
        .await?;
        node.shell("grep -q waitforattach /var/lib/flexlvm/replaced/kubernetes.io~lvm/lvm")?;

        // 3. An untagged volume is rejected with instructions; a tagged one is mounted again, under
        // both names.
        app.pod_on("after", &node.name(), example_volume("kubernetes.io/lvm"))
            .await?;
        app.has_event(&["FailedMount", "flexlvm.dev/static"])
            .await?;
        node.shell(&format!(
            "lvchange -qq --addtag flexlvm.dev/static {VOLUME_GROUP}/vol1"
        ))?;
        app.pod_on("renamed", &node.name(), example_volume("flexlvm.dev/lvm"))
            .await?;
        app.claim_by_hand(&node.name(), example_volume("flexlvm.dev/lvm"))
            .await?;
        app.pod_on("by-hand", &node.name(), data(false)).await?;
        for pod in ["after", "renamed", "by-hand"] {
            app.runs(pod).await?;
            app.has_data(&cluster, pod, &sum)?;
            app.delete_pod(pod).await?;
        }
        on_node(
            node,
            "it is unmounted",
            "! findmnt -rn -S /dev/mapper/flexlvm-vol1",
        )
        .await?;
        node.shell(&format!("lvremove -qq -y {VOLUME_GROUP}/vol1"))?;
        Ok(())
    })
}

/// Returns the source of a pod's volume vol1, as the example names it.
fn example_volume(driver: &str) -> Value {
    let options = json!({"volumegroup": VOLUME_GROUP, "volumeID": "vol1", "size": "1000m"});
    json!({"flexVolume": {"driver": driver, "fsType": "ext4", "options": options}})
}

/// Installs a script in place of the example's: with the same call-outs, options and mounts.
fn install_script(node: &Guest) -> Result<()> {
    let folder = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec";
    node.shell(&format!(
        "mkdir -p {folder}/.new; cat >{folder}/.new/lvm <<'S'\n{EXAMPLE}S\nchmod 755 {folder}/.new/lvm; mv {folder}/.new {folder}/kubernetes.io~lvm"
    ))
    .map(drop)
}

/// Like the example, it implies `attach: true` by returning no capabilities, finds its device by
/// the names in its options, and formats a device that blkid reports as empty.
const EXAMPLE: &str = include_str!("example-driver");
