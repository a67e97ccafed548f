//! The procedures of docs/operations.md, step by step.

use anyhow::{Result, ensure};
use crds::NodeStorage;
use crds::logical_volume::State;
use crds::node_storage::DeviationKind;
use harness::cluster::Cluster;
use harness::wait::until;
use kube::Api;

use crate::app::{App, LIMIT, VOLUME_GROUP, holders, run};
use crate::cluster_alone;

/// "A node is lost", then "a lost node comes back": its claim is served anew on the other node, and
/// the former data is kept until an admin has it removed.
pub(crate) fn claims_of_a_lost_node_are_released_and_their_data_kept() -> Result<()> {
    let mut cluster = cluster_alone();
    run(async {
        let (app, volume, node, sum) = App::with_data(&cluster, "flexlvm", "64Mi").await?;
        let number = if node == cluster.node(1).name() { 1 } else { 2 };
        cluster.cut_power(number)?;
        cluster.api().kubectl(&["delete", "node", &node])?;
        release(&cluster, &node)?;
        until("claim and PersistentVolume are gone", LIMIT, async || {
            let claim = app.claims().get_opt("data").await?;
            let published = app.volumes().get_opt(&volume).await?;
            Ok((claim.is_none() && published.is_none()).then_some(()))
        })
        .await?;
        let object = app.logical_volumes().get(&volume).await?;
        ensure!(object.spec.state == State::Abandoned, "no record is left");

        let again = app.claim("flexlvm", "64Mi").await?;
        app.pod("app").await?;
        ensure!(app.runs("app").await? != node, "placed on the lost node");
        cluster.power_on(number)?;
        cluster.wait_until_ready(number).await?;
        has_kept_data(&cluster, number, &volume, &sum).await?;

        let patch = r#"{"spec": {"state": "Absent"}}"#;
        let object = ["logicalvolumes.flexlvm.dev", volume.as_str()];
        let arguments = [
            "patch", object[0], object[1], "--type", "merge", "-p", patch,
        ];
        cluster.api().kubectl(&arguments)?;
        until("the volume is removed", LIMIT, async || {
            let object = app.logical_volumes().get_opt(&volume).await?;
            Ok((object.is_none() && holders(&cluster, &volume)?.is_empty()).then_some(()))
        })
        .await?;
        cluster.wait_until_served().await?;
        app.end(&cluster, &again).await
    })
}

/// Releases the claims of a node by the commands of the procedure.
fn release(cluster: &Cluster, node: &str) -> Result<()> {
    let label = format!("flexlvm.dev/node={node}");
    let objects = [
        "get",
        "logicalvolumes.flexlvm.dev",
        "-l",
        &label,
        "-o",
        "name",
    ];
    let listed = cluster.api().kubectl(&objects)?;
    ensure!(!listed.trim().is_empty(), "no volume of {node} is listed");
    let patch = r#"{"spec": {"state": "Abandoned"}}"#;
    for name in listed.lines() {
        cluster
            .api()
            .kubectl(&["patch", name, "--type", "merge", "-p", patch])?;
    }
    Ok(())
}

/// Waits until the node lists the volume as abandoned, and checks that it still has its data.
async fn has_kept_data(cluster: &Cluster, number: u8, volume: &str, sum: &str) -> Result<()> {
    let storages: Api<NodeStorage> = Api::all(cluster.api().client());
    let node = cluster.node(number);
    until("the node lists the abandoned volume", LIMIT, async || {
        let storage = storages.get_opt(&node.name()).await?;
        let mut listed = storage
            .iter()
            .flat_map(|storage| &storage.status)
            .flat_map(|status| &status.deviations);
        let is = listed.any(|one| one.kind == DeviationKind::Abandoned && one.name == volume);
        Ok(is.then_some(()))
    })
    .await?;
    let device = format!("/dev/{VOLUME_GROUP}/{volume}");
    let mounts = node.shell("cat /proc/mounts")?;
    ensure!(!mounts.contains(volume), "it is mounted: {mounts}");
    let found = node.shell(&format!(
        "lvchange -ay {VOLUME_GROUP}/{volume} && mkdir -p /tmp/kept && mount {device} /tmp/kept && \
         sha256sum /tmp/kept/blob && umount /tmp/kept"
    ))?;
    let digest = |text: &str| text.split_whitespace().next().map(str::to_owned);
    ensure!(
        digest(&found).is_some() && digest(&found) == digest(sum),
        "the data has changed: {found}, {sum} was written"
    );
    Ok(())
}
