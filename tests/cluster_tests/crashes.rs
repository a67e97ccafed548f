//! Crashes between two steps: the test revokes the right to a write, kills the process that retries
//! it, and restores the right. The process has died after its action and before its write.

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

/// Revokes the right to `verb` a resource from a role and returns the role's former rules.
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

/// Kills all processes of a role on all nodes with SIGKILL.
fn kill(cluster: &Cluster, role: &str) -> Result<()> {
    for node in cluster.nodes() {
        node.shell(&format!("pkill -KILL -f '^/flexlvm {role}' || true"))?;
    }
    Ok(())
}

pub(crate) fn agent_killed_before_its_report_creates_one_lv() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let rules = take_right(&cluster, "flexlvm-agent", "logicalvolumes/status", "patch").await?;
        let (app, volume) = App::with_pod(&cluster, "flexlvm", "64Mi").await?;
        let made = until("the logical volume exists", LIMIT, async || {
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
            "the logical volume was replaced"
        );
        app.write(&cluster, "app")?;
        app.end(&cluster, &volume).await
    })
}

pub(crate) fn controller_killed_before_persistent_volume_creates_one_lv() -> Result<()> {
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

/// At different moments: before the LogicalVolume is created, while lvcreate runs, after it.
pub(crate) fn claim_deleted_during_creation_leaves_nothing() -> Result<()> {
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
            // The creation may have been in progress during the last check.
            tokio::time::sleep(Duration::from_secs(2)).await;
            app.gone(&cluster, &volume)
                .await
                .with_context(|| format!("deleted after {milliseconds} ms, later"))?;
        }
        Ok(())
    })
}

pub(crate) fn deleting_all_logical_volume_objects_keeps_data() -> Result<()> {
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
        app.has_data(&cluster, "app", &sum)?;
        app.end(&cluster, &volume).await
    })
}
