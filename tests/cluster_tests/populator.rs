//! A volume populator: it has a volume provisioned for a claim of its own, fills it, and hands it
//! over to the tenant's claim.
//!
//! The populator here does what lib-volume-populator does, by hand.

use anyhow::{Context as _, Result, ensure};
use harness::wait::until;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::app::{App, LIMIT, data, run};
use crate::cluster;

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Creates the tenant's claim `data`, whose volume a populator provides.
async fn populated_claim(app: &App) -> Result<PersistentVolumeClaim> {
    let source = json!({"apiGroup": "populator.example.com", "kind": "Hello", "name": "greeting"});
    let claim = json!({"metadata": {"name": "data"}, "spec": {"storageClassName": "flexlvm",
        "dataSourceRef": source, "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "64Mi"}}}});
    Ok(app
        .claims()
        .create(&PostParams::default(), &serde_json::from_value(claim)?)
        .await?)
}

/// Binds the populator's volume to the tenant's claim.
async fn hand_over(app: &App, claim: &PersistentVolumeClaim, volume: &str) -> Result<()> {
    let reference = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": app.namespace,
        "name": "data", "uid": claim.uid(), "resourceVersion": claim.resource_version()});
    let patch = Patch::Merge(json!({"spec": {"claimRef": reference}}));
    app.volumes()
        .patch(volume, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

pub(crate) fn populator_hands_volume_over() -> Result<()> {
    let cluster = cluster();
    run(async {
        let app = App::new(&cluster).await?;
        let claim = populated_claim(&app).await?;
        app.pod("app").await?;
        let node = until("the scheduler selects a node", LIMIT, async || {
            let claim = app.claims().get("data").await?;
            Ok(claim.annotations().get(SELECTED_NODE).cloned())
        })
        .await?;
        app.has_event(&[
            "WaitingForPopulator",
            "waiting for the volume populator of Hello.populator.example.com",
        ])
        .await?;

        let populator = App::new(&cluster).await?;
        let volume = populator.claim("flexlvm", "64Mi").await?;
        populator.pod_on("fill", &node, data(false)).await?;
        populator.runs("fill").await?;
        let sum = populator.write(&cluster, "fill")?;
        populator.end_pod("fill").await?;
        hand_over(&app, &claim, &volume).await?;
        app.bound().await?;
        populator.delete_claim().await?;

        ensure!(
            app.runs("app").await? == node,
            "the pod is on another node than its volume"
        );
        app.has_data(&cluster, "app", &sum)?;
        let named = until(
            "the LogicalVolume names the tenant's claim",
            LIMIT,
            async || {
                let lv = app.logical_volumes().get(&volume).await?;
                let current = lv.spec.current_claim;
                Ok(current.filter(|claim| claim.namespace == app.namespace))
            },
        )
        .await?;
        ensure!(
            Some(named.uid) == claim.uid(),
            "the LogicalVolume names a claim with another uid"
        );
        let own = format!("pvc-{}", claim.uid().context("a uid")?);
        ensure!(
            app.logical_volumes().get_opt(&own).await?.is_none(),
            "the tenant's claim got a second volume"
        );
        app.end(&cluster, &volume).await
    })
}
