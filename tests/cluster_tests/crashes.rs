//! Crashes at the worst moments. A write is made impossible by taking away the right to it; then
//! the writer is killed, and gets its right back: it has died between what it did and what it would
//! have written.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crds::condition;
use harness::cluster::Cluster;
use harness::wait::until;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::app::{App, LIMIT, holders, run};
use crate::{cluster, cluster_alone};

/// Takes the right to `verb` a resource from a role; returns its rules as they were.
async fn take_right(
    cluster: &Cluster,
    role: &str,
    resource: &str,
    verb: &str,
) -> Result<Vec<PolicyRule>> {
    let api: Api<ClusterRole> = Api::all(cluster.api().client());
    let before = api.get(role).await?.rules.context("no rules")?;
    let mut rules = before.clone();
    for rule in rules
        .iter_mut()
        .filter(|rule| rule.resources.iter().flatten().any(|name| name == resource))
    {
        rule.verbs.retain(|name| name != verb);
    }
    rules.retain(|rule| !rule.verbs.is_empty());
    ensure!(rules != before, "{role} has no right to {verb} {resource}");
    set_rules(cluster, role, &rules).await?;
    Ok(before)
}

async fn set_rules(cluster: &Cluster, role: &str, rules: &[PolicyRule]) -> Result<()> {
    let api: Api<ClusterRole> = Api::all(cluster.api().client());
    api.patch(
        role,
        &PatchParams::default(),
        &Patch::Merge(json!({"rules": rules})),
    )
    .await?;
    Ok(())
}

/// Kills every process of a role on every node, at once and without notice.
fn kill(cluster: &Cluster, role: &str) -> Result<()> {
    for node in cluster.nodes() {
        node.shell(&format!("pkill -KILL -f '^/flexlvm {role}' || true"))?;
    }
    Ok(())
}

pub(crate) fn an_agent_killed_between_lvcreate_and_its_report_makes_one_volume() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let rules = take_right(&cluster, "flexlvm-agent", "logicalvolumes/status", "patch").await?;
        let (app, volume) = App::with_pod(&cluster, "flexlvm", "64Mi").await?;
        let made = until("the logical volume is there", LIMIT, async || {
            Ok(Some(holders(&cluster, &volume)?).filter(|nodes| !nodes.is_empty()))
        })
        .await;
        kill(&cluster, "agent")?;
        set_rules(&cluster, "flexlvm-agent", &rules).await?;
        let made = made?;
        let status = app
            .logical_volumes()
            .get(&volume)
            .await?
            .status
            .unwrap_or_default();
        ensure!(
            status.uuid.is_none(),
            "it was reported before the agent died"
        );
        app.runs("app").await?;
        ensure!(
            holders(&cluster, &volume)? == made,
            "there is another logical volume now"
        );
        app.write(&cluster, "app")?;
        app.end(&cluster, &volume).await
    })
}

pub(crate) fn a_controller_killed_between_order_and_volume_makes_one_volume() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let rules = take_right(
            &cluster,
            "flexlvm-controller",
            "persistentvolumes",
            "create",
        )
        .await?;
        let (app, volume) = App::with_pod(&cluster, "flexlvm", "64Mi").await?;
        let ready = until("the LogicalVolume is ready", LIMIT, async || {
            let status = app
                .logical_volumes()
                .get_opt(&volume)
                .await?
                .and_then(|lv| lv.status)
                .unwrap_or_default();
            Ok(condition::is_true(&status.conditions, condition::READY).then_some(()))
        })
        .await;
        kill(&cluster, "controller")?;
        set_rules(&cluster, "flexlvm-controller", &rules).await?;
        ready?;
        ensure!(
            app.volumes().get_opt(&volume).await?.is_none(),
            "it was written before the controller died"
        );
        app.runs("app").await?;
        ensure!(
            holders(&cluster, &volume)?.len() == 1,
            "there is not exactly one logical volume"
        );
        app.end(&cluster, &volume).await
    })
}

/// At different moments: before the order is written, while lvcreate runs, after it.
pub(crate) fn a_claim_deleted_while_its_volume_is_made_leaves_nothing() -> Result<()> {
    let cluster = cluster();
    run(async {
        for milliseconds in [0, 150, 500, 1500] {
            let app = App::new(&cluster).await?;
            let volume = app.claim("flexlvm-immediate", "64Mi").await?;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            app.delete_claim().await?;
            app.gone(&cluster, &volume)
                .await
                .with_context(|| format!("deleted after {milliseconds} ms"))?;
            // The order may have been on its way when the last look was taken.
            tokio::time::sleep(Duration::from_secs(2)).await;
            app.gone(&cluster, &volume)
                .await
                .with_context(|| format!("deleted after {milliseconds} ms, later"))?;
        }
        Ok(())
    })
}

pub(crate) fn deleting_every_logicalvolume_object_removes_no_data() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let (app, volume, _, sum) = App::with_data(&cluster, "flexlvm", "64Mi").await?;
        cluster
            .api()
            .kubectl(&["delete", "logicalvolumes", "--all", "--wait=false"])?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        ensure!(
            holders(&cluster, &volume)?.len() == 1,
            "the logical volume is gone"
        );
        ensure!(
            app.exec(&cluster, "app", "sha256sum /data/blob")? == sum,
            "the data has changed"
        );
        app.end(&cluster, &volume).await
    })
}
