//! The cost of FlexLVM: API writes per volume, memory at rest.

use anyhow::{Result, ensure};
use harness::cluster::Cluster;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::app::{App, run};
use crate::{cluster, cluster_alone};

pub(crate) fn volume_costs_three_writes_and_one_event() -> Result<()> {
    let cluster = cluster();
    run(async {
        let (app, volume) = App::with_pod(&cluster, "flexlvm", "64Mi").await?;
        app.bound().await?;
        app.has_event(&["ProvisioningSucceeded", &volume]).await?;
        let writes = cluster.api().writes(&volume)?;
        let mut made: Vec<_> = writes
            .iter()
            .map(|write| format!("{} {} {}", write.account, write.verb, write.resource))
            .collect();
        made.sort();
        let expected = [
            "flexlvm-agent patch logicalvolumes/status",
            "flexlvm-controller create logicalvolumes",
            "flexlvm-controller create persistentvolumes",
        ];
        ensure!(made == expected, "{made:?}");
        let ours = app
            .events()
            .await?
            .into_iter()
            .filter(|event| event.contains("rovisioning"))
            .collect::<Vec<_>>();
        let ours: Vec<_> = ours
            .iter()
            .filter(|event| !event.starts_with("ExternalProvisioning"))
            .collect();
        ensure!(ours.len() == 1, "{ours:?}");
        app.runs("app").await?;
        app.leave().await
    })
}

pub(crate) fn programs_at_rest_are_small() -> Result<()> {
    let cluster = cluster_alone();
    for (role, most) in [("controller", 50), ("agent", 20)] {
        let seen = memory(&cluster, role, "VmRSS")?;
        for mebibytes in &seen {
            println!("{role}: {mebibytes} MiB resident");
            ensure!(*mebibytes <= most, "{role} has more than {most} MiB");
        }
        ensure!(seen.len() >= 2, "only {} of {role} run", seen.len());
    }
    Ok(())
}

/// Returns a figure of `/proc/<pid>/status` of all processes of a role, in MiB.
fn memory(cluster: &Cluster, role: &str, figure: &str) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for node in cluster.nodes() {
        let script = format!(
            "for pid in $(pgrep -f '^/flexlvm {role}'); do awk '/^{figure}/ {{print $2}}' /proc/$pid/status; done"
        );
        for kibibytes in node.shell(&script)?.lines() {
            found.push(kibibytes.trim().parse::<u64>()? / 1024);
        }
    }
    Ok(found)
}

/// Creates claims with the largest annotations that the API server accepts.
async fn create_large_claims(app: &App, count: usize) -> Result<()> {
    let note = "x".repeat(255 << 10);
    for number in 0..count {
        let claim = json!({"metadata": {"name": format!("large-{number}"), "annotations": {"note": note}},
            "spec": {"storageClassName": "flexlvm", "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "64Mi"}}}});
        app.claims()
            .create(&PostParams::default(), &serde_json::from_value(claim)?)
            .await?;
    }
    Ok(())
}

pub(crate) fn annotations_of_tenants_do_not_fill_the_controllers_memory() -> Result<()> {
    const MOST: u64 = 100;
    let cluster = cluster_alone();
    run(async {
        let large = App::new(&cluster).await?;
        create_large_claims(&large, 300).await?;
        for node in cluster.nodes() {
            node.shell("pkill -KILL -f '^/flexlvm controller' || true")?;
        }
        // A claim is served once the new controller has listed all claims.
        let (app, volume) = App::with_pod(&cluster, "flexlvm", "64Mi").await?;
        app.runs("app").await?;
        let peaks = memory(&cluster, "controller", "VmHWM")?;
        println!("controllers: {peaks:?} MiB at their peak");
        ensure!(
            !peaks.is_empty() && peaks.iter().all(|peak| *peak <= MOST),
            "more than {MOST} MiB: {peaks:?}"
        );
        large
            .claims()
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await?;
        app.end(&cluster, &volume).await
    })
}
