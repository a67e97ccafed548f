//! The procedures of docs/operations.md, step by step.

use anyhow::{Result, ensure};
use crds::logical_volume::State;
use harness::cluster::Cluster;
use harness::wait::until;

use crate::app::{App, LIMIT, VOLUME_GROUP, holders, run};
use crate::cluster_alone;

/// "A node is lost": its claim is served anew on the other node.
pub(crate) fn volumes_of_a_lost_node_are_given_up() -> Result<()> {
    let mut cluster = cluster_alone();
    run(async {
        let (app, volume, node, _) = App::with_data(&cluster, "flexlvm", "64Mi").await?;
        let number = if node == cluster.node(1).name() { 1 } else { 2 };
        cluster.cut_power(number)?;

        let kubectl = |arguments: &[&str]| cluster.api().kubectl(arguments);
        kubectl(&["delete", "node", &node])?;
        let label = format!("flexlvm.dev/node={node}");
        let listed = kubectl(&[
            "get",
            "logicalvolumes.flexlvm.dev",
            "-l",
            &label,
            "-o",
            "custom-columns=NAME:.metadata.name,NAMESPACE:.spec.currentClaim.namespace,CLAIM:.spec.currentClaim.name",
        ])?;
        ensure!(
            [&volume, &app.namespace, "data"]
                .iter()
                .all(|word| listed.contains(*word)),
            "the volume is not listed: {listed}"
        );
        kubectl(&[
            "-n",
            &app.namespace,
            "delete",
            "pvc",
            "data",
            "--wait=false",
        ])?;
        until(
            "the removal of the volume is requested",
            LIMIT,
            async || {
                let object = app.logical_volumes().get(&volume).await?;
                Ok((object.spec.state == State::Absent).then_some(()))
            },
        )
        .await?;

        let object = ["logicalvolumes.flexlvm.dev", volume.as_str()];
        kubectl(&["delete", object[0], object[1], "--wait=false"])?;
        let patch = r#"{"metadata": {"finalizers": null}}"#;
        kubectl(&[
            "patch", object[0], object[1], "--type", "merge", "-p", patch,
        ])?;
        until("the PersistentVolume is gone", LIMIT, async || {
            let volume = app.volumes().get_opt(&volume).await?;
            Ok(volume.is_none().then_some(()))
        })
        .await?;

        let again = app.claim("flexlvm", "64Mi").await?;
        app.pod("app").await?;
        ensure!(app.runs("app").await? != node, "placed on the lost node");
        bring_back(&mut cluster, number, &volume).await?;
        app.end(&cluster, &again).await
    })
}

/// The node comes back, with its volume on it.
async fn bring_back(cluster: &mut Cluster, number: u8, volume: &str) -> Result<()> {
    cluster.power_on(number)?;
    cluster.wait_until_ready(number).await?;
    ensure!(
        holders(cluster, volume)?.len() == 1,
        "a volume without an object was removed"
    );
    let node = cluster.node(number);
    let select = "lvs --noheadings -o lv_path,lv_size,lv_tags | grep flexlvm.dev/claim-uid=";
    ensure!(
        node.shell(select)?.contains(volume),
        "the command of the procedure does not list the volume"
    );
    node.shell(&format!("lvremove -qq -y {VOLUME_GROUP}/{volume}"))?;
    cluster.wait_until_served().await
}
