//! Features of newer Kubernetes versions: storage capacity for the scheduler, exclusive claims, CEL
//! rules; and the removal of FlexLVM.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::wait::until;
use serde_json::json;

use crate::app::{App, LIMIT, VOLUME_GROUP, run};
use crate::{cluster, cluster_alone, file};

/// The stock scheduler uses the CSIStorageCapacity objects.
pub(crate) fn scheduler_avoids_a_node_without_space() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let full = cluster.node(1);
        full.shell(&format!(
            "lvcreate -qq -y -n foreign -l 100%FREE {VOLUME_GROUP}"
        ))?;
        let published = async || {
            let objects = [
                "-n",
                "flexlvm-system",
                "get",
                "csistoragecapacities",
                "-o",
                "json",
            ];
            let list: serde_json::Value = serde_json::from_str(&cluster.api().kubectl(&objects)?)?;
            let objects = list["items"].as_array().cloned().unwrap_or_default();
            let size = objects
                .into_iter()
                .find(|object: &serde_json::Value| {
                    object["nodeTopology"].to_string().contains("node1")
                        && object["storageClassName"] == "flexlvm"
                })
                .map(|object| object["capacity"].clone());
            Ok((size.is_none() || size == Some(json!("0"))).then_some(()))
        };
        until("the capacity of node1 is published as 0", LIMIT, published).await?;
        for _ in 0..2 {
            let (app, volume) = App::with_pod(&cluster, "flexlvm", "64Mi").await?;
            ensure!(
                app.runs("app").await? == "node2",
                "the pod runs on the full node"
            );
            let failures = app.events().await?;
            ensure!(
                !failures
                    .iter()
                    .any(|event| event.contains("ProvisioningFailed")),
                "the scheduler has tried the full node: {failures:?}"
            );
            app.end(&cluster, &volume).await?;
        }
        full.shell(&format!("lvremove -qq -y {VOLUME_GROUP}/foreign"))
            .map(drop)
    })
}

pub(crate) fn exclusive_claim_has_one_pod_at_a_time() -> Result<()> {
    let cluster = cluster();
    run(async {
        let app = App::new(&cluster).await?;
        let volume = app
            .claim_with("flexlvm", "64Mi", "ReadWriteOncePod")
            .await?;
        app.pod("first").await?;
        app.runs("first").await?;
        let sum = app.write(&cluster, "first")?;
        app.pod("second").await?;
        app.has_event(&["FailedScheduling", "ReadWriteOncePod"])
            .await?;
        app.end_pod("first").await?;
        app.runs("second").await?;
        app.has_data(&cluster, "second", &sum)?;
        app.delete_pod("second").await?;
        app.delete_claim().await?;
        app.gone(&cluster, &volume).await
    })
}

/// Follows docs/how-to/uninstall.md. It must be the last test.
pub(crate) fn uninstalled_product_leaves_nothing_in_the_cluster() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let kubectl = |arguments: &[&str]| cluster.api().kubectl(arguments);
        let (app, volume) = App::with_pod(&cluster, "flexlvm", "64Mi").await?;
        app.runs("app").await?;
        app.end(&cluster, &volume).await?;
        until("no LogicalVolume is left", LIMIT, async || {
            Ok(kubectl(&["get", "logicalvolumes", "-o", "name"])?
                .is_empty()
                .then_some(()))
        })
        .await?;
        let samples = ["storageclass", "storagebackend"]
            .map(|name| file(&format!("config/samples/{name}.yaml")));
        kubectl(&["delete", "-f", &samples[0], "-f", &samples[1]])?;
        for folder in [cluster.api().configuration()?, cluster.api().definitions()?] {
            kubectl(&["delete", "--timeout=180s", "-k", &folder])?;
        }
        until("the CSIDriver is gone", LIMIT, async || {
            Ok(kubectl(&["get", "csidrivers", "-o", "name"])?
                .is_empty()
                .then_some(()))
        })
        .await?;
        let left = kubectl(&[
            "get",
            "crd,clusterrole,clusterrolebinding,namespace,priorityclass,csidriver",
            "-A",
            "-o",
            "name",
        ])?;
        let ours: Vec<&str> = left
            .lines()
            .filter(|name| name.contains("flexlvm"))
            .collect();
        ensure!(ours.is_empty(), "left behind: {ours:?}");
        for node in cluster.nodes() {
            let volumes = node.shell(&format!("lvs --noheadings -o lv_name {VOLUME_GROUP}"))?;
            ensure!(
                volumes.trim().is_empty(),
                "{} still has {volumes}",
                node.name()
            );
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pods = kubectl(&["get", "pods", "-A", "-o", "name"])?;
        ensure!(!pods.contains("flexlvm"), "still running: {pods}");
        Ok(())
    })
}

/// The CEL rules of `config/v1.25`, through kubectl.
pub(crate) fn server_rejects_invalid_and_changed_backends() -> Result<()> {
    let cluster = cluster();
    let refused = |change: &str| {
        let patch = [
            "patch",
            "storagebackend",
            "flexlvm",
            "--type=merge",
            "-p",
            change,
        ];
        cluster
            .api()
            .kubectl(&patch)
            .map_or_else(|error| format!("{error:#}"), |_| String::new())
    };
    let odd = refused(r#"{"spec": {"layout": {"type": "Linear", "copies": 2}}}"#);
    ensure!(
        odd.contains("copies"),
        "the server accepted copies of a linear volume: {odd:?}"
    );
    let moved = refused(r#"{"spec": {"volumeGroup": "other"}}"#);
    ensure!(
        moved.contains("volumeGroup"),
        "the server accepted another group: {moved:?}"
    );
    Ok(())
}
